"""The ledger as the control API shows it: requests, orders, fills, positions, balances, income."""

from __future__ import annotations

from typing import Any

from aster_sim.core import views
from aster_sim.core.account import Account
from aster_sim.core.numbers import money, plain, trimmed
from aster_sim.core.orders import Trade
from aster_sim.runtime import Runtime


def ledger_body(runtime: Runtime) -> dict[str, Any]:
    """Everything that happened, by account; for assertions."""
    state, ledger = runtime.venue.state, runtime.venue.ledger
    return {
        "requests": ledger.requests(),
        "requests_forgotten": ledger.forgotten,
        "accounts": {name: _account_body(runtime, account) for name, account in state.accounts.items()},
    }


def state_body(runtime: Runtime) -> dict[str, Any]:
    """The venue now: prices, counters and each account's balance and open things."""
    state = runtime.venue.state
    return {
        "now_us": runtime.clock.now_us(),
        "seed": runtime.seed,
        "feed": runtime.feed_name,
        "fills": state.fills,
        "prices": {
            symbol: {"mark": plain(market.prices.mark), "last": plain(market.prices.last)}
            for symbol, market in state.markets.items()
            if market.priced
        },
        "accounts": {
            name: {
                "wallet": money(account.wallet),
                "hedge_mode": account.dual_side,
                "multi_assets": account.multi_assets,
                "positions": _positions(account),
                "open_orders": sum(len(orders) for orders in account.open_orders.values()),
            }
            for name, account in state.accounts.items()
        },
    }


def _account_body(runtime: Runtime, account: Account) -> dict[str, Any]:
    markets = runtime.venue.state.markets
    return {
        "deposited": money(account.deposited),
        "wallet": money(account.wallet),
        "orders": [views.order_body(order, markets[order.symbol], queried=True) for order in account.orders.values()],
        "fills": [_fill(trade) for trade in _fills(account)],
        "positions": _positions(account),
        "income": [views.income_body(row) for row in account.incomes],
    }


def _fills(account: Account) -> list[Trade]:
    rows = [trade for trades in account.trades.values() for trade in trades]
    return sorted(rows, key=lambda trade: trade.trade_id)


def _fill(trade: Trade) -> dict[str, Any]:
    after = {"positionAfter": plain(trade.position_after), "walletAfter": money(trade.wallet_after)}
    return {**views.trade_body(trade), **after}


def _positions(account: Account) -> list[dict[str, str]]:
    return [
        {
            "symbol": position.symbol,
            "positionSide": position.side,
            "amount": plain(position.amount),
            "entryPrice": trimmed(position.entry_price),
            "realised": money(position.realised),
        }
        for position in account.positions.values()
        if position.amount
    ]
