"""Which units are committed next and what becomes of them, whatever database is behind.

The event loop puts jobs in; the writer takes them in groups and says how each ended; the loop tells the waiters.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from app.db.port import Health, Landing, OnCommitted, OnLost
from app.domain.errors import OwnershipLost, StoreUnavailable, TesError
from app.domain.events import Event, RecordedEvent

GROUP_LIMIT = 256
"""Units that share one commit at most: bounds how long the first of them waits for the last."""
CAPACITY = 10_000
"""Units that may wait; ``must_land`` units may take as much again."""
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0
CLOSING_ATTEMPTS = 5
"""Failed rounds after which closing gives up on what must land."""

_log = structlog.get_logger(__name__)

Outcome: TypeAlias = tuple[RecordedEvent, ...] | TesError


@dataclass(frozen=True, slots=True)
class Operation:
    """A statement that is ready to run: text, values, and how many rows it must touch."""

    text: str
    values: tuple[object, ...]
    expect_rows: int | None


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold in each transaction, or nothing is written ever again: a query and how many rows it finds."""

    query: Operation
    reason: str
    on_lost: OnLost


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event and its encoded row without ``seq``, which only the commit can give."""

    event: Event
    values: tuple[object, ...]


@dataclass(slots=True, eq=False)
class Job:
    """A unit on its way: encoded, with the future of its waiter."""

    operations: tuple[Operation, ...]
    event_rows: tuple[EventRow, ...]
    must_land: bool
    landing: Landing = field(repr=False)


class CommitQueue:
    """Jobs in the order of arrival. ``put`` and the futures live on the event loop, the rest belongs to the writer."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._followers: list[OnCommitted] = []
        self._capacity = capacity
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closing = False
        self._pending = 0
        self._arrived: deque[Job] = deque()
        self._retained: list[Job] = []
        self._is_in_doubt = False
        self._failed_rounds = 0
        self._failure: str | None = None
        self._is_everyones = False
        self._lost: str | None = None
        self._fence: str | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Accept jobs; outcomes are told on ``loop``."""
        self._loop = loop

    def follow(self, on_committed: OnCommitted) -> None:
        """Call ``on_committed`` on the loop after each commit that has events."""
        self._followers.append(on_committed)

    def close(self) -> None:
        """Accept no more; what is inside is still written."""
        self._is_closing = True

    @property
    def health(self) -> Health:
        """Whether the last round was taken, and nothing that must land was lost."""
        reason = self._fence or self._lost or self._failure
        if self._loop is None:
            reason = "the database is not started"
        elif self._is_closing:
            reason = "the database is closing"
        return Health(reason is None, reason, self._failure is not None and self._is_everyones)

    @property
    def last_failure(self) -> str | None:
        """Why the last round failed; None when it did not."""
        return self._failure

    @property
    def waiting(self) -> int:
        """Jobs that have not ended."""
        return self._pending

    def put(self, operations: tuple[Operation, ...], event_rows: tuple[EventRow, ...], *, must_land: bool) -> Landing:
        """Queue a job behind all others.

        Raises:
            StoreUnavailable: not open, closing, or full; OwnershipLost after a guard failed.
        """
        if self._loop is None or self._is_closing:
            raise StoreUnavailable("the database is not open: nothing can be recorded now")
        if self._fence is not None:
            raise OwnershipLost(self._fence)
        if self._is_in_doubt and not must_land:
            raise StoreUnavailable(f"an earlier commit is in doubt: {self._failure}")
        if self._pending >= self._capacity * (2 if must_land else 1):
            raise StoreUnavailable(f"{self._pending} records wait for the database already: {self._failure or 'busy'}")
        landing: Landing = self._loop.create_future()
        landing.add_done_callback(_look_at_error)
        self._pending += 1
        self._arrived.append(Job(operations, event_rows, must_land, landing))
        return landing

    def take(self) -> list[Job]:
        """The next group: first what must land and did not, then the oldest arrivals; a group in doubt comes alone."""
        group, self._retained = self._retained, []
        if self._is_in_doubt:
            return group
        while self._arrived and len(group) < GROUP_LIMIT:
            group.append(self._arrived.popleft())
        return group

    def take_own(self, operations: tuple[Operation, ...]) -> list[Job]:
        """A group of the writer's own making, when nothing has arrived; whether it lands nobody waits for."""
        if self._loop is None or self._is_closing or self._fence is not None:
            return []
        landing: Landing = self._loop.create_future()
        landing.add_done_callback(_look_at_error)
        self._loop.call_soon_threadsafe(self._count)  # before its end is told: the loop keeps the order
        return [Job(operations, (), must_land=False, landing=landing)]

    def _count(self) -> None:
        self._pending += 1

    @property
    def needs_probe(self) -> bool:
        """Whether the last round failed: without a job, only a probe finds out that the trouble is over."""
        return self._failure is not None and not self._is_closing and self._fence is None

    def landed(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> float | None:
        """The group was committed; each job ended as its outcome says. Returns when to come back."""
        self._failed_rounds = 0
        self._failure = None
        self._is_in_doubt = False
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.must_land and isinstance(outcome, TesError):
                self._lost = f"a record of what happened at the exchange was refused: {outcome}"
                _log.error("store.record_refused", reason=str(outcome))
        self._tell(list(zip(jobs, outcomes, strict=True)))
        return 0.0 if self._arrived else None

    @property
    def is_fenced(self) -> bool:
        """Whether a guard has failed."""
        return self._fence is not None

    def fenced(self, jobs: Sequence[Job], guard: Guard) -> None:
        """The guard failed: nothing of the group was written, and nothing will be, records included."""
        refused = [*jobs, *self._retained]
        self._retained = []
        while self._arrived:
            refused.append(self._arrived.popleft())
        if self._fence is None:
            self._fence = guard.reason
            lost = sum(job.must_land for job in refused)
            _log.critical("store.ownership_lost", reason=guard.reason, records_lost=lost)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(guard.on_lost, guard.reason)
        self._tell([(job, OwnershipLost(guard.reason)) for job in refused])

    def failed(
        self, jobs: Sequence[Job], reason: str, *, is_in_doubt: bool = False, is_everyones: bool = False
    ) -> float | None:
        """Nothing of the group was committed, and what must land is retained. Returns when to come back.

        When nobody knows whether it was, the whole group is retained and comes again, alone and unchanged, until
        somebody does: an intent must not be told as refused while it may be on record. Later intents are refused.
        """
        self._failed_rounds += 1
        if self._failure is None:
            _log.error("store.unavailable", reason=reason)
        self._failure = reason
        self._is_everyones = is_everyones
        gives_up = self._is_closing and self._failed_rounds >= CLOSING_ATTEMPTS
        self._is_in_doubt = is_in_doubt and not gives_up
        self._retained = [] if gives_up else [job for job in jobs if job.must_land or is_in_doubt]
        dropped: list[tuple[Job, Outcome]] = [
            (job, StoreUnavailable(reason)) for job in jobs if gives_up or not (job.must_land or is_in_doubt)
        ]
        if gives_up and any(job.must_land for job in jobs):
            _log.error("store.records_lost_at_close", count=sum(job.must_land for job in jobs), reason=reason)
        self._tell(dropped)
        if self._is_closing and not self._retained and not self._arrived:
            return None
        return min(FIRST_RETRY_S * 2.0 ** min(self._failed_rounds - 1, 30), LONGEST_RETRY_S)

    def _tell(self, ended: list[tuple[Job, Outcome]]) -> None:
        # a writer that a stop has left behind may come to its end when nobody is there any more
        if ended and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, ended)

    def _deliver(self, ended: list[tuple[Job, Outcome]]) -> None:
        self._pending -= len(ended)
        recorded: list[RecordedEvent] = []
        for job, outcome in ended:
            if isinstance(outcome, TesError):
                if not job.landing.done():
                    job.landing.set_exception(outcome)
                continue
            recorded.extend(outcome)
            if not job.landing.done():
                job.landing.set_result(outcome)
        if recorded:
            for on_committed in self._followers:
                on_committed(tuple(recorded))


def _look_at_error(landing: Landing) -> None:
    """A dropped future whose error nobody read would be reported by asyncio; ours may be dropped."""
    if not landing.cancelled():
        landing.exception()
