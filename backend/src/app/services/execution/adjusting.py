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
from app.domain.parts import has_executed, leaving_quantity, orders_for, without_planned
from app.domain.policy import ForeignOrdersPolicy
from app.domain.reports import OrderRequest, OrderType, PositionSide
from app.domain.trades import Adjustment, Trade
from app.services.execution.commands import (
    Account,
    CancelForeign,
    Command,
    Query,
    ReadBook,
    ReadCover,
    Resolve,
    WakeAt,
    late_fill,
)
from app.services.execution.covering import is_secured, is_stopped
from app.services.execution.fitting import READ_PATIENCE, cut_again, wants_rules
from app.services.execution.foreign_cover import cover_since
from app.services.execution.outcomes import error_of
from app.services.execution.protection import BURST_GRACE_S, REASON_OF_EXIT, Moment, make_room, send
from app.services.execution.slices import cut
from app.services.execution.taking_off import ABOVE_MAXIMUM, PLAIN_INSTEAD, accepted_at_most, tell_foreign

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


def reduction(trade: Trade, key: ClientOrderId, quantity: Decimal, *, is_plain: bool = False) -> Order:
    """An order that takes a part off the position at market."""
    request = OrderRequest(
        symbol=trade.asset,
        side=trade.side.exit_side,
        type=OrderType.MARKET,
        client_order_id=str(key),
        quantity=quantity,
        position_side=trade.position_side,
        reduce_only=trade.position_side is PositionSide.BOTH and not is_plain,
    )
    return Order(key=key, request=request)


def reductions(trade: Trade, quantities: tuple[Decimal, ...], *, is_plain: bool = False) -> tuple[Order, ...]:
    """The orders that take these parts off one after the other, reduce-only unless they are plain (O8)."""
    first = next_key(trade, OrderRole.REDUCE)
    keys = (replace(first, attempt=first.attempt + number) for number in range(len(quantities)))
    return tuple(
        reduction(trade, key, quantity, is_plain=is_plain) for key, quantity in zip(keys, quantities, strict=True)
    )


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
            commands.append(late_fill(trade.asset, adjustment.client_order_id))
            trade = trade.with_adjustment(replace(adjustment, ended_at=None, error=None))
    return trade, commands


def adjust(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Take every pending adjustment as far as the facts allow."""
    commands: list[Command] = []
    for adjustment in trade.adjustments:
        if adjustment.is_pending and not adjustment.closes:
            trade, more = _adjust(trade, adjustment, moment, policy)
            commands += more
    return trade, commands


def _adjust(
    trade: Trade, adjustment: Adjustment, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]]:
    order = trade.order_of(adjustment)
    if order is not None and trade.executed(order) == ZERO:
        return _await_order(trade, adjustment, order, moment, policy)
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
            return without_planned(trade, parts, moment.now, _NOT_SENT), []
    return trade, []


def _ask_about(order: Order) -> Command:
    if order.state is OrderState.UNKNOWN:
        return Resolve(order.client_order_id)
    return Query(order.client_order_id, BURST_GRACE_S)


def _await_order(
    trade: Trade, adjustment: Adjustment, order: Order, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]]:
    if order.state is OrderState.PLANNED:
        return _send_again(trade, order, moment)
    if order.role is OrderRole.REDUCE and (order.state is OrderState.UNKNOWN or order.is_live or order.needs_query):
        return trade, [_ask_about(order)]
    if not order.is_final:
        return trade, []
    if order.role is OrderRole.REDUCE:
        again = _reduce_again(trade, adjustment, order, moment, policy)
        if again is not None:
            return again
    parts = orders_for(trade, adjustment)
    return _fail(without_planned(trade, parts, moment.now, _NOT_SENT), adjustment, order, moment.now)


def _reduce_again(
    trade: Trade, adjustment: Adjustment, order: Order, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]] | None:
    """Go on after a reduction was refused for what can be mended; None where nothing is left to try."""
    planned = tuple(part.quantity for part in orders_for(trade, adjustment))
    if order.refusal is Refusal.REDUCE_ONLY:
        return _make_way(trade, adjustment, order, moment, policy)
    if wants_rules(order, moment.room, moment.now):
        return trade, [ReadBook(rules=True), WakeAt(moment.now + READ_PATIENCE)]
    again = cut_again(order, planned, adjustment.reference_price, moment.room)
    if not again and order.refusal_code == ABOVE_MAXIMUM:
        whole = sum(planned, start=ZERO)
        again = cut(whole, moment.instrument, adjustment.reference_price, accepted_at_most(trade))
    if not again or again == planned:
        return None
    trade, first = _planned_anew(trade, adjustment, again, moment.now, is_plain=order.is_plain)
    return send(trade, first, OrderTrigger.SUBMIT, moment.now)


def _make_way(
    trade: Trade, adjustment: Adjustment, order: Order, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]] | None:
    """What rests in the way of a reduction: others' orders are dealt with as for a close (O8), ours make room (O4)."""
    cover, until = cover_since(order, moment.cover), (order.finished_at or moment.now) + READ_PATIENCE
    planned = tuple(part.quantity for part in orders_for(trade, adjustment))
    if cover is None and moment.now < until:
        return trade, [ReadCover(side=order.request.side), WakeAt(until)]
    if cover is None or not cover.is_whole:
        if _refusals(trade, adjustment) >= _MOST_REFUSALS:
            return None
        trade, first = _planned_anew(trade, adjustment, planned, moment.now)
        return _send_again(trade, first, moment)
    if policy is ForeignOrdersPolicy.CANCEL and moment.now < until:
        return trade, [CancelForeign(tell_foreign(trade, cover, "they are being canceled")), WakeAt(until)]
    is_one_way = trade.position_side is PositionSide.BOTH
    anew, first = _planned_anew(trade, adjustment, planned, moment.now, is_plain=True)
    is_held = leaving_quantity(anew) <= min(cover.held, trade.exposure)
    if policy is not ForeignOrdersPolicy.PLAIN or not is_one_way or not is_held:
        alert = tell_foreign(trade, cover, "the decrease has failed: cancel them, and send it again")
        left = without_planned(trade, orders_for(trade, adjustment), moment.now, _NOT_SENT)
        trade, commands = _fail(left, adjustment, order, moment.now)
        return trade, [alert, *commands]
    trade, commands = _send_again(anew, first, moment)
    return trade, [tell_foreign(trade, cover, PLAIN_INSTEAD), *commands]


def _planned_anew(
    trade: Trade, adjustment: Adjustment, quantities: tuple[Decimal, ...], now: datetime, *, is_plain: bool = False
) -> tuple[Trade, Order]:
    """The trade with orders of these quantities in the place of a reduction's first ones, and the first of them."""
    again = reductions(trade, quantities, is_plain=is_plain)
    trade = without_planned(trade, orders_for(trade, adjustment), now, _NOT_SENT)
    trade = trade.with_adjustment(replace(adjustment, client_order_id=again[0].client_order_id))
    for order in again:
        trade = trade.with_order(order)
    return trade, again[0]


def _send_again(trade: Trade, order: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    if not is_stopped(trade) and not trade.protection_failed:
        return trade, []  # a position without its stop does not lose its target, too (P4)
    if order.is_plain:
        return send(trade, order, OrderTrigger.SUBMIT, moment.now)  # nothing that rests is in its way
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
