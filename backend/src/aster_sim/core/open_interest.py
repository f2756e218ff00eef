"""Caps on the open interest of a symbol: how much notional can still be opened (-5018).

AsterDEX has them for each symbol and ties leverage to them (asterdex-facts.md sections 11 and 12); their sizes are
not public. Here no cap is in force until the control API sets one.
"""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core.account import Account
from aster_sim.core.brackets import max_notional
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import Order
from aster_sim.core.state import State


def open_interest(state: State, market: Market) -> Decimal:
    """What the venue's clients hold of a symbol at the mark price: the larger of all longs and all shorts."""
    longs = shorts = ZERO
    for name in market.holders:
        for position in state.accounts[name].held(market.instrument.symbol):
            if position.amount > ZERO:
                longs += position.amount
            else:
                shorts -= position.amount
    return max(longs, shorts) * market.prices.mark


def openable(state: State, market: Market, leverage: int) -> Decimal:
    """The notional that can still be opened with a leverage: what its tier allows, and what the cap leaves."""
    allowed = max_notional(market.brackets, leverage)
    if market.interest_cap is None:
        return allowed
    return max(ZERO, min(allowed, market.interest_cap - open_interest(state, market)))


def within_interest_cap(state: State, account: Account, market: Market, order: Order) -> bool:
    """Whether what an order opens fits under the symbol's cap; closing is always allowed."""
    if order.closes_only or market.interest_cap is None:
        return True
    opening = order.remaining - min(order.remaining, account.closable(order))
    return not opening or opening * market.prices.mark <= market.interest_cap - open_interest(state, market)
