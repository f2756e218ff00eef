"""The schema's version: one cheap read at start; Alembic only when the database is behind.

Alembic renders the script and never connects: two SQLite libraries in one process would drop each other's locks, so
the script is executed by our own driver, in one transaction. PostgreSQL is treated alike.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from app.core.database_url import SqliteLocation, parse_database_url
from app.db.migrations import HEAD
from app.db.sqlite_files import explain, open_connection, prepare_file
from app.domain.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    import psycopg

    from app.db.postgres_server import BoundedConnection

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 5000
_HAS_VERSION = "SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'alembic_version'"
_MIGRATION_LOCK = 0x7E5
_LONGEST_MIGRATION_S = 3600.0
"""Two programs that start at the same moment migrate one after the other."""


def upgrade(database_url: str) -> str:
    """Create the database or bring its schema up to date (``tes db upgrade``). Returns the version it now has.

    A PostgreSQL database must exist; what is made are its tables.

    Raises:
        ConfigurationError: the URL names no lasting database.
        StoreUnavailable: the database can't be opened, or is newer than this program.
    """
    location = parse_database_url(database_url)
    if not isinstance(location, SqliteLocation):
        from app.db.postgres_server import connect

        with connect(location) as server:
            migrate_postgres(server, location.shown)
        return HEAD
    if location.path is None:
        raise ConfigurationError("TES_DATABASE_URL names a temporary database: there is nothing to upgrade")
    prepare_file(location.path)
    connection = open_connection(location.path, busy_timeout_ms=_BUSY_TIMEOUT_MS)
    try:
        migrate_sqlite(connection, location.path)
    finally:
        connection.close()
    return HEAD


def schema_version(database_url: str) -> str | None:
    """The version of a database's schema, which is only read; None when there is no database yet, or it is empty.

    Raises:
        ConfigurationError: not a URL of a database that this version knows.
        StoreUnavailable: it can't be opened.
    """
    location = parse_database_url(database_url)
    if not isinstance(location, SqliteLocation):
        from app.db.postgres_server import connect

        with connect(location) as server:
            return postgres_version(server)
    if location.path is None or not location.path.exists():
        return None
    connection = open_connection(location.path, busy_timeout_ms=_BUSY_TIMEOUT_MS, is_reader=True)
    try:
        return _sqlite_version(connection)
    finally:
        connection.close()


def migrate_sqlite(connection: apsw.Connection, path: Path) -> None:
    """Bring the schema behind ``connection`` to ``HEAD``; does nothing when it is there.

    Raises:
        StoreUnavailable: the schema is newer than this program, or the database did not take the change.
    """
    try:
        if _sqlite_version(connection) == HEAD:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _sqlite_version(connection)  # again, now that nobody else can change it
            if version != HEAD:
                # to the end of the script: a statement that returns rows would stop it half way
                connection.execute(script("sqlite", version, str(path))).fetchall()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except apsw.Error as error:
        raise StoreUnavailable(explain(path, error)) from None


def migrate_postgres(connection: BoundedConnection, shown: str) -> None:
    """Like ``migrate_sqlite``, for the database that messages call ``shown``."""
    import psycopg

    from app.db.postgres_server import explain as explain_postgres

    try:
        if postgres_version(connection) == HEAD:
            return
        connection.answer_timeout_s = _LONGEST_MIGRATION_S
        with connection.transaction():
            # to read the revisions takes a busy host seconds, in which the transaction is idle
            connection.execute(
                "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0;"
                "SET LOCAL idle_in_transaction_session_timeout = '60s'"
            )
            connection.execute("SELECT pg_advisory_xact_lock($1)", (_MIGRATION_LOCK,))
            version = postgres_version(connection)
            if version != HEAD:
                connection.execute(script("postgresql", version, shown).encode())
    except psycopg.Error as error:
        raise StoreUnavailable(explain_postgres(shown, error.sqlstate, str(error))) from None


def _sqlite_version(connection: apsw.Connection) -> str | None:
    """The revision that the database says it has; None when it is empty."""
    if not connection.table_exists("main", "alembic_version"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(row[0][0]) if row else None


def postgres_version(connection: psycopg.Connection) -> str | None:
    """The revision that the database says it has; None when it is empty."""
    # a scan of the catalogue: a name that was looked up in vain is remembered as missing for the whole transaction
    if connection.execute(_HAS_VERSION).fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def script(dialect: str, version: str | None, shown: str, head: str = HEAD) -> str:
    """The SQL from ``version`` to ``head``, without a transaction around it.

    Raises:
        StoreUnavailable: ``version`` is not one that this program knows.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    buffer = StringIO()
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("dialect", dialect)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"database {shown}: its schema has version {version}, this program knows up to {HEAD}: "
            "start the newer program that wrote it, or restore an older backup"
        )
    command.upgrade(config, f"{version}:{head}" if version else head, sql=True)
    return buffer.getvalue()
