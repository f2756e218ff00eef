"""Opening SQLite: the one place that knows files, modes, pragmas, and what SQLite's errors mean to the operator."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from app.db.statements import SQLITE
from app.db.types import UtcDateTime
from app.domain.errors import StoreUnavailable

FILE_MODE = 0o600
STATEMENT_CACHE_SIZE = 256

_FIXES: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk or the file's page limit is full: free some space"),
    (apsw.BusyError, "another program holds the file locked: end it"),
    (apsw.LockedError, "another connection holds a table locked: end it"),
    (apsw.ReadOnlyError, "the file or its folder can't be written: give this user the right to"),
    (apsw.PermissionsError, "the file or its folder can't be written: give this user the right to"),
    (apsw.CantOpenError, "the file can't be opened: check that the path names a file, and its rights"),
    (apsw.NotADBError, "the file is no SQLite database: name another one, or move it away"),
    (apsw.CorruptError, "the file is damaged: restore a backup"),
    (apsw.IOError, "the disk answers with errors: check it"),
)


def explain(path: Path, error: apsw.Error) -> str:
    """What the operator should know and do about ``error``."""
    fix = next((text for kind, text in _FIXES if isinstance(error, kind)), "check the disk and the file's rights")
    return f"database {path}: {fix} ({error})"


def prepare_file(path: Path) -> None:
    """Create the folder and an empty file that only this user may read, unless they are there.

    Raises:
        StoreUnavailable: that is not possible; the message names the path and the fix.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise StoreUnavailable(f"database {path}: this is a folder: name a file inside it")
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"database {path}: can't be created: {reason}: check the path and its rights") from None


def teach_time(connection: apsw.Connection, now: Callable[[], datetime]) -> None:
    """Give SQLite PostgreSQL's ``clock_timestamp()`` and ``make_interval()``, in the spelling of our columns."""
    spell = UtcDateTime().encoder(SQLITE)

    def clock_timestamp(*_: Any) -> Any:
        return spell(now())

    connection.create_scalar_function("clock_timestamp", clock_timestamp, 0)
    connection.create_scalar_function("make_interval", _make_interval, 7, deterministic=True)


def _make_interval(*parts: Any) -> Any:
    """Microseconds; years and months have no fixed length, and must be 0."""
    years, months, weeks, days, hours, minutes, seconds = parts
    if years or months:
        raise ValueError("an interval of years or months")
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return length // timedelta(microseconds=1)


def open_connection(path: Path, *, busy_timeout_ms: int, is_reader: bool = False) -> apsw.Connection:
    """Open the file for one user: the writer, or a reader that can't write.

    A commit returns when it is on the disk (``synchronous=FULL``), and readers never block it (WAL).

    Raises:
        StoreUnavailable: it can't be opened or is no database.
    """
    connection = None
    try:
        connection = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=STATEMENT_CACHE_SIZE
        )
        connection.set_busy_timeout(busy_timeout_ms)
        if is_reader:
            connection.pragma("query_only", True)  # noqa: FBT003 — the pragma's value
        else:
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.pragma("foreign_keys", True)  # noqa: FBT003 — the pragma's value
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.Error as error:
        if connection is not None:
            connection.close(True)  # noqa: FBT003 — apsw names it force, and takes it by position only
        raise StoreUnavailable(explain(path, error)) from None
    return connection
