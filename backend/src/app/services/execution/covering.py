"""Covering: which order on the book stands for which wished exit. Pure; it looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState
from app.domain.reports import OrderType
from app.domain.trades import Adjustment, Leg, Trade, TradeStatus

STOPS = frozenset({OrderRole.STOP_LOSS, OrderRole.TRAILING_STOP})
"""Exits at a loss."""


def is_secured(trade: Trade) -> bool:
    """Whether the exchange shows, for each requested exit, exactly one order and it covers the exposure."""
    return all(covering(trade, leg) is not None for leg in trade.legs)


def is_at_rest(trade: Trade) -> bool:
    """Whether the record knows of nothing that is under way: entered, protected, and no order's fate is open."""
    is_open = trade.status is TradeStatus.OPEN and trade.close_reason is None
    is_settled = all(
        order.is_final or (order.state is OrderState.NEW and not order.needs_query) for order in trade.orders
    )
    return is_open and is_settled and is_secured(trade) and not any(one.is_pending for one in trade.adjustments)


def has_stop(trade: Trade) -> bool:
    """Whether the exchange shows a stop that covers the exposure."""
    stops = (leg for leg in trade.legs if leg.role is not OrderRole.TAKE_PROFIT)
    return any(covering(trade, leg) is not None for leg in stops)


def is_stopped(trade: Trade) -> bool:
    """Whether the exchange shows the stop that bounds the loss, for exactly what is held."""
    return all(covering(trade, leg) is not None for leg in _bounding(trade))


def is_bounded(trade: Trade) -> bool:
    """Whether the exchange shows the stop that bounds the loss, for what is held or for more.

    A position that became smaller is not naked while its stop still has the old size: what closes a position can't
    execute more than is held (it is reduce-only, or bound to its side in hedge mode).
    """
    return all(outsizing(trade, leg) is not None for leg in _bounding(trade))


def _bounding(trade: Trade) -> list[Leg]:
    """The wished exits that bound the loss: the stop loss; a trailing stop where no stop loss is wished."""
    stops = [leg for leg in trade.legs if leg.role in STOPS]
    return [leg for leg in stops if leg.role is OrderRole.STOP_LOSS] or stops


def unsized(trade: Trade) -> list[Leg]:
    """Wished exits that rest for more than is held, and not for exactly that."""
    return [leg for leg in trade.legs if covering(trade, leg) is None and outsizing(trade, leg) is not None]


def missing(trade: Trade) -> list[Leg]:
    """Wished exits that do not rest, or for less than is held."""
    return [leg for leg in trade.legs if outsizing(trade, leg) is None]


def realises(order: Order, leg: Leg) -> bool:
    """Whether the order was made for the leg as it is wished now; its size is another matter."""
    request = order.request
    has_trigger = leg.order_type not in (OrderType.LIMIT, OrderType.TRAILING_STOP_MARKET)
    return (
        request.type is leg.order_type
        and request.price == leg.limit_price
        and request.stop_price == (leg.trigger_price if has_trigger else None)
        and request.activation_price == leg.activation_price
        and request.callback_rate == leg.callback_rate
    )


def covering(trade: Trade, leg: Leg) -> Order | None:
    """The order that the exchange shows for ``leg`` and that covers exactly what is held; or None.

    The newest of several; of trailing stops the oldest, which has followed the price the furthest (P15).
    """
    exposure = leg.quantity_for(trade.exposure)
    for order in _shown(trade, leg):
        if realises(order, leg):
            if order.request.close_position or order.remaining == exposure:
                return order
            if order.state is OrderState.PARTIALLY_FILLED and order.remaining > exposure:
                return order  # it is executing right now; its rest can't exceed the position (reduce-only)
    return None


def outsizing(trade: Trade, leg: Leg) -> Order | None:
    """The order that the exchange shows for ``leg`` and that is for what is held or for more; or None.

    Where no adjustment wishes for another exit, an order that was made for the leg before its price was rounded anew,
    or before its activation price was reached, is as good.
    """
    is_settled = not wishing(trade, leg)
    for order in _shown(trade, leg):
        is_meant = is_settled or realises(order, leg)
        if is_meant and (order.request.close_position or order.remaining >= trade.exposure):
            return order
    return None


def _shown(trade: Trade, leg: Leg) -> Iterator[Order]:
    """The orders of the leg's role that the exchange shows: the newest first; of trailing stops the oldest."""
    orders = trade.orders_of(leg.role)
    follows = leg.order_type is OrderType.TRAILING_STOP_MARKET
    for order in orders if follows else reversed(orders):
        is_shown = order.state in (OrderState.NEW, OrderState.PARTIALLY_FILLED) and not order.needs_query
        may_be_left_behind = has_triggered(order) and order.request.price is not None  # a limit (P11)
        if is_shown and not may_be_left_behind:
            yield order


def has_triggered(order: Order) -> bool:
    """Whether the order is a stop whose trigger price was reached."""
    return order.role in STOPS and order.triggered_at is not None


def hit_stop(trade: Trade, leg: Leg) -> Order | None:
    """The stop that was triggered and has not closed the position: on the book, or expired for want of buyers."""
    for order in reversed(trade.orders_of(leg.role)):
        has_ended_short = order.state is OrderState.EXPIRED and order is trade.latest(leg.role)
        if has_triggered(order) and (order.is_live or has_ended_short):
            return order
    return None


def standing(trade: Trade, leg: Leg) -> Order | None:
    """The order of an earlier wish that still covers what is held, while an adjustment tries to replace it."""
    if not wishing(trade, leg):
        return None
    for order in reversed(trade.orders_of(leg.role)):
        if order.state is OrderState.NEW and not order.needs_query and not realises(order, leg):
            return order
    return None


def wishing(trade: Trade, leg: Leg) -> list[Adjustment]:
    """Adjustments at work that touch this exit."""
    return [one for one in trade.adjustments if one.is_pending and leg.role in one.roles]


def name_of(leg: Leg) -> str:
    """The exit in words."""
    return leg.role.value.replace("_", " ")
