"""``ExecutionResult``: what became of a decision (contract, section 5)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app.domain.errors import ErrorCode
from app.schemas.commissions import CommissionDocument
from app.schemas.decision import Action, UnreadableDecision
from app.schemas.fields import Number, UtcTime


class ResultStatus(StrEnum):
    """The whole decision."""

    EXECUTED = "executed"
    PARTIAL = "partial"
    REJECTED = "rejected"
    FAILED = "failed"
    PENDING = "pending"


class AssetStatus(StrEnum):
    """One asset of it."""

    PROTECTED = "protected"
    FILLED = "filled"
    CLOSED = "closed"
    ADJUSTED = "adjusted"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    FAILED = "failed"
    EMERGENCY_CLOSED = "emergency_closed"
    PARTIALLY_PROTECTED = "partially_protected"
    UNPROTECTED = "unprotected"
    PENDING = "pending"

    @property
    def is_success(self) -> bool:
        """Whether the wish was carried out."""
        return self in _SUCCESS


_SUCCESS = frozenset(
    {AssetStatus.PROTECTED, AssetStatus.FILLED, AssetStatus.CLOSED, AssetStatus.ADJUSTED, AssetStatus.SKIPPED}
)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class ResultError(_Value):
    """Why something was not done, and when to try again."""

    code: ErrorCode
    message: str
    retry_after_seconds: float | None = None
    exchange_code: int | None = None


class OrderReference(_Value):
    """An order as the exchange last showed it."""

    client_order_id: str
    order_id: int | None
    status: str


class ResultOrders(_Value):
    """The orders of one asset's result; ``trailing_stop`` is only there where one was asked for."""

    entry: OrderReference | None = None
    take_profit: OrderReference | None = None
    stop_loss: OrderReference | None = None
    trailing_stop: OrderReference | None = Field(default=None, exclude_if=lambda value: value is None)
    reduce: OrderReference | None = Field(default=None, exclude_if=lambda value: value is None)
    close: OrderReference | None = None


class Timings(_Value):
    """Milliseconds between the steps."""

    received_to_sent: float | None = None
    sent_to_filled: float | None = None
    filled_to_protected: float | None = None


class AssetResult(_Value):
    """What became of one asset's decision."""

    asset: str
    action: Action | None = Field(description="null: it could not be read")
    status: AssetStatus
    success: bool
    trade_id: str | None = None
    side: str | None = None
    requested_quantity: Number | None = None
    filled_quantity: Number | None = None
    fill_price: Number | None = None
    leverage: int | None = None
    requested_leverage: int | None = None
    take_profit_price: Number | None = Field(default=None, exclude_if=lambda value: value is None)
    stop_loss_price: Number | None = Field(default=None, exclude_if=lambda value: value is None)
    orders: ResultOrders = ResultOrders()
    slippage_bps: Number | None = None
    commission: Number | None = None
    commission_asset: str | None = None
    commissions: tuple[CommissionDocument, ...] = Field(
        default=(),
        description="what was paid in each asset, where there are several; commission is null then",
        exclude_if=lambda value: not value,
    )
    timings_ms: Timings = Timings()
    notes: tuple[str, ...] = Field(default=(), description="how the decision was read, where that needs saying")
    error: ResultError | None = None


class ExecutionResult(_Value):
    """What became of a whole decision. ``completed_at`` is null while anything is pending."""

    decision_id: str
    account_id: str
    is_paper: bool
    status: ResultStatus
    success: bool
    received_at: UtcTime
    completed_at: UtcTime | None
    results: tuple[AssetResult, ...]


def unreadable_result(one: UnreadableDecision) -> AssetResult:
    """It could not be read, and nothing of it was done."""
    error = ResultError(code=ErrorCode.VALIDATION_ERROR, message=one.problem)
    return AssetResult(asset=one.asset, action=one.action, status=AssetStatus.REJECTED, success=False, error=error)


def whole_status(statuses: list[AssetStatus]) -> ResultStatus:
    """The status of a decision from those of its assets (contract, sections 5 and 9)."""
    if AssetStatus.PENDING in statuses:
        return ResultStatus.PENDING
    done = [status for status in statuses if status.is_success]
    if len(done) == len(statuses):
        return ResultStatus.EXECUTED
    if done:
        return ResultStatus.PARTIAL
    if all(status is AssetStatus.REJECTED for status in statuses):
        return ResultStatus.REJECTED
    return ResultStatus.FAILED
