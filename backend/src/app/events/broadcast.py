"""One event log for hundreds of readers at once: each event is put into bytes once, and trading comes first.

A reader reads the log up to the present, a page at a time and one reader after another, then takes a seat. What is new
waits in one ring for all of them and is handed out in short turns with pauses in between, the later the more readers
there are, so that the decision which caused it is sent before its readers hear of it. A reader whose connection is full
is passed over; one whom the ring has passed is dropped, and comes back with its last ``seq``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from app.domain.events import EventType, RecordedEvent
from app.domain.ports import Clock
from app.events.dispatcher import QUEUE_LIMIT, EventDispatcher, SlowSubscriber

_PAGE = 100
_TURN = 25
"""Readers that are served before the rest of the program has its turn."""
_BREATH_S = 0.001
_DELAY_PER_READER_S, _LONGEST_DELAY_S = 0.000_05, 0.025
_LOOK_AGAIN_S = 0.1


class ShownPage(Protocol):
    """Some events of the log in bytes, oldest first."""

    @property
    def items(self) -> tuple[bytes, ...]:
        """The events."""
        ...

    @property
    def last_seq(self) -> int:
        """``seq`` of the last of them; of where the search began when there is none."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether the log had no more."""
        ...


class ShownLog(Protocol):
    """Where committed events are read and put into bytes, away from the event loop."""

    async def shown_after(
        self, seq: int, limit: int, types: frozenset[EventType] | None, show: Callable[[RecordedEvent], bytes]
    ) -> ShownPage:
        """At most ``limit`` events behind ``seq``, seeing everything that was committed."""
        ...


class Sink(Protocol):
    """A reader's connection."""

    @property
    def is_ready(self) -> bool:
        """Whether it takes more without holding it in memory."""
        ...

    def write(self, data: bytes) -> None:
        """Send; never waits."""
        ...

    async def drain(self) -> None:
        """Wait until it is ready, or gone."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    seq: int
    type: EventType
    data: bytes


@dataclass(eq=False, slots=True)
class _Seat:
    """One live reader; ``position`` is the last event that it was given, or that its filter left out."""

    position: int
    types: frozenset[EventType] | None
    sink: Sink
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_too_slow: bool = False


class Broadcast:
    """Hands the events of a dispatcher to readers; ``encode`` makes an event's bytes."""

    def __init__(
        self,
        dispatcher: EventDispatcher,
        log: ShownLog,
        clock: Clock,
        encode: Callable[[RecordedEvent], bytes],
        *,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        self._dispatcher = dispatcher
        self._log = log
        self._clock = clock
        self._encode = encode
        self._ring: deque[_Entry] = deque(maxlen=limit)
        self._seats: dict[_Seat, None] = {}
        self._last_seq = 0
        self._news = asyncio.Event()
        self._is_closed = False
        self._replaying = asyncio.Lock()

    @property
    def readers(self) -> int:
        """How many follow live."""
        return len(self._seats)

    async def run(self, after_seq: int) -> None:
        """Collect and hand out what comes behind ``after_seq``, until the dispatcher closes or this is cancelled."""
        self._last_seq = after_seq
        delivering = asyncio.create_task(self._deliver())
        try:
            await self._dispatcher.follow(after_seq, self._clock, self._collect, name="broadcast")
        finally:
            self._is_closed = True
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            for seat in list(self._seats):
                self._serve(seat, {}, limit=None)
                seat.ended.set()

    async def follow(self, after_seq: int, types: frozenset[EventType] | None, sink: Sink) -> None:
        """Give a reader what lies behind ``after_seq``, then what happens, until the service stops.

        Raises:
            SlowSubscriber: the reader did not keep up.
            StoreUnavailable: the log can't be read.
        """
        position = after_seq
        while position < self._last_seq - len(self._ring):
            async with self._replaying:
                seen = self._last_seq
                page = await self._log.shown_after(position, _PAGE, types, self._encode)
            sink.write(b"".join(page.items))
            position = max(seen, page.last_seq) if page.is_last else page.last_seq
            await sink.drain()
        seat = _Seat(position, types, sink)
        self._seats[seat] = None
        self._news.set()
        try:
            if not self._is_closed:
                await seat.ended.wait()
        finally:
            self._seats.pop(seat, None)
        if seat.is_too_slow:
            raise SlowSubscriber(seat.position)

    def _collect(self, recorded: RecordedEvent) -> None:
        self._last_seq = recorded.seq
        self._ring.append(_Entry(recorded.seq, recorded.event.type, self._encode(recorded)))
        self._news.set()

    async def _deliver(self) -> None:
        """Hand out whenever there is news; look again soon while somebody is behind."""
        is_behind = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S if is_behind else None):
                    await self._news.wait()
            await self._clock.sleep(min(_LONGEST_DELAY_S, len(self._seats) * _DELAY_PER_READER_S))
            self._news.clear()
            is_behind = await self._hand_out()

    async def _hand_out(self) -> bool:
        """One round over all readers; whether somebody is still behind."""
        is_behind = False
        made: dict[tuple[int, frozenset[EventType] | None], tuple[int, bytes]] = {}
        for number, seat in enumerate(list(self._seats), start=1):
            if seat.position < self._last_seq:
                is_behind |= self._serve(seat, made)
                if seat.position < self._last_seq and seat.sink.is_ready:
                    self._news.set()
            if number % _TURN == 0:
                await self._clock.sleep(_BREATH_S)
                made.clear()  # the ring has moved on
        return is_behind

    def _serve(
        self,
        seat: _Seat,
        made: dict[tuple[int, frozenset[EventType] | None], tuple[int, bytes]],
        limit: int | None = _PAGE,
    ) -> bool:
        """Give one reader what waits for it, if it takes it; whether it is still behind."""
        begin = seat.position - (self._last_seq - len(self._ring))
        if begin < 0:
            seat.is_too_slow = True
            seat.ended.set()
            return False
        if not seat.sink.is_ready:
            return True
        key = seat.position, seat.types
        if key not in made:
            end = None if limit is None else begin + limit
            entries = list(islice(self._ring, begin, end))
            wanted = [entry.data for entry in entries if seat.types is None or entry.type in seat.types]
            made[key] = (entries[-1].seq if entries else seat.position), b"".join(wanted)
        seat.position, data = made[key]
        if data:
            seat.sink.write(data)
        return seat.position < self._last_seq
