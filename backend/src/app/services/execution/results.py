"""Results: what a trade means to the one who sent the decision. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.commissions import commissions_of
from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.exits_stood import exits_stood_at
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.orders import Order, OrderState
from app.domain.parts import executed_of, has_executed, is_entered, opening, orders_for
from app.domain.reports import FillReport
from app.domain.trades import Adjustment, AdjustmentKind, CloseReason, Trade, TradeError, TradeStatus, average_price
from app.schemas import commissions
from app.schemas.decision import Action, AssetDecision, UnreadableDecision
from app.schemas.fields import iso
from app.schemas.result import (
    AssetResult,
    AssetStatus,
    OrderReference,
    ResultError,
    ResultOrders,
    Timings,
    unreadable_result,
)
from app.services.execution.covering import is_bounded
from app.services.execution.dust import error_of_dust, is_dust
from app.services.execution.planning import FLIPPED
from app.services.execution.risk import RiskRefused

_BPS_DIGITS = Decimal("0.01")
_PRICE_DIGITS = Decimal("1e-12")
_TOLD_OF_THE_TRADE = (AssetStatus.UNPROTECTED, AssetStatus.PARTIALLY_PROTECTED, AssetStatus.EMERGENCY_CLOSED)


def of_trade(trade: Trade, action: Action) -> AssetResult:
    """The result as it stands; ``pending`` while the outcome of the decision is open."""
    status = status_of(trade)
    orders = opening(trade)
    price = trade.price_of_all(orders)
    return AssetResult(
        asset=trade.asset,
        action=action,
        status=status,
        success=status.is_success,
        trade_id=trade.id,
        side=trade.side.value,
        requested_quantity=trade.quantity,
        filled_quantity=executed_of(trade, orders),
        fill_price=_tidy(price),
        leverage=trade.leverage,
        requested_leverage=trade.requested_leverage,
        orders=ResultOrders(
            entry=_reference(trade.entry),
            **_exits(trade),
        ),
        take_profit_price=_trigger(trade, OrderRole.TAKE_PROFIT),
        stop_loss_price=_trigger(trade, OrderRole.STOP_LOSS),
        slippage_bps=_slippage_bps(price, trade.reference_price, trade.side.sign),
        **_commission(trade.fills),
        timings_ms=Timings(
            received_to_sent=_ms(trade.received_at, trade.entry_sent_at),
            sent_to_filled=_ms(trade.entry_sent_at, trade.first_fill_at),
            filled_to_protected=_ms(trade.first_fill_at, exits_stood_at(trade)),
        ),
        error=_error(trade),
        notes=_cut_short(trade, orders, trade.quantity) if action.is_entry else (),
    )


def of_adjustment(trade: Trade, adjustment: Adjustment, action: Action | None) -> AssetResult:
    """The result of a decision that changes a trade, as it stands."""
    order = trade.order_of(adjustment)
    status = _adjustment_status(trade, adjustment, order)
    orders = orders_for(trade, adjustment)
    is_entry = order is not None and order.role is OrderRole.ENTRY
    if orders:
        figures = _figures(trade, adjustment, orders)
    elif adjustment.closes:
        figures = _way_out(trade, CloseWish(received_at=adjustment.received_at, mark_price=adjustment.reference_price))
    else:
        figures = {}
    return AssetResult(
        asset=trade.asset,
        action=action,
        status=status,
        success=status.is_success,
        trade_id=trade.id,
        side=trade.side.value,
        leverage=adjustment.leverage or trade.leverage,
        requested_leverage=adjustment.requested_leverage,
        orders=ResultOrders(
            entry=_reference(order) if is_entry else None,
            reduce=None if is_entry else _reference(order),
            **_exits(trade),
        ),
        take_profit_price=_trigger(trade, OrderRole.TAKE_PROFIT),
        stop_loss_price=_trigger(trade, OrderRole.STOP_LOSS),
        **figures | {"requested_quantity": adjustment.quantity or None},
        error=_adjustment_error(trade, adjustment, order, status),
        notes=_cut_short(trade, orders, adjustment.quantity),
    )


def _figures(trade: Trade, adjustment: Adjustment, orders: tuple[Order, ...]) -> dict[str, Any]:
    """Price, size, cost and times of the orders that change the size."""
    price = trade.price_of_all(orders)
    sign = trade.side.sign if orders[0].role is OrderRole.ENTRY else -trade.side.sign
    return {
        "filled_quantity": executed_of(trade, orders),
        "fill_price": _tidy(price),
        "slippage_bps": _slippage_bps(price, adjustment.reference_price, sign),
        **_commission([fill for order in orders for fill in trade.fills_of(order)]),
        "timings_ms": Timings(
            received_to_sent=_ms(adjustment.received_at, adjustment.sent_at),
            sent_to_filled=_ms(adjustment.sent_at, adjustment.filled_at),
            filled_to_protected=_ms(adjustment.filled_at, adjustment.ended_at) if trade.legs else None,
        ),
    }


def _adjustment_status(trade: Trade, adjustment: Adjustment, order: Order | None) -> AssetStatus:
    if adjustment.error is not None and not has_executed(trade, adjustment):
        if adjustment.kind is AdjustmentKind.FLIP and not trade.orders_of(OrderRole.CLOSE):
            return AssetStatus.REJECTED  # given up before its close
        was_never_sent = order is not None and order.state is OrderState.NOT_PLACED and order.refusal_message
        return AssetStatus.REJECTED if was_never_sent else AssetStatus.FAILED
    if not adjustment.is_pending:
        if adjustment.kind is AdjustmentKind.ADD:
            return AssetStatus.PROTECTED if trade.legs else AssetStatus.FILLED
        return AssetStatus.ADJUSTED
    if adjustment.kind in (AdjustmentKind.FLIP, AdjustmentKind.CLOSE):
        return (
            AssetStatus.PENDING
        )  # it ends with the trade on the other side, or with all trades that are closed for it
    if is_dust(trade):
        return AssetStatus.FAILED if not has_executed(trade, adjustment) else AssetStatus.UNPROTECTED
    if trade.status is TradeStatus.CLOSED:
        return AssetStatus.EMERGENCY_CLOSED if trade.close_reason is CloseReason.EMERGENCY else AssetStatus.CLOSED
    if trade.status is TradeStatus.PROTECTING and trade.protection_failed:
        return _failed_protection(trade)
    return AssetStatus.PENDING


def _adjustment_error(
    trade: Trade, adjustment: Adjustment, order: Order | None, status: AssetStatus
) -> ResultError | None:
    if adjustment.error is not None:
        return _told_error(adjustment.error)
    if is_dust(trade):
        return _told_error(error_of_dust(trade))
    if status in _TOLD_OF_THE_TRADE and trade.error is not None:
        return _told_error(trade.error)
    return _doubt(order) if order is not None else None


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


def noted(result: AssetResult, item: AssetDecision | UnreadableDecision) -> AssetResult:
    """The result with what the sender should know of how its decision was read."""
    if not isinstance(item, AssetDecision) or not item.notes:
        return result
    return result.model_copy(update={"notes": tuple(dict.fromkeys((*item.notes, *result.notes)))})


def at_first(item: AssetDecision | UnreadableDecision) -> AssetResult:
    """Still at work, nothing to tell yet; or over already, since it could not be read."""
    if isinstance(item, UnreadableDecision):
        return unreadable_result(item)
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.PENDING, success=False)


def broken(asset: str, action: Action | None, trade_id: str | None = None) -> AssetResult:
    """The result where a step of ours broke, so that nothing can be said; it changes once there is something to say."""
    text = "an internal step failed; see the log and what the service shows of the asset's trades"
    error = ResultError(code=ErrorCode.INTERNAL_ERROR, message=text)
    return AssetResult(
        asset=asset, action=action, status=AssetStatus.FAILED, success=False, trade_id=trade_id, error=error
    )


def failed(item: AssetDecision, code: ErrorCode, message: str) -> AssetResult:
    """Something went wrong on the way; nothing is known to have been executed."""
    error = ResultError(code=code, message=message)
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.FAILED, success=False, error=error)


def nothing_opened(item: AssetDecision, refusal: RiskRefused) -> AssetResult:
    """A flip whose entry was refused after its close."""
    text = f"the position on the other side was closed, but nothing was opened: {refusal.message}"
    return failed(item, refusal.code, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWish:
    """When a close was asked for, and the mark price of that moment, zero where none was known."""

    received_at: datetime
    mark_price: Decimal


def of_close(trade: Trade, wish: CloseWish) -> AssetResult:
    """The result of a wish to close: ``closed`` once the trade is over, also where nothing of it was ever held.

    Its figures are those of the way out. ``sent_to_filled`` is until all of it was executed. ``failed`` where the
    exchange takes no order that is so small.
    """
    is_left = is_dust(trade)
    over = AssetStatus.CLOSED if trade.is_ended else AssetStatus.PENDING
    status = AssetStatus.FAILED if is_left else over
    return AssetResult(
        asset=trade.asset,
        action=Action.CLOSE_POSITION,
        status=status,
        success=status.is_success,
        trade_id=trade.id,
        side=trade.side.value,
        leverage=trade.leverage,
        requested_leverage=trade.requested_leverage,
        orders=ResultOrders(entry=_reference(trade.entry), **_exits(trade)),
        take_profit_price=_trigger(trade, OrderRole.TAKE_PROFIT),
        stop_loss_price=_trigger(trade, OrderRole.STOP_LOSS),
        **_way_out(trade, wish),
        error=_told_error(error_of_dust(trade)) if is_left else None,
    )


def _way_out(trade: Trade, wish: CloseWish) -> dict[str, Any]:
    """Price, size, cost and times of what closed a trade: the closes since the wish, or else whatever ended it.

    The latter is a target or a stop that was faster, a close that was under way, or what a person sent.
    """
    sent = [order for order in trade.orders_of(OrderRole.CLOSE) if _is_sent_since(order, wish.received_at)]
    closes = [order for order in sent if trade.executed(order)]
    fills = [fill for order in closes for fill in trade.fills_of(order)] or _last_to_reduce(trade)
    filled = max(sum((fill.quantity for fill in fills), start=ZERO), sum(map(trade.executed, closes), start=ZERO))
    price = average_price(tuple(fills)) if fills else None
    sent_at = min((order.submitted_at for order in closes if order.submitted_at), default=None)
    ended_at = [order.finished_at for order in closes if order.finished_at]
    return {
        "requested_quantity": filled + trade.exposure,
        "filled_quantity": filled,
        "fill_price": _tidy(price),
        "slippage_bps": _slippage_bps(price, wish.mark_price, -trade.side.sign),
        **_commission(fills),
        "timings_ms": Timings(
            received_to_sent=_ms(wish.received_at, sent_at),
            sent_to_filled=_ms(sent_at, max(ended_at) if closes and len(ended_at) == len(closes) else None),
        ),
    }


def _is_sent_since(order: Order, at: datetime) -> bool:
    return order.submitted_at is not None and order.submitted_at >= at


def _last_to_reduce(trade: Trade) -> list[FillReport]:
    """The executions of the order that took off the last part."""
    return [fill for fill in trade.exit_fills if fill.order_id == trade.exit_fills[-1].order_id]


def nothing_left(item: AssetDecision) -> AssetResult:
    """The result of a wish to close where all there was were entries that had not left, and do not leave any more."""
    return AssetResult(asset=item.asset, action=item.action, status=AssetStatus.CLOSED, success=True)


def status_of(trade: Trade) -> AssetStatus:
    """Where the decision stands; ``pending`` while its outcome is open."""
    match trade.status:
        case TradeStatus.REJECTED:
            # nothing of it was sent, but for a flip something else was: the close of what stood in its way
            return AssetStatus.FAILED if FLIPPED in trade.context else AssetStatus.REJECTED
        case TradeStatus.FAILED:
            return AssetStatus.FAILED
        case TradeStatus.OPEN if is_entered(trade):
            return AssetStatus.PROTECTED if trade.legs else AssetStatus.FILLED
        case TradeStatus.PROTECTING if trade.protection_failed:
            return _failed_protection(trade)
        case TradeStatus.CLOSED:
            if trade.close_reason is CloseReason.EMERGENCY:
                return AssetStatus.EMERGENCY_CLOSED
            return AssetStatus.CLOSED
        case TradeStatus.CLOSING if is_dust(trade):
            return AssetStatus.UNPROTECTED
        case _:
            return AssetStatus.PENDING


def _failed_protection(trade: Trade) -> AssetStatus:
    return AssetStatus.PARTIALLY_PROTECTED if is_bounded(trade) else AssetStatus.UNPROTECTED


def _told(trade: Trade, role: OrderRole) -> Order | None:
    """The order of a role worth naming: the one on the book, else the last one that was sent."""
    orders = [order for order in trade.orders_of(role) if order.state is not OrderState.PLANNED]
    live = [order for order in orders if order.is_live]
    found = live or orders
    return found[-1] if found else None


def _exits(trade: Trade) -> dict[str, OrderReference | None]:
    """The order to tell of each way out."""
    return {
        "take_profit": _reference(_told(trade, OrderRole.TAKE_PROFIT)),
        "stop_loss": _reference(_told(trade, OrderRole.STOP_LOSS)),
        "trailing_stop": _reference(_told(trade, OrderRole.TRAILING_STOP)),
        "close": _reference(_told(trade, OrderRole.CLOSE)),
    }


def _commission(fills: Sequence[FillReport]) -> dict[str, Any]:
    """What the executions cost; nothing is told where there are none yet."""
    return commissions.told(commissions_of(fills))._asdict() if fills else {}


def _trigger(trade: Trade, role: OrderRole) -> Decimal | None:
    """Where an exit lies."""
    leg = trade.leg(role)
    return None if leg is None else leg.trigger_price


def _cut_short(trade: Trade, orders: tuple[Order, ...], wanted: Decimal) -> tuple[str, ...]:
    """Why not all of what goes in several orders came in (scenario O7)."""
    came = executed_of(trade, orders)
    if len(orders) <= 1 or came == wanted or not all(order.is_final for order in orders):
        return ()
    number, last = next((pair for pair in enumerate(orders, 1) if pair[1].state is not OrderState.FILLED), (0, None))
    if last is None:
        return ()
    why = last.refusal_message or f"it ended {last.state.value}"
    return (f"{plain(came)} of {plain(wanted)}: order {number} of {len(orders)} was the last one ({why})",)


def _reference(order: Order | None) -> OrderReference | None:
    if order is None:
        return None
    return OrderReference(
        client_order_id=order.client_order_id, order_id=order.exchange_order_id, status=order.state.value
    )


def _error(trade: Trade) -> ResultError | None:
    if is_dust(trade):
        return _told_error(error_of_dust(trade))
    if trade.error is not None:
        return _told_error(trade.error)
    return next((doubt for order in opening(trade) if (doubt := _doubt(order)) is not None), None)


def _told_error(error: TradeError) -> ResultError:
    return ResultError(
        code=error.code,
        message=error.message,
        exchange_code=error.exchange_code,
        retry_after_seconds=error.retry_after_s,
    )


def _doubt(entry: Order) -> ResultError | None:
    """While nobody knows what became of an order, the result says so, and since when."""
    if entry.state is not OrderState.UNKNOWN or entry.submitted_at is None:
        return None
    sent_at, name = iso(entry.submitted_at), entry.role.value
    text = f"the {name} sent at {sent_at} got no answer; the exchange is being asked what became of it"
    if entry.stamp is not None:
        text += f", until {iso(entry.stamp.dead_after)} at the latest, when it can no longer be executed"
    return ResultError(code=ErrorCode.OUTCOME_UNKNOWN, message=text)


def _slippage_bps(price: Decimal | None, reference: Decimal, sign: int) -> Decimal | None:
    """How much worse than the mark price at planning the fill was; negative is better. ``sign`` is +1 for a buy."""
    if price is None or reference <= ZERO:
        return None
    return ((price / reference - 1) * BPS * sign).quantize(_BPS_DIGITS)


def _tidy(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(_PRICE_DIGITS)


def _ms(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round((end - start).total_seconds() * 1000, 3)
