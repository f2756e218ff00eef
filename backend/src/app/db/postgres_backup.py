"""A backup of PostgreSQL that needs no tool: a script that makes the same tables with the same rows.

``psql --set ON_ERROR_STOP=1 --file FILE postgresql://…/an_empty_database`` restores it, whole or not at all.
``pg_dump`` would have to be there, and to be no older than the server.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import psycopg
from psycopg import sql

from app.core.database_url import PostgresLocation
from app.db.generation import FORGET_GENERATION
from app.db.migrate import postgres_version, script
from app.db.postgres_server import connect, explain
from app.domain.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from app.db.backup import OnProgress

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
_REFERENCES = """
SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
"""
_NUMBERED = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND column_default LIKE 'nextval(%' ORDER BY table_name
"""


def dump(location: PostgresLocation, file: Path, on_progress: OnProgress) -> None:
    """Write the whole database, as of one moment, into ``file``, which exists and is private.

    ``on_progress`` hears how many tables are written, and of how many.

    Raises:
        ConfigurationError: there are no tables of ours.
        StoreUnavailable: the database can't be read, or the file can't be written.
    """
    with connect(location) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        try:
            with connection.transaction(), file.open("wb") as out:
                connection.execute("SET LOCAL statement_timeout = 0")
                _write(connection, location.shown, out, on_progress)
        except psycopg.Error as error:
            raise StoreUnavailable(explain(location.shown, error.sqlstate, str(error))) from None
        except OSError as error:
            raise StoreUnavailable(
                f"backup {file}: can't be written: {error.strerror or type(error).__name__}"
            ) from None


def _write(connection: psycopg.Connection, shown: str, out: BinaryIO, on_progress: OnProgress) -> None:
    version = postgres_version(connection)
    if version is None:
        raise ConfigurationError(f"TES_DATABASE_URL: the database {shown} is empty: there is nothing to back up")
    out.write(b"BEGIN;\n" + script("postgresql", None, shown, head=version).encode())
    tables = _in_order(connection)
    # the migrations bring rows of their own
    out.write(sql.SQL("TRUNCATE {};\n").format(_names(tables)).as_bytes(connection))
    for written, table in enumerate(tables, 1):
        name = sql.Identifier(table)
        out.write(sql.SQL("COPY {} FROM stdin;\n").format(name).as_bytes(connection))
        with connection.cursor() as cursor:
            with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(name)) as rows:
                out.writelines(rows)
            copied = cursor.rowcount
        out.write(b"\\.\n")
        counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
        if counted != (copied,):
            raise StoreUnavailable(f"backup of {shown}: the copy of {table} is not whole: try again")
        on_progress(written, len(tables))
    for table, column in connection.execute(_NUMBERED).fetchall():
        move = "SELECT setval(pg_get_serial_sequence({}, {}), (SELECT coalesce(max({}), 0) + 1 FROM {}), false);\n"
        parts = (sql.Literal(table), sql.Literal(column), sql.Identifier(column), sql.Identifier(table))
        out.write(sql.SQL(move).format(*parts).as_bytes(connection))
    out.write(f"{FORGET_GENERATION};\nCOMMIT;\n".encode())


def _in_order(connection: psycopg.Connection) -> list[str]:
    """The tables, each behind those that its rows refer to."""
    graph: dict[str, set[str]] = {name: set() for (name,) in connection.execute(_TABLES).fetchall()}
    for table, referred in connection.execute(_REFERENCES).fetchall():
        graph[table].add(referred)
    return list(TopologicalSorter(graph).static_order())


def _names(tables: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, tables))
