"""The port to the database: whole units of work go in, rows come out.

A unit is a value, not a callable, so that every database runs the same units, and so that many can share one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from app.db.meter import CommitMeter
from app.db.statements import Query, Row, Statement
from app.domain.events import Event, RecordedEvent

T = TypeVar("T")

OnCommitted: TypeAlias = Callable[[tuple[RecordedEvent, ...]], None]
"""Called on the event loop with the events of a commit, in the order of ``seq``, before any waiter goes on."""

OnLost: TypeAlias = Callable[[str], None]
"""Called on the event loop, once, with the reason."""

Landing: TypeAlias = asyncio.Future[tuple[RecordedEvent, ...]]
"""Done when its unit is durable. It may be dropped: an error that nobody asks for makes no noise."""


@dataclass(frozen=True, slots=True)
class Write:
    """One statement of a unit. ``expect_rows`` not met rolls the whole unit back as a conflict."""

    statement: Statement
    parameters: Mapping[str, Any]
    expect_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """What is written whole or not at all: rows, and the events that tell of them.

    ``must_land`` marks records of what already happened at the exchange: when the database does not take them now,
    they are kept at the head of the queue, in order, and tried again until it does (scenario C2).

    ``may_linger`` marks what nobody waits for: it may begin its commit a moment later, together with what comes next,
    so that the writer does not take the interpreter from orders that are just leaving.
    """

    writes: tuple[Write, ...]
    events: tuple[Event, ...] = ()
    must_land: bool = False
    may_linger: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A query and its parameters."""

    query: Query
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """A reading connection. It blocks, and serves one caller at a time."""

    def __call__(self, *reads: Read) -> list[list[Row]]:
        """The rows of several queries, all as of one moment.

        Raises:
            StoreUnavailable: the database did not answer.
            InvariantBroken: it does not understand a query.
        """
        ...

    def close(self) -> None:
        """Give the connection back; may be called twice."""
        ...


OpenReader: TypeAlias = Callable[[], Reader]
"""Makes a reader. It can be pickled, so that another process may make it."""

Work: TypeAlias = Callable[[Reader], T]
"""What is read and made of it. It and its result can be pickled: a function of a module, or a partial of one."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the database takes writes; if not, why, in words for the operator (readiness, ``tes doctor``)."""

    is_healthy: bool
    reason: str | None = None
    is_everyones: bool = False
    """The database itself says no: no other process can write now either."""


class Database(Protocol):
    """A durable store with one order of writes."""

    async def start(self) -> None:
        """Open the database and bring its schema up to date.

        Raises:
            StoreUnavailable: it can't be opened, or its schema is newer than this program.
        """
        ...

    def follow(self, on_committed: OnCommitted) -> None:
        """Tell ``on_committed`` of each commit that has events."""
        ...

    async def close(self) -> None:
        """Write what is queued, then close. Takes bounded time even when the database takes no writes."""
        ...

    def enqueue(self, unit: Unit) -> Landing:
        """Queue ``unit`` behind everything queued before; the future is done when it is durable.

        The future raises OwnershipLost when a guard failed, StoreConflict when the unit found other rows than it
        expected (nothing of it was written), StoreUnavailable when the database did not take it (not so for
        ``must_land``), and InvariantBroken when the database does not understand it.

        Raises:
            StoreUnavailable: not started, closing, or too much is waiting already.
            InvariantBroken, TypeError, ValueError: a parameter is missing, unknown or of the wrong type.
        """
        ...

    async def commit(self, unit: Unit) -> tuple[RecordedEvent, ...]:
        """Enqueue ``unit`` and wait until it is durable; raises what the future raises."""
        ...

    async def fetch(self, query: Query, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of ``query``, seeing every unit whose future is done.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        ...

    async def snapshot(self, *reads: Read) -> list[list[Row]]:
        """The rows of several queries, all as of one moment; otherwise like ``fetch``."""
        ...

    async def browse(self, work: Work[T]) -> T:
        """Run ``work`` for somebody who only looks: it keeps neither the event loop nor a read of trading's waiting.

        Pieces of work take turns, so a large answer is asked for in small pieces.

        Raises:
            StoreUnavailable: the database did not answer; whatever ``work`` raises.
        """
        ...

    def keep_alive(self, unit: Unit, is_alive: Callable[[], bool]) -> None:
        """Commit ``unit`` every now and then while nothing else is, as long as ``is_alive``, which threads may call.

        So what has to be renewed is renewed while the event loop is held up by work of its own.
        """
        ...

    def guard(self, read: Read, rows: int, reason: str, on_lost: OnLost) -> None:
        """From now on each commit looks first, in its own transaction, whether ``read`` finds ``rows`` rows.

        When it does not, nothing is written by this object ever again: what waits and what comes raises OwnershipLost
        with ``reason``, and ``on_lost`` is called with it on the event loop.
        """
        ...

    @property
    def health(self) -> Health:
        """Whether writes are taken at the moment."""
        ...

    @property
    def waiting(self) -> int:
        """Units that are not yet durable."""
        ...

    @property
    def meter(self) -> CommitMeter:
        """How long commits take, and how many fail."""
        ...
