"""Whether an account can afford an order: initial margin (-2019) and the leverage's notional cap (-2027)."""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core.account import Account
from aster_sim.core.brackets import max_notional
from aster_sim.core.margin import summarise
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import LIMIT, Order
from aster_sim.core.state import State


def _opening(account: Account, order: Order) -> tuple[Decimal, Decimal]:
    """(what opens exposure, what closes a position) of the order's remaining quantity."""
    closable = account.closable(order)
    closing = min(order.remaining, closable)
    return order.remaining - closing, closing


def margin_suffices(state: State, account: Account, market: Market, order: Order) -> bool:
    """Whether available balance covers initial margin and the loss that the order opens with.

    Untriggered conditional orders bind nothing; the part of an order that closes a position frees margin.
    """
    if order.closes_only or order.waiting:
        return True
    opening, closing = _opening(account, order)
    if not opening:
        return True
    mark = market.prices.mark
    price = order.price if order.type == LIMIT else market.best(asks=order.buys)[0] or mark
    if not order.buys:
        price = max(price, market.best(asks=False)[0])
    leverage = account.leverage_of(order.symbol, market.max_leverage)
    loss = max(ZERO, price - mark if order.buys else mark - price)
    needed = opening * (price / leverage + loss) - closing * mark / leverage
    return needed <= summarise(account, state.markets).available


def within_leverage_cap(account: Account, market: Market, order: Order) -> bool:
    """Whether the position stays under the cap of its leverage if this and all resting orders fill."""
    if order.closes_only:
        return True
    opening, _ = _opening(account, order)
    position = account.position(order.symbol, order.position_side)
    exposure = opening
    if position.amount and (position.amount > ZERO) == order.buys:
        exposure += abs(position.amount)
    exposure += account.resting_quantity(order.symbol, buys=order.buys)
    leverage = account.leverage_of(order.symbol, market.max_leverage)
    return exposure * market.prices.mark <= max_notional(market.brackets, leverage)
