"""The generation of an event log: a restored copy begins another, so that readers see that its numbers come again.

A copy is made without one (0), and whoever opens it to trade gives it one by chance. So a copy that is restored twice
begins two.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    import psycopg

GENERATION_COUNTER = "generation"
FORGET_GENERATION = "UPDATE counters SET value = 0 WHERE name = 'generation'"
"""What makes a copy one; it does nothing to the tables of an older version."""
_LOOK = "SELECT value FROM counters WHERE name = 'generation'"
_BEGIN_ON_SQLITE = "UPDATE counters SET value = 1 + (random() & 0x7fffffffffff) WHERE name = 'generation' AND value = 0"
_BEGIN_ON_POSTGRES = (
    b"UPDATE counters SET value = 1 + floor(random() * 140737488355327)::bigint WHERE name = 'generation' AND value = 0"
)


def begin_on_sqlite(connection: apsw.Connection) -> None:
    """Give the log a generation if it has none; a disk that takes nothing now takes it at a later start."""
    if connection.execute(_LOOK).get == 0:
        with contextlib.suppress(apsw.Error):
            connection.execute(_BEGIN_ON_SQLITE)


def begin_on_postgres(connection: psycopg.Connection) -> None:
    """Like ``begin_on_sqlite``."""
    import psycopg

    if connection.execute(_LOOK).fetchone() == (0,):
        with contextlib.suppress(psycopg.Error):
            connection.execute(_BEGIN_ON_POSTGRES)
