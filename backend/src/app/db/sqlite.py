"""The database port on SQLite, through apsw: a file, a writing connection and reading ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import apsw

from app.core.clock import SystemClock
from app.core.database_url import SqliteLocation, parse_database_url
from app.db.commit_queue import CAPACITY, Job, Operation, Outcome
from app.db.executors import Executor
from app.db.generation import begin_on_sqlite
from app.db.grouped import GroupedDatabase, GroupNotCommitted
from app.db.migrate import migrate_sqlite
from app.db.port import OpenReader
from app.db.sqlite_files import explain, open_connection, prepare_file, teach_time
from app.db.sqlite_reader import SqliteReader
from app.db.sqlite_writer import SqliteWriter
from app.db.statements import SQLITE
from app.domain.errors import ConfigurationError
from app.domain.ports import Clock

BUSY_TIMEOUT_MS = 1000
"""How long a statement waits for another program's lock before it counts as failed."""


class SqliteDatabase(GroupedDatabase):
    """:class:`app.db.port.Database` in one file.

    ``busy_timeout_ms`` is waited in the executor's thread; with an inline executor it should be 0. ``clock`` is what
    ``clock_timestamp()`` tells in SQL; the host's, unless given.
    """

    def __init__(
        self,
        url: str,
        executor: Executor,
        *,
        clock: Clock | None = None,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        capacity: int = CAPACITY,
    ) -> None:
        super().__init__(SQLITE, executor, capacity)
        location = parse_database_url(url)
        if not isinstance(location, SqliteLocation):
            raise ConfigurationError("TES_DATABASE_URL names no SQLite file")
        self._location = location
        self._clock = SystemClock() if clock is None else clock
        self._busy_timeout_ms = busy_timeout_ms
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._path = self._location.path or Path("(temporary)")
        self._writer: SqliteWriter | None = None

    @property
    def _name(self) -> str:
        return str(self._path)

    def _open(self) -> None:
        if self._location.path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tes-")
            self._path = Path(self._temporary.name) / "tes.db"
        prepare_file(self._path)
        connection = open_connection(self._path, busy_timeout_ms=self._busy_timeout_ms)
        teach_time(connection, self._clock.now)
        self._writer = SqliteWriter(connection)
        migrate_sqlite(connection, self._path)
        begin_on_sqlite(connection)
        self._reader = SqliteReader(self._path, self._busy_timeout_ms, self._clock.now)

    def _browsers_reader(self) -> OpenReader:
        return partial(SqliteReader, self._path, self._busy_timeout_ms)

    def _shut(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        try:
            return self._open_writer().commit(jobs, guard)
        except apsw.Error as error:
            raise GroupNotCommitted(explain(self._path, error), is_everyones=True) from error

    def _probe(self, guard: Operation | None) -> None:
        try:
            self._open_writer().probe(guard)
        except apsw.Error as error:
            raise GroupNotCommitted(explain(self._path, error), is_everyones=True) from error

    def _open_writer(self) -> SqliteWriter:
        if self._writer is None:
            raise GroupNotCommitted(f"database {self._path}: not open")
        return self._writer
