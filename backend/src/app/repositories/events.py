"""The event log, read upwards (contract, sections 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from sqlalchemy import bindparam, or_, select, union_all

from app.db.event_log import EVENT_COUNTER, counters, events, recorded_event
from app.db.generation import GENERATION_COUNTER
from app.db.port import Database, Read, Reader
from app.db.statements import Query, Row
from app.domain.events import EventType, RecordedEvent
from app.repositories.pages import PAGE_BYTES, Show

_IS_PAPER = Query(
    select(events.c.is_paper).where(events.c.decision_id == bindparam("decision")).order_by(events.c.seq).limit(1)
)
_HEAD = Query(select(counters).where(or_(counters.c.name == EVENT_COUNTER, counters.c.name == GENERATION_COUNTER)))


@dataclass(frozen=True, slots=True)
class LogHead:
    """Which log it is, and its newest event's ``seq``; 0 when there is none."""

    generation: str
    last_seq: int


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events as they are shown, oldest first.

    ``last_seq`` is that of the last of them, and of where the search began when there is none; ``is_last`` when the log
    had no more.
    """

    items: tuple[bytes, ...]
    last_seq: int
    is_last: bool
    head: LogHead


class EventRepository:
    """Reads of the event log. Events are written with the change that they tell of, never here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, seq: int, limit: int, types: frozenset[EventType] | None = None) -> list[RecordedEvent]:
        """At most ``limit`` events behind ``seq``, oldest first; only those of ``types`` when given.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_after(types or None), {"after": seq, "limit": limit})
        return [recorded_event(row) for row in rows]

    async def shown_after(
        self, seq: int, limit: int, types: frozenset[EventType] | None, show: Show[RecordedEvent]
    ) -> EventPage:
        """As :meth:`after`, for somebody who only looks; less when it is large.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        return await self._database.browse(partial(_show_after, seq, limit, types or None, show))

    async def last_seq(self) -> int:
        """The newest event's ``seq``; 0 when there is none."""
        return (await self.head()).last_seq

    async def head(self) -> LogHead:
        """Where the log ends, and which it is.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        return _head(await self._database.fetch(_HEAD, {}))

    async def is_paper(self, decision_id: str) -> bool | None:
        """Whether a decision came while orders went to the paper venue; None when no event tells.

        It reads the log from the beginning to there.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_IS_PAPER, {"decision": decision_id})
        return bool(rows[0]["is_paper"]) if rows else None


def _show_after(
    seq: int, limit: int, types: frozenset[EventType] | None, show: Show[RecordedEvent], reader: Reader
) -> EventPage:
    rows, counted = reader(Read(_after(types), {"after": seq, "limit": limit}), Read(_HEAD))
    head = _head(counted)
    items: list[bytes] = []
    size = 0
    for row in rows:
        recorded = recorded_event(row)
        items.append(show(recorded))
        size += len(items[-1])
        seq = recorded.seq
        if size > PAGE_BYTES:
            return EventPage(tuple(items), seq, is_last=False, head=head)
    return EventPage(tuple(items), seq, is_last=len(rows) < limit, head=head)


def _head(rows: Iterable[Row]) -> LogHead:
    values = {row["name"]: row["value"] for row in rows}
    return LogHead(f"{values[GENERATION_COUNTER]:x}", values[EVENT_COUNTER])


@lru_cache(maxsize=64)
def _after(types: frozenset[EventType] | None) -> Query:
    """The next events. Each type is sought by itself, in the index: a rare one among a million costs nothing then."""
    behind = select(events).where(events.c.seq > bindparam("after"))
    if types is None:
        return Query(behind.order_by(events.c.seq).limit(bindparam("limit")))
    of_each = [
        select(behind.where(events.c.type == name).order_by(events.c.seq).limit(bindparam("limit")).subquery())
        for name in sorted(types)
    ]
    found = (union_all(*of_each) if len(of_each) > 1 else of_each[0]).subquery()
    return Query(select(found).order_by(found.c.seq).limit(bindparam("limit")))
