"""Online backup: a consistent copy of a database that is in use (``tes db backup``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from app.core.database_url import SqliteLocation, parse_database_url
from app.db.generation import FORGET_GENERATION
from app.db.sqlite_files import explain, open_connection, prepare_file
from app.domain.errors import ConfigurationError, StoreUnavailable

_BUSY_TIMEOUT_MS = 5000
_PAGES_AT_ONCE = 2_000

OnProgress = Callable[[int, int], None]
"""Hears how much is copied, and of how much: pages of SQLite, tables of PostgreSQL."""


def _in_silence(_done: int, _total: int) -> None:
    """For whoever does not watch."""


def backup(database_url: str, file: Path, on_progress: OnProgress = _in_silence) -> int:
    """Copy the database into a new ``file`` of mode 0600, check the copy, and return its size in bytes.

    The copy appears under its name only when it is whole. The service may go on writing meanwhile. A copy of SQLite is
    a database; one of PostgreSQL is a script for ``psql``, see :mod:`app.db.postgres_backup`.

    Raises:
        ConfigurationError: there is no database at the URL, or ``file`` exists already.
        StoreUnavailable: the database can't be read, or the copy can't be written.
    """
    location = parse_database_url(database_url)
    if isinstance(location, SqliteLocation) and (location.path is None or not location.path.exists()):
        raise ConfigurationError(f"TES_DATABASE_URL: there is no database at {location.path or 'a temporary place'}")
    if file.exists():
        raise ConfigurationError(f"backup {file}: the file exists already: name a new one")
    partial = file.with_name(file.name + ".partial")
    partial.unlink(missing_ok=True)
    prepare_file(partial)
    try:
        if not isinstance(location, SqliteLocation):
            from app.db.postgres_backup import dump

            dump(location, partial, on_progress)
        elif location.path is not None:
            _copy(location.path, partial, on_progress)
        return partial.rename(file).stat().st_size
    finally:
        partial.unlink(missing_ok=True)


def _copy(source_path: Path, target_path: Path, on_progress: OnProgress) -> None:
    source = open_connection(source_path, busy_timeout_ms=_BUSY_TIMEOUT_MS, is_reader=True)
    try:
        target = apsw.Connection(str(target_path))
        try:
            # one moment for the whole copy, which would otherwise start over whenever the service writes
            source.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
            with target.backup("main", source, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES_AT_ONCE)
                    on_progress(copying.page_count - copying.remaining, copying.page_count)
            target.pragma("journal_mode", "delete")
            target.execute(FORGET_GENERATION)
            verdict = target.pragma("quick_check")
        finally:
            target.close()
    except apsw.Error as error:
        raise StoreUnavailable(explain(target_path, error)) from None
    finally:
        source.close()
    if verdict != "ok":
        raise StoreUnavailable(f"backup of {source_path}: the copy is damaged: check the disk and the database")
