"""Events: what happened, in the past tense, for the event log and everybody who follows it (contract, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """Names of the public events."""

    DECISION_RECEIVED = "DecisionReceived"
    DECISION_REJECTED = "DecisionRejected"
    DECISION_COMPLETED = "DecisionCompleted"
    ORDER_PLACED = "OrderPlaced"
    ORDER_UPDATED = "OrderUpdated"
    ORDER_FILLED = "OrderFilled"
    ORDER_REJECTED = "OrderRejected"
    ORDER_CANCELED = "OrderCanceled"
    POSITION_UPDATED = "PositionUpdated"
    TRADE_OPENED = "TradeOpened"
    TRADE_PROTECTED = "TradeProtected"
    PROTECTION_FAILED = "ProtectionFailed"
    TRADE_CLOSED = "TradeClosed"
    EMERGENCY_CLOSE = "EmergencyClose"
    RECONCILIATION_COMPLETED = "ReconciliationCompleted"
    DRIFT_FOUND = "DriftFound"
    ALERT_RAISED = "AlertRaised"
    HALTED = "Halted"
    RESUMED = "Resumed"
    STREAM_CONNECTED = "StreamConnected"
    STREAM_LOST = "StreamLost"
    WEBHOOK_REFUSED = "WebhookRefused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event before it has its place in the log.

    ``data`` holds only JSON values; money and quantities are text. Never a secret.
    """

    id: str
    type: EventType
    time: datetime
    account_id: str
    is_paper: bool
    decision_id: str | None = None
    trade_id: str | None = None
    asset: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its place: ``seq`` starts at 1, is gapless and rises by one."""

    seq: int
    event: Event
