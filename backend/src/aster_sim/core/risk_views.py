"""REST bodies around liquidation: ``forceOrders`` and ``adlQuantile`` (asterdex-facts.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aster_sim.core.account import Account, Position
from aster_sim.core.liquidation import adl_score
from aster_sim.core.market import Market
from aster_sim.core.orders import BOTH, LONG, SHORT, Order
from aster_sim.core.state import State
from aster_sim.core.views import order_body

QUANTILES = 5


def force_order_body(order: Order, market: Market) -> dict[str, Any]:
    """A row of ``forceOrders``: an order query without ``priceProtect``, as documented."""
    body = order_body(order, market, queried=True)
    del body["priceProtect"]
    return body


def force_orders(account: Account, symbols: set[str], kind: str | None, start_ms: int, end_ms: int) -> list[Order]:
    """The exchange's own orders on an account, oldest first; ``kind`` is LIQUIDATION, ADL or None for both."""
    return [
        order
        for order in account.orders.values()
        if order.forced
        and order.symbol in symbols
        and kind in {None, order.forced}
        and start_ms <= order.created_ms <= end_ms
    ]


def adl_quantiles(state: State, account: Account, symbols: list[str]) -> list[dict[str, Any]]:
    """``adlQuantile``: 0 (last in the queue) to 4 (first) of each symbol with a position."""
    rows: list[dict[str, Any]] = []
    for symbol in symbols:
        held = account.held(symbol)
        if not held:
            continue
        market = state.markets[symbol]
        scores = _scores(state.accounts, market)
        places = {row.side: _quantile(scores, account, row, market) for row in held}
        if account.dual_side and symbol not in account.isolated:
            worst = max(places.values())
            shown = {LONG: places.get(LONG, 0), SHORT: places.get(SHORT, 0), "HEDGE": 0}
            if len(places) > 1:
                shown.update({LONG: worst, SHORT: worst})
        else:
            shown = {side: places.get(side, 0) for side in (LONG, SHORT, BOTH)}
        rows.append({"symbol": symbol, "adlQuantile": shown})
    return rows


def _scores(accounts: Mapping[str, Account], market: Market) -> dict[bool, list[Decimal]]:
    """The scores of all positions of a symbol, longs and shorts apart."""
    scores: dict[bool, list[Decimal]] = {True: [], False: []}
    for name in market.holders:
        for row in accounts[name].held(market.instrument.symbol):
            scores[row.amount > 0].append(adl_score(accounts[name], row, market))
    return scores


def _quantile(scores: dict[bool, list[Decimal]], account: Account, position: Position, market: Market) -> int:
    side = scores[position.amount > 0]
    own = adl_score(account, position, market)
    return sum(score < own for score in side) * QUANTILES // len(side)
