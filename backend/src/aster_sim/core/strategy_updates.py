"""``updateStrategyOrder``: change one order of a strategy, whether it waits, rests or has not been placed."""

from __future__ import annotations

from collections.abc import Mapping

from aster_sim.core import errors
from aster_sim.core.account import Account
from aster_sim.core.intake import parse_order
from aster_sim.core.orders import LIMIT, Order, OrderRequest
from aster_sim.core.strategies import Strategy, SubOrder
from aster_sim.core.venue import Venue

_CHANGEABLE = frozenset(
    {
        "quantity",
        "price",
        "stopPrice",
        "timeInForce",
        "workingType",
        "reduceOnly",
        "closePosition",
        "priceProtect",
        "activationPrice",
        "callbackRate",
    }
)


def update_sub_order(venue: Venue, account: Account, strategy: Strategy, row: Mapping[str, str]) -> SubOrder:
    """Change a sub-order; of a placed one only quantity, price and stop price.

    Raises VenueError (-1130 for an unknown sub-order, -5025 for one that has ended, a filter's code), and then
    changed nothing.
    """
    sub = next((sub for sub in strategy.subs if str(sub.number) == row.get("strategySubId")), None)
    if sub is None:
        raise errors.BAD_PARAMETER.error(name="strategySubId")
    params = {**sub.params, **{name: value for name, value in row.items() if name in _CHANGEABLE}}
    request = parse_order(params)
    if sub.waits:
        venue.check_filters(venue.market(request.symbol), request)
    else:
        _change_order(venue, account, account.orders.get(sub.order_id), request)
    sub.params = params
    strategy.updated_ms = venue.state.now_ms()
    venue.state.changes.strategies[strategy.strategy_id] = strategy
    return sub


def _change_order(venue: Venue, account: Account, order: Order | None, request: OrderRequest) -> None:
    if order is None or not order.open:
        raise errors.AMEND_UNSUPPORTED.error()
    if order.orig_type == LIMIT:
        venue.amend(account, order.symbol, order.order_id, None, request.quantity, request.price)
        return
    if not order.waiting:
        raise errors.AMEND_UNSUPPORTED.error()
    venue.check_filters(venue.market(request.symbol), request)
    venue.retarget(order, request)
