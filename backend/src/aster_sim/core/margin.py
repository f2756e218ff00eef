"""Margin of an account, Binance style (asterdex-facts.md section 12): initial, maintenance, available.

Cross positions share one wallet; an isolated one has its own, set apart from it (``core/isolated.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from aster_sim.core.account import Account, Position
from aster_sim.core.brackets import bracket_at, maintenance_margin
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO


@dataclass(frozen=True, slots=True)
class MarginSummary:
    """Totals over the account, in USDT."""

    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    cross_maintenance: Decimal
    unrealised: Decimal
    cross_wallet: Decimal
    cross_unrealised: Decimal
    available: Decimal


def position_initial_margin(account: Account, position: Position, market: Market) -> Decimal:
    """|notional at mark| / leverage."""
    leverage = account.leverage_of(position.symbol, market.max_leverage)
    return abs(position.amount) * market.prices.mark / leverage


def position_maintenance(position: Position, market: Market) -> Decimal:
    """Maintenance margin at the mark price."""
    return maintenance_margin(market.brackets, abs(position.amount) * market.prices.mark)


def summarise(account: Account, markets: Mapping[str, Market]) -> MarginSummary:
    """The account's margin now; costs one pass over its positions that are not flat."""
    initial = maintenance = isolated_maintenance = ZERO
    unrealised = cross_unrealised = cross_initial = isolated_wallets = ZERO
    for position in account.positions.values():
        if not position.amount:
            continue
        market = markets[position.symbol]
        margin = position_initial_margin(account, position, market)
        profit = position.unrealised(market.prices.mark)
        initial += margin
        needed = position_maintenance(position, market)
        maintenance += needed
        unrealised += profit
        if position.symbol in account.isolated:
            isolated_wallets += position.isolated_wallet
            isolated_maintenance += needed
        else:
            cross_initial += margin
            cross_unrealised += profit
    orders = sum(account.order_margin.values(), ZERO)
    cross_wallet = account.wallet - isolated_wallets
    available = max(ZERO, cross_wallet + cross_unrealised - cross_initial - orders)
    return MarginSummary(
        position_initial=initial,
        order_initial=orders,
        maintenance=maintenance,
        cross_maintenance=maintenance - isolated_maintenance,
        unrealised=unrealised,
        cross_wallet=cross_wallet,
        cross_unrealised=cross_unrealised,
        available=available,
    )


def liquidation_price(
    account: Account, position: Position, markets: Mapping[str, Market], summary: MarginSummary
) -> Decimal:
    """The mark price at which margin equals maintenance, other symbols unchanged; zero when there is none.

    Solves wallet + unrealised(p) = |amount|·p·ratio − cum (+ the others' maintenance) for p, in the tier of the
    current notional.
    """
    if not position.amount:
        return ZERO
    market = markets[position.symbol]
    mark = market.prices.mark
    size = abs(position.amount)
    tier = bracket_at(market.brackets, size * mark)
    if position.symbol in account.isolated:
        backing = position.isolated_wallet
    else:
        others_profit = summary.cross_unrealised - position.unrealised(mark)
        others_maintenance = summary.cross_maintenance - position_maintenance(position, market)
        backing = summary.cross_wallet + others_profit - others_maintenance
    slope = size * tier.maint_ratio - position.amount
    if not slope:
        return ZERO
    price = (backing + tier.cum - position.cost) / slope
    return max(price, ZERO)
