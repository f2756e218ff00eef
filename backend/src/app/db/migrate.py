"""The schema's version: one cheap read at start; Alembic only when the database is behind.

Alembic renders the script and never connects: two SQLite libraries in one process would drop each other's locks, so
the script is executed by apsw, in one transaction.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import apsw

from app.db.migrations import HEAD
from app.db.sqlite_files import explain, open_connection, prepare_file
from app.db.urls import parse_database_url
from app.domain.errors import ConfigurationError, StoreUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 5000


def upgrade(database_url: str) -> str:
    """Create the database or bring its schema up to date (``tes db upgrade``). Returns the version it now has.

    Raises:
        ConfigurationError: the URL names no file.
        StoreUnavailable: the database can't be opened, or is newer than this program.
    """
    path = parse_database_url(database_url).path
    if path is None:
        raise ConfigurationError("TES_DATABASE_URL names a temporary database: there is nothing to upgrade")
    prepare_file(path)
    connection = open_connection(path, busy_timeout_ms=_BUSY_TIMEOUT_MS)
    try:
        migrate(connection, path)
    finally:
        connection.close()
    return HEAD


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the schema behind ``connection`` to ``HEAD``; does nothing when it is there.

    Raises:
        StoreUnavailable: the schema is newer than this program, or the database did not take the change.
    """
    try:
        if _version(connection) == HEAD:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # again, now that nobody else can change it
            if version != HEAD:
                connection.execute(_script(version, path)).fetchall()  # a row that is left unread stops the script
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except apsw.Error as error:
        raise StoreUnavailable(explain(path, error)) from None


def _version(connection: apsw.Connection) -> str | None:
    """The revision that the database says it has; None when it is empty."""
    if not connection.table_exists("main", "alembic_version"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(row[0][0]) if row else None


def _script(version: str | None, path: Path) -> str:
    """The SQL from ``version`` to ``HEAD``."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    buffer = StringIO()
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("dialect", "sqlite")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"database {path}: its schema has version {version}, this program knows up to {HEAD}: "
            "start the newer program that wrote it, or restore an older backup"
        )
    command.upgrade(config, f"{version}:{HEAD}" if version else HEAD, sql=True)
    return buffer.getvalue()
