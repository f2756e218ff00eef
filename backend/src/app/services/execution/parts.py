"""Parts of an entry that is larger than one market order may be (scenario O7). Pure.

Each is an order of its own, planned with the first and on record before it leaves. The next one waits until what is
held has its exits; a part that was not filled, or whose fate is unknown, is the last one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.trades import Trade, TradeStatus
from app.services.execution.commands import Command, Send

_NOT_SENT = "the part before it was not filled, or the position was on its way out"


def next_part(trade: Trade, now: datetime) -> tuple[Trade, list[Command]]:
    """Send the next part of an entry once the one before is filled and protected; drop it where it never will be."""
    for part in _planned(trade):
        before = next(
            order for order in reversed(trade.orders_of(OrderRole.ENTRY)) if order.key.attempt < part.key.attempt
        )
        if before.is_final and before.state is not OrderState.FILLED:
            return drop_parts(trade, now), []
        is_safe = trade.status is TradeStatus.OPEN and not trade.has_unknown_order and not trade.protection_failed
        if before.state is OrderState.FILLED and is_safe:
            sent = part.after(OrderTrigger.SUBMIT, now)
            return trade.with_order(sent), [Send(sent)]
        break
    return trade, []


def drop_parts(trade: Trade, now: datetime) -> Trade:
    """The trade without the parts that have not left, which they no longer will."""
    for part in _planned(trade):
        dropped = part.after(OrderTrigger.NOT_SENT, now)
        trade = trade.with_order(replace(dropped, refusal_message=_NOT_SENT))
    return trade


def _planned(trade: Trade) -> list[Order]:
    return [order for order in trade.orders_of(OrderRole.ENTRY) if order.state is OrderState.PLANNED]
