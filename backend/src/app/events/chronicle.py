"""The chronicle: one log line for each committed event, with the ids that tie it to its decision.

A line tells what is durable, never what was only tried. It is written a moment later and one at a time, so that orders
which are leaving and fills which are coming in do not wait for it. What a crash leaves unwritten is in the event log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import structlog

from app.domain.errors import StoreUnavailable
from app.domain.events import Event, EventType, RecordedEvent
from app.domain.ports import Clock
from app.domain.tracing import trace_id_of

log = structlog.get_logger(__name__)

_LINGER_S = 0.02
_BREATH_S = 0.002
"""Between two lines: what is decided meanwhile meets one of them at most, not all."""
_MANY = 200
"""So many that the pauses are left out."""
_MOST_WAITING = 10_000
"""So many lines may wait; beyond that, who commits waits for the log."""
_KEPT_TRACES = 10_000
_ENDS_OF_DECISIONS = frozenset({EventType.DECISION_COMPLETED, EventType.DECISION_REJECTED})
_OF_A_RESULT = ("asset", "action", "status", "trade_id", "timings_ms", "error")

TraceparentOf = Callable[[str], Awaitable[object]]
"""Reads the ``traceparent`` that a decision on record came with; raises StoreUnavailable."""


def _name(type_: EventType) -> str:
    words = [word.lower() for word in re.findall("[A-Z][a-z]+", type_.value)]
    return f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else f"entries.{words[0]}"


NAMES: Mapping[EventType, str] = {type_: _name(type_) for type_ in EventType}
"""What a line about an event is called, such as ``order.filled``."""


class Chronicle:
    """Writes while it is entered, and at its end what still waits; enter it before the database is opened."""

    def __init__(self, clock: Clock, traceparent_of: TraceparentOf) -> None:
        self._clock = clock
        self._traceparent_of = traceparent_of
        self._waiting: deque[RecordedEvent] = deque()
        self._news = asyncio.Event()
        self._traces: OrderedDict[str, str] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def take(self, events: Iterable[RecordedEvent]) -> None:
        """Take the events of a commit: the database's ``follow`` callback."""
        self._waiting.extend(events)
        self._news.set()
        while len(self._waiting) > _MOST_WAITING:
            self._write_next()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="chronicle")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            self._write_next()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._clock.sleep(_LINGER_S)
            while self._waiting:
                await self._learn_trace(self._waiting[0].event)
                if self._waiting:
                    self._write_next()
                await self._clock.sleep(_BREATH_S if len(self._waiting) < _MANY else 0)

    async def _learn_trace(self, event: Event) -> None:
        """The beginning of a decision tells its trace; of one that began before this process, the record does."""
        decision_id = event.decision_id
        if decision_id is None or decision_id in self._traces or event.type is EventType.DECISION_RECEIVED:
            return
        try:
            self._keep_trace(decision_id, trace_id_of(decision_id, await self._traceparent_of(decision_id)))
        except StoreUnavailable:
            return  # this line does without

    def _keep_trace(self, decision_id: str, trace_id: str) -> None:
        self._traces[decision_id] = trace_id
        if len(self._traces) > _KEPT_TRACES:
            self._traces.popitem(last=False)

    def _write_next(self) -> None:
        recorded = self._waiting.popleft()
        try:
            self._write(recorded)
        except Exception:  # supervises the lines: what is wrong with one must not silence those behind it
            log.exception("chronicle.line_failed", seq=recorded.seq)

    def _write(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        if event.type is EventType.DECISION_RECEIVED and event.decision_id is not None:
            self._keep_trace(event.decision_id, event.data.get("trace_id") or trace_id_of(event.decision_id))
        trace_id = None if event.decision_id is None else self._traces.get(event.decision_id)
        ids = {
            "seq": recorded.seq,
            "time": event.time.isoformat(),
            "account_id": event.account_id,
            "asset": event.asset,
            "decision_id": event.decision_id,
            "trade_id": event.trade_id,
            "trace_id": trace_id,
        }
        line = {name: value for name, value in {**_data(event), **ids}.items() if value is not None}
        log.log(_level(event), NAMES[event.type], **line)


def _data(event: Event) -> Mapping[str, Any]:
    """What an event says, shortened where the record holds the whole."""
    if event.type not in _ENDS_OF_DECISIONS:
        return event.data
    results = [{name: one[name] for name in _OF_A_RESULT if one.get(name)} for one in event.data["results"]]
    return {"status": event.data["status"], "results": results}


def _level(event: Event) -> int:
    """WARNING for alerts of any severity, which the line names: a level above is kept for faults of the service."""
    return logging.WARNING if event.type is EventType.ALERT_RAISED else logging.INFO
