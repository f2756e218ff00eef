"""Whose turn is next among the parts of an entry that is larger than one market order may be (scenario O7). Pure.

Each part is an order of its own, planned with the first and on record before it leaves. The next one waits until what
is held has its exits. A part that was not filled is the last one, and so is one after which the exits failed: what was
told of the position by then stays true.
"""

from __future__ import annotations

from datetime import datetime

from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.parts import parts_of, without_planned
from app.domain.trades import Trade, TradeStatus
from app.services.execution.commands import Alert, Command, Send, late_fill

_NOT_SENT = "the part before it was not filled, or its exits failed, or the position was on its way out"


def next_part(trade: Trade, now: datetime) -> tuple[Trade, list[Command]]:
    """Send the next part of an entry once the one before is filled and protected; drop it where it never will be.

    Nor does it leave beside another entry of the trade that may be executed at any moment.
    """
    planned = waiting_entries(trade)
    if not planned:
        return trade, []
    if trade.protection_failed:
        return drop_parts(trade, now), []
    part = planned[0]
    before = [one for one in parts_of(trade, part) if one.key.attempt < part.key.attempt][-1]
    if before.is_final and before.state is not OrderState.FILLED:
        return drop_parts(trade, now), []
    is_safe = trade.status is TradeStatus.OPEN and not trade.has_unknown_order and not trade.is_leaving
    is_alone = all(one.is_final or one.state is OrderState.PLANNED for one in trade.entries)
    if before.state is not OrderState.FILLED or not is_safe or not is_alone:
        return trade, []
    sent = part.after(OrderTrigger.SUBMIT, now)
    return trade.with_order(sent), [Send(sent)]


def drop_parts(trade: Trade, now: datetime) -> Trade:
    """The trade without the parts of entries that have not left, which they no longer will."""
    return without_planned(trade, trade.entries, now, _NOT_SENT)


def late_part(before: Trade, after: Trade) -> Alert | None:
    """What a person should hear when a part turns up that had been given up (U10)."""
    for entry in after.entries:
        known = before.order(entry.client_order_id)
        was_given_up = known is not None and known.state is OrderState.NOT_PLACED
        if was_given_up and after.executed(entry) and entry is not parts_of(after, entry)[0]:
            return late_fill(after.asset, entry.client_order_id)
    return None


def waiting_entries(trade: Trade) -> list[Order]:
    """Parts of entries whose turn has not come."""
    return [order for order in trade.orders_of(OrderRole.ENTRY) if order.state is OrderState.PLANNED]
