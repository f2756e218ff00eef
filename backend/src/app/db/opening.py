"""From a URL to a database: the only place that chooses."""

from __future__ import annotations

from app.core.database_url import SqliteLocation, parse_database_url
from app.db.executors import Executor
from app.db.port import Database
from app.db.sqlite import SqliteDatabase


def make_database(url: str, executor: Executor) -> Database:
    """The database that ``url`` names, not started yet. PostgreSQL's driver is loaded only for PostgreSQL.

    Raises:
        ConfigurationError: not a URL of a database that this version knows.
    """
    if isinstance(parse_database_url(url), SqliteLocation):
        return SqliteDatabase(url, executor)
    from app.db.postgres import PostgresDatabase

    return PostgresDatabase(url, executor)
