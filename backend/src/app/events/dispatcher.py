"""Committed events on their way to everybody who follows them: the WebSocket, the dashboard, alerts.

A follower first reads the log from where it left off, then goes live without a gap or a repetition. One that does not
keep up is dropped and comes back with its last ``seq``; it never slows the writer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

import structlog

from app.domain.errors import StoreUnavailable, TesError
from app.domain.events import EventType, RecordedEvent
from app.domain.ports import Clock

_log = structlog.get_logger(__name__)

QUEUE_LIMIT = 1000
"""Events that may wait for one live follower."""
REPLAY_PAGE = 500
_RETRY_S = 1.0


class SlowSubscriber(TesError):
    """A follower fell too far behind. ``last_seq`` is the last event it was given: subscribe again after it."""

    def __init__(self, last_seq: int) -> None:
        super().__init__(f"too slow: too many events were waiting; subscribe again after seq {last_seq}")
        self.last_seq = last_seq


class EventLog(Protocol):
    """Where committed events can be read again."""

    async def after(self, seq: int, limit: int, types: frozenset[EventType] | None) -> list[RecordedEvent]:
        """At most ``limit`` events behind ``seq``, oldest first, seeing everything that was committed."""
        ...


class EventDispatcher:
    """Hands each committed event to the followers. Everything here happens on the event loop."""

    def __init__(self, log: EventLog, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._log = log
        self._queue_limit = queue_limit
        self._live: set[Subscription] = set()
        self._last_seq = 0
        self._is_closed = False

    @property
    def last_seq(self) -> int:
        """``seq`` of the newest event that was published; 0 before the first."""
        return self._last_seq

    @property
    def is_closed(self) -> bool:
        """Whether no more events will come."""
        return self._is_closed

    def publish(self, events: Iterable[RecordedEvent]) -> None:
        """Take the events of a commit, in the order of ``seq``: the database's ``follow`` callback. Never waits."""
        for recorded in events:
            if recorded.seq > self._last_seq + 1:  # another process wrote in between: the log has what we were not told
                for subscription in self._live:
                    subscription.fall_back()
                self._live.clear()
            self._last_seq = recorded.seq
            for subscription in tuple(self._live):
                if not subscription.offer(recorded, self._queue_limit):
                    self._live.discard(subscription)

    def subscribe(self, after_seq: int, types: Iterable[EventType] | None = None) -> Subscription:
        """Follow the events behind ``after_seq``, only those of ``types`` when given."""
        return Subscription(self, self._log, after_seq, frozenset(types) if types else None)

    async def follow(
        self,
        after_seq: int,
        clock: Clock,
        take: Callable[[RecordedEvent], object],
        *,
        name: str,
        types: Iterable[EventType] | None = None,
    ) -> None:
        """Hand each event behind ``after_seq`` to ``take``, until the dispatcher closes; ``name`` is for the log.

        What a follower was too slow for, or could not read for a while, is read again from the log: none is left out.
        """
        while not self._is_closed:
            try:
                async with self.subscribe(after_seq, types) as events:
                    async for recorded in events:
                        after_seq = recorded.seq
                        take(recorded)
            except (SlowSubscriber, StoreUnavailable) as error:
                _log.warning(f"{name}.interrupted", reason=str(error))
                await clock.sleep(_RETRY_S if isinstance(error, StoreUnavailable) else 0)

    def close(self) -> None:
        """End every subscription, after what waits in it."""
        self._is_closed = True
        for subscription in self._live:
            subscription.wake()
        self._live.clear()

    def join_live(self, subscription: Subscription) -> None:
        """From now on ``subscription`` gets what is published."""
        self._live.add(subscription)

    def leave(self, subscription: Subscription) -> None:
        """``subscription`` wants no more."""
        self._live.discard(subscription)


class Subscription:
    """An asynchronous iterator of events, for one reader. Close it, or use it as a context manager.

    Raises SlowSubscriber from iteration when the reader did not keep up, StoreUnavailable when the log can't be read.
    """

    def __init__(
        self, dispatcher: EventDispatcher, log: EventLog, after_seq: int, types: frozenset[EventType] | None
    ) -> None:
        self._dispatcher = dispatcher
        self._log = log
        self._types = types
        self._position = after_seq
        self._given = after_seq
        self._waiting: deque[RecordedEvent] = deque()
        self._news = asyncio.Event()
        self._is_live = False
        self._is_dropped = False
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedEvent:
        while not self._waiting:
            if self._is_dropped:
                raise SlowSubscriber(self._given)
            if self._is_closed or self._dispatcher.is_closed:
                raise StopAsyncIteration
            if self._is_live:
                self._news.clear()
                await self._news.wait()
            else:
                await self._replay()
        recorded = self._waiting.popleft()
        self._given = recorded.seq
        return recorded

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Want no more; a reader that waits is released."""
        self._is_closed = True
        self._waiting.clear()
        self._dispatcher.leave(self)
        self.wake()

    def wake(self) -> None:
        """Let the reader look again."""
        self._news.set()

    def offer(self, recorded: RecordedEvent, limit: int) -> bool:
        """Take a live event; False when the reader is too far behind and the subscription ends."""
        if recorded.seq <= self._position:
            return True  # the replay has it: it was committed before and is published only now
        self._position = recorded.seq
        if self._types is not None and recorded.event.type not in self._types:
            return True
        if len(self._waiting) >= limit:
            self._is_dropped = True
            self._waiting.clear()
        else:
            self._waiting.append(recorded)
        self.wake()
        return not self._is_dropped

    def fall_back(self) -> None:
        """Something is missing between the last live event and the next: read on in the log."""
        self._is_live = False
        self.wake()

    async def _replay(self) -> None:
        """Read the next page of the log; go live once nothing that was published is missing.

        Nothing else runs between the last comparison and ``join_live``, so no event can fall between the two.
        """
        published = self._dispatcher.last_seq
        page = await self._log.after(self._position, REPLAY_PAGE, self._types)
        self._waiting.extend(page)
        if page:
            self._position = page[-1].seq
        if len(page) < REPLAY_PAGE:
            self._position = max(self._position, published)  # what was published is committed: the page has seen it
            if self._position >= self._dispatcher.last_seq:
                self._dispatcher.join_live(self)
                self._is_live = True
