"""Results: what a trade means to the one who sent the decision. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO
from app.domain.orders import Order, OrderState
from app.domain.trades import CloseReason, Trade, TradeStatus
from app.schemas.decision import Action, AssetDecision
from app.schemas.fields import iso
from app.schemas.result import (
    AssetResult,
    AssetStatus,
    OrderReference,
    ResultError,
    ResultOrders,
    Timings,
)
from app.services.execution.risk import RiskRefused

_BPS_DIGITS = Decimal("0.01")
_PRICE_DIGITS = Decimal("1e-12")


def of_trade(trade: Trade, action: Action) -> AssetResult:
    """The result as it stands; ``pending`` while the outcome of the decision is open."""
    status = _status(trade)
    price = trade.entry_price
    return AssetResult(
        asset=trade.asset,
        action=action,
        status=status,
        success=status.is_success,
        trade_id=trade.id,
        side=trade.side.value,
        requested_quantity=trade.quantity,
        filled_quantity=trade.entered_quantity,
        fill_price=_tidy(price),
        leverage=trade.leverage,
        requested_leverage=trade.requested_leverage,
        orders=ResultOrders(
            entry=_reference(trade.entry),
            take_profit=_reference(_told(trade, OrderRole.TAKE_PROFIT)),
            stop_loss=_reference(_told(trade, OrderRole.STOP_LOSS)),
            trailing_stop=_reference(_told(trade, OrderRole.TRAILING_STOP)),
            close=_reference(_told(trade, OrderRole.CLOSE)),
        ),
        slippage_bps=_slippage_bps(trade, price),
        commission=trade.commission if trade.fills else None,
        commission_asset=trade.commission_asset,
        timings_ms=Timings(
            received_to_sent=_ms(trade.received_at, trade.entry_sent_at),
            sent_to_filled=_ms(trade.entry_sent_at, trade.first_fill_at),
            filled_to_protected=_ms(trade.first_fill_at, trade.protected_at) if trade.legs else None,
        ),
        error=_error(trade),
    )


def refused(item: AssetDecision, refusal: RiskRefused | DecisionRefused) -> AssetResult:
    """Refused before anything was sent."""
    return AssetResult(
        asset=item.asset,
        action=item.action,
        status=AssetStatus.REJECTED,
        success=False,
        requested_leverage=int(item.leverage) if item.leverage is not None else None,
        error=ResultError(code=refusal.code, message=refusal.message, retry_after_seconds=refusal.retry_after_s),
    )


def skipped(item: AssetDecision) -> AssetResult:
    """``hold``: nothing was to be done."""
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.SKIPPED, success=True)


def pending(item: AssetDecision) -> AssetResult:
    """Still at work, nothing to tell yet."""
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.PENDING, success=False)


def failed(item: AssetDecision, code: ErrorCode, message: str) -> AssetResult:
    """Something went wrong on the way; nothing is known to have been executed."""
    error = ResultError(code=code, message=message)
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.FAILED, success=False, error=error)


def of_close(trade: Trade) -> AssetResult:
    """The result of a wish to close: ``closed`` once the trade is."""
    result = of_trade(trade, Action.CLOSE_POSITION)
    status = AssetStatus.CLOSED if trade.status is TradeStatus.CLOSED else AssetStatus.PENDING
    return result.model_copy(update={"status": status, "success": status.is_success, "error": None})


def _status(trade: Trade) -> AssetStatus:
    match trade.status:
        case TradeStatus.REJECTED:
            return AssetStatus.REJECTED
        case TradeStatus.FAILED:
            return AssetStatus.FAILED
        case TradeStatus.OPEN if trade.entry.is_final:
            return AssetStatus.PROTECTED if trade.legs else AssetStatus.FILLED
        case TradeStatus.PROTECTING if trade.protection_failed:
            return AssetStatus.UNPROTECTED
        case TradeStatus.CLOSED:
            if trade.close_reason is CloseReason.EMERGENCY:
                return AssetStatus.EMERGENCY_CLOSED
            return AssetStatus.CLOSED
        case _:
            return AssetStatus.PENDING


def _told(trade: Trade, role: OrderRole) -> Order | None:
    """The order of a role worth naming: the one on the book, else the last one that was sent."""
    orders = [order for order in trade.orders_of(role) if order.state is not OrderState.PLANNED]
    live = [order for order in orders if order.is_live]
    found = live or orders
    return found[-1] if found else None


def _reference(order: Order | None) -> OrderReference | None:
    if order is None:
        return None
    return OrderReference(
        client_order_id=order.client_order_id, order_id=order.exchange_order_id, status=order.state.value
    )


def _error(trade: Trade) -> ResultError | None:
    if trade.error is None:
        return _doubt(trade.entry)
    return ResultError(
        code=trade.error.code,
        message=trade.error.message,
        exchange_code=trade.error.exchange_code,
        retry_after_seconds=trade.error.retry_after_s,
    )


def _doubt(entry: Order) -> ResultError | None:
    """While nobody knows what became of the entry, the result says so, and since when."""
    if entry.state is not OrderState.UNKNOWN or entry.submitted_at is None:
        return None
    text = f"the entry sent at {iso(entry.submitted_at)} got no answer; the exchange is being asked what became of it"
    if entry.stamp is not None:
        text += f", until {iso(entry.stamp.dead_after)} at the latest, when it can no longer be executed"
    return ResultError(code=ErrorCode.OUTCOME_UNKNOWN, message=text)


def _slippage_bps(trade: Trade, price: Decimal | None) -> Decimal | None:
    """How much worse than the mark price at planning the fill was; negative is better."""
    if price is None or trade.reference_price <= ZERO:
        return None
    return ((price / trade.reference_price - 1) * BPS * trade.side.sign).quantize(_BPS_DIGITS)


def _tidy(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(_PRICE_DIGITS)


def _ms(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round((end - start).total_seconds() * 1000, 3)
