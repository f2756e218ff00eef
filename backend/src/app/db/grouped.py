"""What every database of ours does alike: one writer with group commit, reads beside it, health.

A dialect says how to open, how a group is committed, how it is probed, and how rows are read.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Dialect

from app.db.commit_queue import CommitQueue, EventRow, Guard, Job, Operation, Outcome
from app.db.event_log import INSERT_EVENT, event_parameters
from app.db.executors import Executor
from app.db.meter import CommitMeter
from app.db.port import Health, Landing, OnCommitted, OnLost, OpenReader, Read, Reader, Unit, Work
from app.db.statements import Query, Row
from app.domain.errors import StoreUnavailable
from app.domain.events import Event, RecordedEvent

T = TypeVar("T")

READ_TIMEOUT_S = 8.0
"""For a read that trading waits for, its turn included."""
BROWSE_TIMEOUT_S = 20.0
"""For a read of somebody who only looks, its turn and the start of the readers' process included."""

_log = structlog.get_logger(__name__)


class GroupNotCommitted(Exception):
    """The database took nothing of a group; the message tells the operator why and what to do.

    ``is_in_doubt``: the answer to the commit itself got lost, so the database may have taken all of it.
    ``is_everyones``: the database itself says no, to every other process as well.
    """

    def __init__(self, reason: str, *, is_in_doubt: bool = False, is_everyones: bool = False) -> None:
        super().__init__(reason)
        self.is_in_doubt = is_in_doubt
        self.is_everyones = is_everyones


class GuardFailed(Exception):
    """The guard found other rows than it must; nothing of the group was written."""


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    operations: tuple[Operation, ...]
    is_alive: Callable[[], bool]


