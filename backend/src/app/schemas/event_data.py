"""What ``data`` of each event holds (contract, section 7): the source of ``docs/asyncapi.yaml``.

Events are written as plain values by whoever changes something; tests hold all of them against these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.errors import ErrorCode
from app.domain.events import EventType
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.reports import OrderType, PositionSide, Side
from app.domain.trades import CloseReason, TradeSide, TradeStatus
from app.schemas.commissions import CommissionDocument
from app.schemas.control import DifferenceDocument, HaltDocument
from app.schemas.fields import Number, UtcTime
from app.schemas.result import AssetResult, ResultStatus


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class DecisionReceivedData(_Data):
    """A decision is on record; it will be carried out once."""

    assets: tuple[str, ...]
    trace_id: str | None = Field(None, description="of each log line about what follows from it")


class DecisionEndedData(_Data):
    """What became of a decision, as in its ``ExecutionResult``."""

    status: ResultStatus
    success: bool
    results: tuple[AssetResult, ...]


class OrderData(_Data):
    """One of our orders as it stands now; ``status`` in the exchange's spelling, and in ours for what it never saw."""

    client_order_id: str
    order_id: int | None
    role: OrderRole
    side: Side
    type: OrderType
    status: OrderState
    quantity: Number | None
    price: Number | None
    stop_price: Number | None
    executed_quantity: Number
    average_price: Number
    reason: str | None = Field(description="why the exchange refused it")
    exchange_code: int | None = Field(description="the exchange's code of that")
    unknown_seconds: float | None = Field(None, description="for how long nobody has known what became of it")


class PositionUpdatedData(_Data):
    """A position as the exchange's stream told it."""

    quantity: Number = Field(description="negative when short")
    entry_price: Number
    unrealised_pnl: Number
    position_side: PositionSide
    reason: str = Field(description="the exchange's word for what changed it, such as ORDER or FUNDING_FEE")


class TradeErrorData(_Data):
    """What went wrong with a trade."""

    code: ErrorCode
    message: str


class TradeData(_Data):
    """A trade as it stands now."""

    status: TradeStatus
    side: TradeSide
    quantity: Number = Field(description="asked for")
    filled_quantity: Number
    exposure: Number = Field(description="still open")
    entry_price: Number | None
    leverage: int
    deadline_at: UtcTime | None = Field(description="until when it must be protected")
    error: TradeErrorData | None = None
    close_reason: CloseReason | None = Field(None, description="of a trade that is closed, as the rest")
    exit_price: Number | None = None
    realised_pnl: Number | None = None
    commission: Number | None = None
    commission_asset: str | None = None
    commissions: tuple[CommissionDocument, ...] = Field(
        (), description="what was paid in each asset, where there are several; commission is null then"
    )
    funding: Number | None = None


class TradeClosedData(TradeData):
    """A trade that is over. ``realised_pnl`` and ``funding`` are in the margin asset.

    When the exchange books funding after the close, the service sends this event again, with all figures and
    ``is_correction``: of one trade the latest event counts.
    """

    close_reason: CloseReason | None
    exit_price: Number | None
    realised_pnl: Number
    commission: Number | None
    commission_asset: str | None
    funding: Number
    is_correction: bool = Field(default=False, description="it was told as closed before; its figures have changed")


class ReconciliationCompletedData(_Data):
    """A comparison with the exchange, the first one or one that found something."""

    differences: int
    positions: int = Field(description="open at the exchange")


class AlertData(_Data):
    """Something that a person must know."""

    severity: Literal["warning", "critical"]
    code: str = Field(description="constant")
    message: str = Field(description="what happened, and what to do")


class ResumedData(_Data):
    """Entries are accepted again."""

    was: HaltDocument


class StreamConnectedData(_Data):
    """The exchange's account stream is up."""

    had_gap: bool = Field(description="whether something may have been missed, which a reconciliation then finds")


