"""Parts: the market orders in which one decision changes a position. Mostly one; several above the exchange's maximum.

They have one role and attempts that follow each other, up to the first order of another decision. All are planned at
once; a part that was never sent ends ``NOT_PLACED`` and has a message. Scenario O7.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.trades import Adjustment, Trade


def parts_of(trade: Trade, order: Order) -> tuple[Order, ...]:
    """All parts of what ``order`` is a part of, in the order in which they are sent."""
    firsts = [one for change in trade.adjustments if (one := trade.order_of(change)) is not None]
    begins = {one.key.attempt for one in firsts if one.role is order.role}
    parts: list[Order] = []
    for one in trade.orders_of(order.role):
        if one.key.attempt in begins:
            if one.key.attempt > order.key.attempt:
                break
            parts = []
        parts.append(one)
    return tuple(parts)


def opening(trade: Trade) -> tuple[Order, ...]:
    """The orders that open the position."""
    return parts_of(trade, trade.entry)


def is_entered(trade: Trade) -> bool:
    """Whether nothing more is expected of the orders that open the position."""
    return all(order.is_final for order in opening(trade))


def orders_for(trade: Trade, adjustment: Adjustment) -> tuple[Order, ...]:
    """The orders that change the size for an adjustment; none where only exits change."""
    first = trade.order_of(adjustment)
    return parts_of(trade, first) if first is not None else ()


def executed_of(trade: Trade, orders: tuple[Order, ...]) -> Decimal:
    """What is known to be executed of several orders."""
    return sum((trade.executed(order) for order in orders), start=ZERO)


def has_executed(trade: Trade, adjustment: Adjustment) -> bool:
    """Whether the size has been changed for an adjustment, in part or whole."""
    return executed_of(trade, orders_for(trade, adjustment)) > ZERO


def leaving_quantity(trade: Trade) -> Decimal:
    """What reductions that are planned, on their way or in doubt may still take off the position."""
    reductions = (order for order in trade.orders_of(OrderRole.REDUCE) if not order.is_final)
    return sum((max(order.quantity - trade.executed(order), ZERO) for order in reductions), start=ZERO)


def executed_before(trade: Trade, order: Order) -> Decimal:
    """What the parts before ``order`` have executed."""
    earlier = (one for one in parts_of(trade, order) if one.key.attempt < order.key.attempt)
    return executed_of(trade, tuple(earlier))


def quantity_to_come(trade: Trade, order: Order) -> Decimal:
    """What ``order``, which has not left, and the parts behind it are for."""
    later = (one for one in parts_of(trade, order) if one.key.attempt >= order.key.attempt and not one.is_final)
    return sum((one.quantity for one in later), start=ZERO)


def without_planned(trade: Trade, parts: Iterable[Order], now: datetime, why: str) -> Trade:
    """The trade in which those of ``parts`` that have not left no longer will, for the reason given."""
    for part in parts:
        if part.state is OrderState.PLANNED:
            trade = trade.with_order(replace(part.after(OrderTrigger.NOT_SENT, now), refusal_message=why))
    return trade