class GroupedDatabase(ABC):
    """:class:`app.db.port.Database`, but for what differs between databases.

    Methods whose names begin with an underscore and that are abstract block; they run in the executor: ``_commit`` and
    ``_probe`` one at a time.
    """

    def __init__(self, dialect: Dialect, executor: Executor, capacity: int) -> None:
        self._dialect = dialect
        self._executor = executor
        self._queue = CommitQueue(capacity)
        self._insert_event = INSERT_EVENT.compiled(dialect)
        self._takes_reads = False
        self._guard: Guard | None = None
        self._heartbeat: _Heartbeat | None = None
        self._reader: Reader | None = None
        self.meter = CommitMeter()

    async def start(self) -> None:
        """Open the database, create or migrate its schema, start the writer; see the port for errors."""
        try:
            await self._executor.call(self._open)
        except BaseException:
            await self.close()
            raise
        self._takes_reads = True
        self._queue.open(asyncio.get_running_loop())
        self._executor.start(self._round, self._idle_round)

    async def close(self) -> None:
        """Write what is queued, then close everything."""
        self._takes_reads = False
        self._queue.close()
        if not await self._executor.stop():
            _log.error("store.given_up_at_close", waiting=self._queue.waiting, reason=self._queue.last_failure)
            return
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._shut()

    def follow(self, on_committed: OnCommitted) -> None:
        """Tell ``on_committed`` of each commit that has events."""
        self._queue.follow(on_committed)

    def enqueue(self, unit: Unit) -> Landing:
        """Encode ``unit`` and queue it; see the port."""
        operations = self._operations(unit)
        event_rows = tuple(self._event_row(event) for event in unit.events)
        landing = self._queue.put(operations, event_rows, must_land=unit.must_land)
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
        return await self._answer(self._executor.call(partial(self._open_reader(), *reads)), READ_TIMEOUT_S)

    async def browse(self, work: Work[T]) -> T:
        """Run ``work`` where it keeps nobody waiting; see the port."""
        self._open_reader()
        return await self._answer(self._executor.browse(self._browsers_reader(), work), BROWSE_TIMEOUT_S)

    async def _answer(self, call: Coroutine[Any, Any, T], limit_s: float) -> T:
        """What a call answers; nobody waits longer than ``limit_s`` for it."""
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError:
            text = f"database {self._name}: no answer within {limit_s:g} s: look at what the database is doing"
            raise StoreUnavailable(text) from None

    def _open_reader(self) -> Reader:
        if self._reader is None or not self._takes_reads:
            raise StoreUnavailable(f"database {self._name}: not open")
        return self._reader

    def keep_alive(self, unit: Unit, is_alive: Callable[[], bool]) -> None:
        """Commit ``unit`` while nothing else is; see the port."""
        self._heartbeat = _Heartbeat(self._operations(unit), is_alive)

    def guard(self, read: Read, rows: int, reason: str, on_lost: OnLost) -> None:
        """Hold each commit to what ``read`` must find; see the port."""
        compiled = read.query.compiled(self._dialect)
        self._guard = Guard(Operation(compiled.text, compiled.bind(read.parameters), rows), reason, on_lost)

    @property
    def health(self) -> Health:
        """Whether writes are taken at the moment."""
        return self._queue.health

    @property
    def waiting(self) -> int:
        """Units that are not yet durable."""
        return self._queue.waiting

    def _operations(self, unit: Unit) -> tuple[Operation, ...]:
        operations = []
        for write in unit.writes:
            compiled = write.statement.compiled(self._dialect)
            operations.append(Operation(compiled.text, compiled.bind(write.parameters), write.expect_rows))
        return tuple(operations)

    def _round(self) -> float | None:
        """Commit one group. Runs in the executor."""
        return self._end(self._queue.take())

    def _idle_round(self) -> float | None:
        """There was no round for a while: commit what is to be kept alive. Runs in the executor."""
        heartbeat = self._heartbeat
        if heartbeat is None or not heartbeat.is_alive():
            return None
        return self._end(self._queue.take_own(heartbeat.operations))

    def _end(self, jobs: Sequence[Job]) -> float | None:
        """Bring a group to its end. Only here is the writing connection used after the start."""
        if not (jobs or self._queue.needs_probe):
            return None
        guard = self._guard
        query = guard.query if guard is not None else None
        try:
            if guard is not None and self._queue.is_fenced:
                raise GuardFailed
            if self._queue.needs_probe:
                self._probe(query)  # with jobs as well: those that write nothing prove nothing
            outcomes = self._measured_commit(jobs, query) if jobs else ()
        except GroupNotCommitted as failure:
            return self._queue.failed(
                jobs, str(failure), is_in_doubt=failure.is_in_doubt, is_everyones=failure.is_everyones
            )
        except GuardFailed:
            if guard is not None:
                self._queue.fenced(jobs, guard)
            return None
        except Exception as error:  # noqa: BLE001 — supervises the writer: a bug must not leave its waiters hanging
            reason = f"database {self._name}: internal error: {type(error).__name__}: {error}"
            return self._queue.failed(jobs, reason)
        return self._queue.landed(jobs, outcomes)

    def _measured_commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        with self.meter.measuring():
            return self._commit(jobs, guard)

    def _event_row(self, event: Event) -> EventRow:
        """Encode an event; ``seq`` stands first in the statement and is put in by the commit."""
        return EventRow(event, self._insert_event.bind(event_parameters(event, 0))[1:])

    @property
    @abstractmethod
    def _name(self) -> str:
        """What messages call the database; never a secret."""

    @abstractmethod
    def _open(self) -> None:
        """Connect, bring the schema up to date, and set ``_reader``.

        Raises:
            StoreUnavailable: that is not possible.
        """

    @abstractmethod
    def _commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        """Write a group in one transaction: how each job ended. One job's conflict rolls back only that job.

        Raises:
            GroupNotCommitted: the database did not take the group.
            GuardFailed: the query ``guard``, in that transaction, found other rows than it expects.
        """

    @abstractmethod
    def _probe(self, guard: Operation | None) -> None:
        """Find out whether writes are taken, by one that means nothing.

        Raises:
            GroupNotCommitted: they are not.
            GuardFailed: as for a commit.
        """

    @abstractmethod
    def _browsers_reader(self) -> OpenReader:
        """What makes a reader beside the one that ``_open`` left in ``_reader``."""

    @abstractmethod
    def _shut(self) -> None:
        """Give everything back. Called on the event loop when nothing runs any more; may be called twice."""