class StreamLostData(_Data):
    """The exchange's account stream is gone for now; it reconnects by itself."""

    reason: str


class WebhookRefusedData(_Data):
    """An alert of TradingView that was refused, whose sender throws the answer away."""

    status: int = Field(description="of the HTTP answer")
    code: str
    reason: str = Field(description="what is wrong and what to do; never what was sent")
    field: str | None = Field(None, description="the field that is wrong, where it is one field's fault")
    ticker: str | None = Field(None, description="of an alert that could be read and proved the secret")


EVENT_DATA: Mapping[EventType, type[BaseModel]] = {
    EventType.DECISION_RECEIVED: DecisionReceivedData,
    EventType.DECISION_REJECTED: DecisionEndedData,
    EventType.DECISION_COMPLETED: DecisionEndedData,
    EventType.ORDER_PLACED: OrderData,
    EventType.ORDER_UPDATED: OrderData,
    EventType.ORDER_FILLED: OrderData,
    EventType.ORDER_REJECTED: OrderData,
    EventType.ORDER_CANCELED: OrderData,
    EventType.POSITION_UPDATED: PositionUpdatedData,
    EventType.TRADE_OPENED: TradeData,
    EventType.TRADE_PROTECTED: TradeData,
    EventType.PROTECTION_FAILED: TradeData,
    EventType.TRADE_CLOSED: TradeClosedData,
    EventType.EMERGENCY_CLOSE: TradeData,
    EventType.RECONCILIATION_COMPLETED: ReconciliationCompletedData,
    EventType.DRIFT_FOUND: DifferenceDocument,
    EventType.ALERT_RAISED: AlertData,
    EventType.HALTED: HaltDocument,
    EventType.RESUMED: ResumedData,
    EventType.STREAM_CONNECTED: StreamConnectedData,
    EventType.STREAM_LOST: StreamLostData,
    EventType.WEBHOOK_REFUSED: WebhookRefusedData,
}
"""The form of ``data``, by type."""

EVENT_MEANING: Mapping[EventType, str] = {
    EventType.DECISION_RECEIVED: "A decision is on record and will be carried out, once.",
    EventType.DECISION_REJECTED: "Every asset of a decision was refused; nothing was sent.",
    EventType.DECISION_COMPLETED: "A decision has ended, one way or the other.",
    EventType.ORDER_PLACED: "The exchange has an order of ours.",
    EventType.ORDER_UPDATED: "An order changed its state, or was filled in part; UNKNOWN: its fate is not known yet.",
    EventType.ORDER_FILLED: "An order was filled.",
    EventType.ORDER_REJECTED: "The exchange refused an order.",
    EventType.ORDER_CANCELED: "An order was canceled, or ended without being filled.",
    EventType.POSITION_UPDATED: "The exchange told of a position, whoever holds it.",
    EventType.TRADE_OPENED: "The first part of an entry was filled.",
    EventType.TRADE_PROTECTED: "Every exit that was asked for is on the book.",
    EventType.PROTECTION_FAILED: "An exit could not be placed in time; the failure policy takes over.",
    EventType.TRADE_CLOSED: "A trade's position is closed; again when funding is booked after that.",
    EventType.EMERGENCY_CLOSE: "A position that could not be protected is being closed at market.",
    EventType.RECONCILIATION_COMPLETED: "The record was compared with the exchange.",
    EventType.DRIFT_FOUND: "A difference between the record and the exchange, and what was done about it.",
    EventType.ALERT_RAISED: "Something that a person must know.",
    EventType.HALTED: "No more entries, until somebody resumes.",
    EventType.RESUMED: "Entries are accepted again.",
    EventType.STREAM_CONNECTED: "The exchange's account stream is up.",
    EventType.STREAM_LOST: "The exchange's account stream is down; reconciliation covers the gap.",
    EventType.WEBHOOK_REFUSED: "An alert of TradingView was refused; nothing of it was done.",
}
"""What each event says happened."""
