"""The public form of an event (contract, section 7)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.events import EventType, RecordedEvent
from app.schemas.event_summary import summary_of
from app.schemas.fields import UtcTime, iso


class EventDocument(BaseModel):
    """Something that happened, with its place in the log."""

    model_config = ConfigDict(frozen=True, title="Event")

    seq: int = Field(ge=1, description="gapless, rises by one")
    id: str
    type: EventType
    time: UtcTime
    account_id: str
    is_paper: bool
    decision_id: str | None
    trade_id: str | None
    asset: str | None
    data: dict[str, Any] = Field(description="by type, see docs/asyncapi.yaml; money and quantities are text")
    summary: str = Field(description="what happened, in one sentence")


class EventListDocument(BaseModel):
    """A page of the event log. Pass ``next_cursor`` as ``after`` to get the page behind it; null: there is none yet."""

    model_config = ConfigDict(frozen=True)

    items: tuple[EventDocument, ...]
    next_cursor: str | None
    generation: str = Field(description="which log it is: a restored copy begins another")


def event_document(recorded: RecordedEvent) -> dict[str, Any]:
    """An event as JSON values, ready for the wire: an :class:`EventDocument` without the cost of making one."""
    event = recorded.event
    return {
        "seq": recorded.seq,
        "id": event.id,
        "type": event.type.value,
        "time": iso(event.time),
        "account_id": event.account_id,
        "is_paper": event.is_paper,
        "decision_id": event.decision_id,
        "trade_id": event.trade_id,
        "asset": event.asset,
        "data": dict(event.data),
        "summary": summary_of(event.type, event.data),
    }
