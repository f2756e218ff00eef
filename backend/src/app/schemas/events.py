"""The public form of an event (contract, section 7)."""

from __future__ import annotations

from typing import Any

from app.domain.events import RecordedEvent
from app.schemas.fields import iso


def event_document(recorded: RecordedEvent) -> dict[str, Any]:
    """An event as JSON values, ready for the wire."""
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
    }
