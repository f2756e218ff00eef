"""Rows as another version, or a person with an editor, leaves them: changed behind the service's back."""

from __future__ import annotations

import apsw
import psycopg


def change_rows(database_url: str, statement: str) -> None:
    """Run one SQL statement on a database of either kind, in a transaction of its own."""
    if database_url.startswith("sqlite"):
        file = apsw.Connection(database_url.removeprefix("sqlite:///"))
        file.set_busy_timeout(10_000)
        file.execute(statement)
        file.close()
        return
    with psycopg.connect(database_url) as server:
        server.execute(statement.encode())
