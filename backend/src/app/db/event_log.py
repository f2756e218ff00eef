"""The event log's tables: the database itself numbers events, so that ``seq`` is gapless in any order of failures.

A sequence would leave a gap at each rollback; the counter row is updated in the transaction that writes the events.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, bindparam, insert, select, update

from app.db.metadata import metadata
from app.db.statements import Query, Row, Statement
from app.db.types import Flag, Json, Name, UtcDateTime, Whole
from app.domain.errors import UnreadableRecord
from app.domain.events import Event, EventType, RecordedEvent

EVENT_COUNTER = "events"
PROBE_COUNTER = "probes"
UNREADABLE = "record_unreadable"
"""The code of the alert about a row that can't be read."""

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Whole, nullable=False),
    sqlite_strict=True,
)

events = Table(
    "events",
    metadata,
    Column("seq", Whole, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Name(EventType), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("is_paper", Flag, nullable=False),
    Column("decision_id", Text),
    Column("trade_id", Text),
    Column("asset", Text),
    Column("data", Json, nullable=False),
    Index(None, "type", "seq"),
    sqlite_strict=True,
)

_EVENT_COLUMNS = tuple(column.name for column in events.columns if column.name != "seq")
_PLAIN_COLUMNS = tuple(name for name in _EVENT_COLUMNS if name not in ("type", "data"))

INSERT_EVENT = Statement(insert(events).values({column.name: bindparam(column.name) for column in events.columns}))
READ_COUNTER = Query(select(counters.c.value).where(counters.c.name == EVENT_COUNTER))
LOCK_COUNTER = Query(select(counters.c.value).where(counters.c.name == EVENT_COUNTER).with_for_update())
WRITE_COUNTER = Statement(
    update(counters).where(counters.c.name == EVENT_COUNTER).values({"value": bindparam("value")})
)
ADVANCE_COUNTER = Statement(
    update(counters)
    .where(counters.c.name == EVENT_COUNTER, counters.c.value == bindparam("before"))
    .values({"value": bindparam("after")})
)
"""Like ``WRITE_COUNTER``, for who only believes to know its value."""
PROBE = Statement(update(counters).where(counters.c.name == PROBE_COUNTER).values({"value": counters.c.value + 1}))
"""A write that means nothing, but is one: SQLite writes no page when a row stays as it was."""


def event_parameters(event: Event, seq: int) -> dict[str, object]:
    """The parameters of ``INSERT_EVENT``."""
    return {
        "seq": seq,
        "id": event.id,
        "type": event.type,
        "time": event.time,
        "account_id": event.account_id,
        "is_paper": event.is_paper,
        "decision_id": event.decision_id,
        "trade_id": event.trade_id,
        "asset": event.asset,
        "data": event.data,
    }


def recorded_event(row: Row) -> RecordedEvent:
    """The event that a row of ``events`` holds; in place of one that can't be read, an alert that says so.

    So the log stays without a gap for who reads it.
    """
    try:
        return RecordedEvent(row["seq"], Event(**{name: row[name] for name in _EVENT_COLUMNS}))
    except UnreadableRecord as error:
        text = f"event {row['seq']} can't be read: {error}, which this program does not know"
        data = {"severity": "warning", "code": UNREADABLE, "message": text}
        plain = {name: row[name] for name in _PLAIN_COLUMNS}
        return RecordedEvent(row["seq"], Event(type=EventType.ALERT_RAISED, data=data, **plain))
