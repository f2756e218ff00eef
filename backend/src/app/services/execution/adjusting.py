"""Adjusting: what an adjustment of a trade needs next, until it has ended. Pure.

Its order first (an entry of attempt n, or a reduction), then its exits, then it has ended. Nothing here takes a stop
away: new exits are put in place by :mod:`.protection`, and the old ones go once the new ones are shown (P10).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO
from app.domain.orders import IN_FLIGHT, Order, OrderState, OrderTrigger
from app.domain.parts import has_executed, leaving_quantity, orders_for
from app.domain.reports import OrderRequest, OrderType, PositionSide
from app.domain.trades import Adjustment, Trade
from app.services.execution.commands import Account, Alert, Command, Query, ReadBook, Resolve, Severity, WakeAt
from app.services.execution.covering import is_secured, is_stopped
from app.services.execution.fitting import READ_PATIENCE, cut_again, wants_rules
from app.services.execution.outcomes import error_of
from app.services.execution.protection import BURST_GRACE_S, REASON_OF_EXIT, Moment, make_room, send

_MOST_REFUSALS = 2
_NOT_SENT = "the part before it was not filled"
_ENDED_EMPTY = frozenset({OrderState.CANCELED, OrderState.EXPIRED})


def take_in(trade: Trade, adjustment: Adjustment, orders: tuple[Order, ...]) -> Trade:
    """The trade with a new adjustment and the orders that it sends; a decision adjusts a trade once.

    One that was held back, since its decision could not be recorded, gives way to that of the same decision sent again.
    """
    known = next((one for one in trade.adjustments if one.decision_id == adjustment.decision_id), None)
    if known is not None and not _was_held_back(trade, known):
        return trade
    for order in orders:
        trade = trade.with_order(order)
    return replace(trade.with_adjustment(adjustment), is_accounted=False)


def _was_held_back(trade: Trade, adjustment: Adjustment) -> bool:
    """Whether it has ended without anything having been sent for it."""
    order = trade.order_of(adjustment)
    return (
        adjustment.error is not None
        and not adjustment.is_pending
        and adjustment.sent_at is None
        and (order is None or order.state is OrderState.NOT_PLACED)
    )


def reduction(trade: Trade, key: ClientOrderId, quantity: Decimal) -> Order:
    """An order that takes a part off the position at market."""
    request = OrderRequest(
        symbol=trade.asset,
        side=trade.side.exit_side,
        type=OrderType.MARKET,
        client_order_id=str(key),
        quantity=quantity,
        position_side=trade.position_side,
        reduce_only=trade.position_side is PositionSide.BOTH,
    )
    return Order(key=key, request=request)


def reductions(trade: Trade, quantities: tuple[Decimal, ...]) -> tuple[Order, ...]:
    """The orders that take these parts off one after the other."""
    first = next_key(trade, OrderRole.REDUCE)
    keys = (replace(first, attempt=first.attempt + number) for number in range(len(quantities)))
    return tuple(reduction(trade, key, quantity) for key, quantity in zip(keys, quantities, strict=True))


def next_key(trade: Trade, role: OrderRole) -> ClientOrderId:
    """The next attempt of a role."""
    latest = trade.latest(role)
    return ClientOrderId(trade.id, role, latest.key.attempt + 1 if latest else 1)


def take_up_again(trade: Trade) -> tuple[Trade, list[Command]]:
    """Take back that an adjustment has failed where its order turns out to have been executed (U10).

    Also where its trade is on its way out, or over: what was executed is told, whatever became of it since.
    """
    commands: list[Command] = []
    for adjustment in trade.adjustments:
        is_failed = not adjustment.is_pending and adjustment.error is not None and not adjustment.is_applied
        if is_failed and has_executed(trade, adjustment):
            order_id = adjustment.client_order_id
            text = f"{trade.asset}: a fill of {order_id} turned up after it was given up; it is looked after"
            commands.append(Alert(Severity.CRITICAL, "late_fill", text))
            trade = trade.with_adjustment(replace(adjustment, ended_at=None, error=None))
    return trade, commands


def adjust(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Take every pending adjustment as far as the facts allow."""
    commands: list[Command] = []
    for adjustment in trade.adjustments:
        if adjustment.is_pending and not adjustment.closes:
            trade, more = _adjust(trade, adjustment, moment)
            commands += more
    return trade, commands


def _adjust(trade: Trade, adjustment: Adjustment, moment: Moment) -> tuple[Trade, list[Command]]:
    order = trade.order_of(adjustment)
    if order is not None and trade.executed(order) == ZERO:
        return _await_order(trade, adjustment, order, moment)
    commands: list[Command] = []
    if order is not None and order.role is OrderRole.REDUCE:
        trade, commands = _go_on_reducing(trade, adjustment, moment)
    is_over = all(one.is_final for one in orders_for(trade, adjustment))
    if order is not None and is_over and adjustment.filled_at is None:
        adjustment = replace(adjustment, filled_at=moment.now)
    if not adjustment.is_applied:
        trade = _with_exits(trade, adjustment)
        adjustment = replace(adjustment, is_applied=True)
    return trade.with_adjustment(adjustment), commands


def _go_on_reducing(trade: Trade, adjustment: Adjustment, moment: Moment) -> tuple[Trade, list[Command]]:
    """Ask what became of a part, and send the next one once it is filled (O7); after any other end there is none."""
    parts = orders_for(trade, adjustment)
    for before, part in pairwise((*parts, None)):
        if before is not None and not before.is_final:
            return trade, [_ask_about(before)] if before.state not in IN_FLIGHT else []
        if part is not None and before is not None and part.state is OrderState.PLANNED:
            if before.state is OrderState.FILLED and leaving_quantity(trade) <= trade.exposure:
                return _send_again(trade, part, moment)
            return _without_planned(trade, parts, moment.now), []
    return trade, []


