"""The database port on SQLite, through apsw: one writer with group commit, one reader beside it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from app.db.commit_queue import CAPACITY, CommitQueue, EventRow, Operation
from app.db.event_log import INSERT_EVENT, event_parameters
from app.db.executors import Executor
from app.db.migrate import migrate
from app.db.port import Health, Landing, OnCommitted, Read, Unit
from app.db.sqlite_files import explain, open_connection, prepare_file
from app.db.sqlite_writer import SqliteWriter
from app.db.statements import SQLITE, CompiledQuery, Query, Row, SqlValue
from app.db.urls import parse_database_url
from app.domain.errors import InvariantBroken, StoreUnavailable
from app.domain.events import Event, RecordedEvent

BUSY_TIMEOUT_MS = 1000
"""How long a statement waits for another program's lock before it counts as failed."""

_INSERT_EVENT = INSERT_EVENT.compiled(SQLITE)


class SqliteDatabase:
    """:class:`app.db.port.Database` in one file.

    ``busy_timeout_ms`` is waited in the executor's thread; with an inline executor it should be 0.
    """

    def __init__(
        self, url: str, executor: Executor, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, capacity: int = CAPACITY
    ) -> None:
        self._location = parse_database_url(url)
        self._executor = executor
        self._busy_timeout_ms = busy_timeout_ms
        self._queue = CommitQueue(capacity)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._path = self._location.path or Path("(temporary)")
        self._writer: SqliteWriter | None = None
        self._reader: apsw.Connection | None = None

    async def start(self) -> None:
        """Open the file, create or migrate its schema, start the writer; see the port for errors."""
        try:
            await self._executor.call(self._open)
        except BaseException:
            await self.close()
            raise
        self._queue.open(asyncio.get_running_loop())
        self._executor.start(self._round)

    async def close(self) -> None:
        """Write what is queued, close both connections, remove a temporary file."""
        reader, self._reader = self._reader, None
        self._queue.close()
        await self._executor.stop()
        if reader is not None:
            reader.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def follow(self, on_committed: OnCommitted) -> None:
        """Tell ``on_committed`` of each commit that has events."""
        self._queue.follow(on_committed)

    def enqueue(self, unit: Unit) -> Landing:
        """Encode ``unit`` and queue it; see the port."""
        operations = []
        for write in unit.writes:
            compiled = write.statement.compiled(SQLITE)
            operations.append(Operation(compiled.text, compiled.bind(write.parameters), write.expect_rows))
        event_rows = tuple(_event_row(event) for event in unit.events)
        landing = self._queue.put(tuple(operations), event_rows, must_land=unit.must_land)
        if unit.may_linger:
            self._executor.wake_later()
        else:
            self._executor.wake()
        return landing

    async def commit(self, unit: Unit) -> tuple[RecordedEvent, ...]:
        """Enqueue ``unit`` and wait until it is durable."""
        return await self.enqueue(unit)

    async def fetch(self, query: Query, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of one query."""
        return (await self.snapshot(Read(query, parameters)))[0]

    async def snapshot(self, *reads: Read) -> list[list[Row]]:
        """The rows of several queries as of one moment."""
        compiled = [read.query.compiled(SQLITE) for read in reads]
        bound = [query.bind(read.parameters) for query, read in zip(compiled, reads, strict=True)]
        if self._reader is None:
            raise StoreUnavailable(f"database {self._path}: not open")
        raw = await self._executor.call(lambda: self._read(compiled, bound))
        return [query.rows(rows) for query, rows in zip(compiled, raw, strict=True)]

    @property
    def health(self) -> Health:
        """Whether writes are taken at the moment."""
        return self._queue.health

    def _open(self) -> None:
        if self._location.path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tes-")
            self._path = Path(self._temporary.name) / "tes.db"
        prepare_file(self._path)
        connection = open_connection(self._path, busy_timeout_ms=self._busy_timeout_ms)
        self._writer = SqliteWriter(connection)
        migrate(connection, self._path)
        self._reader = open_connection(self._path, busy_timeout_ms=self._busy_timeout_ms, is_reader=True)

    def _round(self) -> float | None:
        """Commit one group. Runs in the executor; only here is the writing connection used after the start."""
        writer = self._writer
        jobs = self._queue.take()
        if writer is None or not (jobs or self._queue.needs_probe):
            return None
        try:
            if not jobs:
                writer.probe()
            outcomes = writer.commit(jobs) if jobs else []
        except apsw.Error as error:
            return self._queue.failed(jobs, explain(self._path, error))
        except Exception as error:  # noqa: BLE001 — supervises the writer: a bug must not leave its waiters hanging
            return self._queue.failed(jobs, f"database {self._path}: internal error: {type(error).__name__}: {error}")
        return self._queue.landed(jobs, outcomes)

    def _read(
        self, queries: list[CompiledQuery], bound: list[tuple[SqlValue, ...]]
    ) -> list[list[tuple[SqlValue, ...]]]:
        connection = self._reader
        if connection is None:
            raise StoreUnavailable(f"database {self._path}: not open")
        try:
            connection.execute("BEGIN")
            try:
                return [
                    connection.execute(query.text, values).fetchall()
                    for query, values in zip(queries, bound, strict=True)
                ]
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except apsw.SQLError as error:
            raise InvariantBroken(f"the database does not understand a query: {error}") from None
        except apsw.Error as error:
            raise StoreUnavailable(explain(self._path, error)) from None


def _event_row(event: Event) -> EventRow:
    """Encode an event; ``seq`` stands first in the statement and is put in by the commit."""
    return EventRow(event, _INSERT_EVENT.bind(event_parameters(event, 0))[1:])
