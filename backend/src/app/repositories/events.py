"""The event log, read upwards (contract, sections 6 and 7)."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import bindparam, or_, select

from app.db.event_log import EVENT_COUNTER, counters, events, recorded_event
from app.db.port import Database
from app.db.statements import Query
from app.domain.events import EventType, RecordedEvent

_IS_PAPER = Query(
    select(events.c.is_paper).where(events.c.decision_id == bindparam("decision")).order_by(events.c.seq).limit(1)
)
_LAST_SEQ = Query(select(counters.c.value).where(counters.c.name == EVENT_COUNTER))


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

    async def last_seq(self) -> int:
        """The newest event's ``seq``; 0 when there is none."""
        rows = await self._database.fetch(_LAST_SEQ, {})
        return int(rows[0]["value"])

    async def is_paper(self, decision_id: str) -> bool | None:
        """Whether a decision came while orders went to the paper venue; None when no event tells.

        It reads the log from the beginning to there.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_IS_PAPER, {"decision": decision_id})
        return bool(rows[0]["is_paper"]) if rows else None


@lru_cache(maxsize=64)
def _after(types: frozenset[EventType] | None) -> Query:
    clause = select(events).where(events.c.seq > bindparam("after"))
    if types is not None:
        clause = clause.where(or_(*(events.c.type == name for name in sorted(types))))
    return Query(clause.order_by(events.c.seq).limit(bindparam("limit")))