def _without_planned(trade: Trade, parts: tuple[Order, ...], now: datetime) -> Trade:
    for part in parts:
        if part.state is OrderState.PLANNED:
            trade = trade.with_order(replace(part.after(OrderTrigger.NOT_SENT, now), refusal_message=_NOT_SENT))
    return trade


def _ask_about(order: Order) -> Command:
    if order.state is OrderState.UNKNOWN:
        return Resolve(order.client_order_id)
    return Query(order.client_order_id, BURST_GRACE_S)


def _await_order(trade: Trade, adjustment: Adjustment, order: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    if order.state is OrderState.PLANNED:
        return _send_again(trade, order, moment)
    if order.role is OrderRole.REDUCE and (order.state is OrderState.UNKNOWN or order.is_live or order.needs_query):
        return trade, [_ask_about(order)]
    if not order.is_final:
        return trade, []
    parts = orders_for(trade, adjustment)
    if order.refusal is Refusal.REDUCE_ONLY and _refusals(trade, adjustment) < _MOST_REFUSALS:
        # exits that rest for the whole position may stand in the way (O4): make room, then once more
        trade, first = _planned_anew(trade, adjustment, tuple(part.quantity for part in parts), moment.now)
        return _send_again(trade, first, moment)
    is_reduction = order.role is OrderRole.REDUCE
    if is_reduction and wants_rules(order, moment.room, moment.now):
        return trade, [ReadBook(rules=True), WakeAt(moment.now + READ_PATIENCE)]
    planned = [part.quantity for part in parts]
    if is_reduction and (again := cut_again(order, planned, adjustment.reference_price, moment.room)):
        trade, first = _planned_anew(trade, adjustment, again, moment.now)
        return send(trade, first, OrderTrigger.SUBMIT, moment.now)
    return _fail(_without_planned(trade, parts, moment.now), adjustment, order, moment.now)


def _planned_anew(
    trade: Trade, adjustment: Adjustment, quantities: tuple[Decimal, ...], now: datetime
) -> tuple[Trade, Order]:
    """The trade with orders of these quantities in the place of a reduction's first ones, and the first of them."""
    again = reductions(trade, quantities)
    trade = _without_planned(trade, orders_for(trade, adjustment), now)
    trade = trade.with_adjustment(replace(adjustment, client_order_id=again[0].client_order_id))
    for order in again:
        trade = trade.with_order(order)
    return trade, again[0]


def _send_again(trade: Trade, order: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    if not is_stopped(trade) and not trade.protection_failed:
        return trade, []  # a position without its stop does not lose its target, too (P4)
    trade, commands = make_room(trade, moment.now)
    if commands or any(not one.is_final for one in trade.orders_of(OrderRole.TAKE_PROFIT)):
        return trade, commands
    return send(trade, order, OrderTrigger.SUBMIT, moment.now)


def _refusals(trade: Trade, adjustment: Adjustment) -> int:
    return sum(
        order.refusal is Refusal.REDUCE_ONLY
        for order in trade.orders_of(OrderRole.REDUCE)
        if order.submitted_at is not None and order.submitted_at >= adjustment.asked_at
    )


def _fail(trade: Trade, adjustment: Adjustment, order: Order, now: datetime) -> tuple[Trade, list[Command]]:
    if order.state in _ENDED_EMPTY and not trade.is_accounted:
        return trade, [Account()]  # user trades must agree before it is believed (U7)
    error = adjustment.error or error_of(order)
    return trade.with_adjustment(replace(adjustment, error=error, ended_at=now)), []


def _with_exits(trade: Trade, adjustment: Adjustment) -> Trade:
    """The trade with the exits that the adjustment wishes, and its leverage."""
    kept = tuple(leg for leg in trade.legs if leg.role not in adjustment.roles)
    leverage = adjustment.leverage or trade.leverage
    return replace(trade, legs=(*kept, *adjustment.legs), leverage=leverage)


def conclude(trade: Trade, now: datetime) -> Trade:
    """End what is done: its order is final, and exactly the wished exits rest on the book."""
    for adjustment in trade.adjustments:
        is_over = all(order.is_final for order in orders_for(trade, adjustment))
        if adjustment.is_pending and adjustment.is_applied and is_over and _is_tidy(trade):
            filled_at = adjustment.filled_at or (now if adjustment.client_order_id else None)
            done = replace(adjustment, ended_at=now, filled_at=filled_at)
            trade = replace(trade.with_adjustment(done), is_accounted=False)
    return trade


def _is_tidy(trade: Trade) -> bool:
    """Whether of each wished exit exactly one order is left, which covers what is held, and of the others none.

    Beside a trailing stop an older one may stay, which has followed the price further (P15).
    """
    if not is_secured(trade):
        return False
    wished = {leg.role for leg in trade.legs}
    left = {role: sum(not order.is_final for order in trade.orders_of(role)) for role in REASON_OF_EXIT}
    if OrderRole.TRAILING_STOP in wished:
        left[OrderRole.TRAILING_STOP] = min(left[OrderRole.TRAILING_STOP], 1)
    return all(count == (role in wished) for role, count in left.items())


def note_failures(trade: Trade, now: datetime) -> Trade:
    """On the way out of a trade: end the adjustments whose order has come to nothing."""
    for adjustment in trade.adjustments:
        order = trade.order_of(adjustment)
        is_empty = order is not None and order.is_final and trade.executed(order) == ZERO
        if adjustment.is_pending and order is not None and is_empty:
            error = adjustment.error or error_of(order)
            trade = trade.with_adjustment(replace(adjustment, error=error, ended_at=now))
    return trade
