"""Locks that other programs hold on a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw


@contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Another program is in the middle of a write to a SQLite file, so that nobody else can write."""
    file = apsw.Connection(str(path))
    file.set_busy_timeout(10_000)
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        file.execute("ROLLBACK")
        file.close()
