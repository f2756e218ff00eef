"""REST bodies of the account side (asterdex-facts.md section 4): field names and string-or-number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from aster_sim.core.account import Account, Position
from aster_sim.core.brackets import max_notional
from aster_sim.core.margin import (
    MarginSummary,
    liquidation_price,
    position_initial_margin,
    position_maintenance,
    summarise,
)
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO, display_half_even, money, plain, trimmed
from aster_sim.core.orders import TRAILING, Income, Order, Trade

ASSET = "USDT"
Assets = Sequence[Mapping[str, Any]]
_ZERO_MONEY = "0.00000000"
_BALANCE_FIGURES = ("balance", "crossWalletBalance", "crossUnPnl", "availableBalance", "maxWithdrawAmount")
_WALLET_FIGURES = (
    "walletBalance",
    "unrealizedProfit",
    "marginBalance",
    "maintMargin",
    "initialMargin",
    "positionInitialMargin",
    "openOrderInitialMargin",
    "maxWithdrawAmount",
    "crossWalletBalance",
    "crossUnPnl",
    "availableBalance",
)


def order_body(order: Order, market: Market, *, acked: bool = False, queried: bool = False) -> dict[str, Any]:
    """An order as POST, DELETE and PUT answer it, or as a query does (``time`` instead of ``cumQty``).

    ``acked`` shows it as the ACK of a placement does: NEW with nothing executed, whatever happened since.
    """
    executed = ZERO if acked else order.executed
    average = order.average_price(market.instrument.price_decimals)
    body: dict[str, Any] = {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": "NEW" if acked else order.status,
        "clientOrderId": order.client_order_id,
        "price": plain(order.price),
        "avgPrice": plain(average) if executed else ("0" if queried else "0.00000"),
        "origQty": plain(order.quantity),
        "executedQty": plain(executed),
    }
    if not queried:
        body["cumQty"] = plain(executed)
    body.update(
        cumQuote=plain(order.cum_quote) if executed else "0",
        timeInForce=order.time_in_force,
        type=order.orig_type if acked else order.type,
        reduceOnly=order.reduce_only,
        closePosition=order.close_position,
        side=order.side,
        positionSide=order.position_side,
        stopPrice=plain(order.stop_price),
        workingType=order.working_type,
        priceProtect=order.price_protect,
        origType=order.orig_type,
    )
    if order.orig_type == TRAILING:
        body["activatePrice"] = plain(order.activation_price)
        body["priceRate"] = plain(order.callback_rate)
    if queried:
        body["time"] = order.created_ms
    body["updateTime"] = order.created_ms if acked else order.updated_ms
    return body


def trade_body(trade: Trade) -> dict[str, Any]:
    """A row of ``userTrades``."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": plain(trade.price),
        "qty": plain(trade.quantity),
        "quoteQty": plain(trade.quote),
        "commission": money(trade.commission),
        "commissionAsset": trade.commission_asset,
        "marginAsset": trade.margin_asset,
        "realizedPnl": money(trade.realised_pnl),
        "maker": trade.maker,
        "buyer": trade.side == "BUY",
        "positionSide": trade.position_side,
        "time": trade.time_ms,
    }


def income_body(income: Income) -> dict[str, Any]:
    """A row of ``income``."""
    return {
        "symbol": income.symbol,
        "incomeType": income.income_type,
        "income": money(income.income),
        "asset": income.asset,
        "info": income.info,
        "time": income.time_ms,
        "tranId": income.tran_id,
        "tradeId": income.trade_id,
    }


def balance_rows(account: Account, markets: Mapping[str, Market], assets: Assets) -> list[dict[str, Any]]:
    """``balance``: one row per asset. Money is in USDT and the fee asset; the others stand with zeros."""
    summary = summarise(account, markets)
    others = {asset["asset"]: asset["marginAvailable"] for asset in assets if asset["asset"] != ASSET}
    if account.fee_asset:
        others.setdefault(account.fee_asset, False)
    return [
        {
            "accountAlias": account.name,
            "asset": ASSET,
            "balance": money(account.wallet),
            "crossWalletBalance": money(summary.cross_wallet),
            "crossUnPnl": money(summary.cross_unrealised),
            "availableBalance": money(summary.available),
            "maxWithdrawAmount": money(min(summary.available, max(ZERO, account.wallet))),
            "marginAvailable": True,
            "updateTime": account.updated_ms,
        },
        *(
            {
                "accountAlias": account.name,
                "asset": asset,
                **dict.fromkeys(_BALANCE_FIGURES, _held_for_fees(account, asset)),
                "crossUnPnl": _ZERO_MONEY,
                "marginAvailable": is_margin,
                "updateTime": 0,
            }
            for asset, is_margin in others.items()
        ),
    ]


def _held_for_fees(account: Account, asset: str) -> str:
    return money(account.fee_balance) if asset == account.fee_asset else _ZERO_MONEY


def account_body(account: Account, markets: Mapping[str, Market], assets: Assets) -> dict[str, Any]:
    """``account`` and ``accountWithJoinMargin``, every symbol's position rows included."""
    summary = summarise(account, markets)
    totals = _totals(account, summary)
    wallet = {
        "asset": ASSET,
        "walletBalance": totals["totalWalletBalance"],
        "unrealizedProfit": totals["totalUnrealizedProfit"],
        "marginBalance": totals["totalMarginBalance"],
        "maintMargin": totals["totalMaintMargin"],
        "initialMargin": totals["totalInitialMargin"],
        "positionInitialMargin": totals["totalPositionInitialMargin"],
        "openOrderInitialMargin": totals["totalOpenOrderInitialMargin"],
        "maxWithdrawAmount": totals["maxWithdrawAmount"],
        "crossWalletBalance": totals["totalCrossWalletBalance"],
        "crossUnPnl": totals["totalCrossUnPnl"],
        "availableBalance": totals["availableBalance"],
        "marginAvailable": True,
        "updateTime": account.updated_ms,
    }
    rows = [_account_row(account, market, side) for market in markets.values() for side in account.sides()]
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": account.updated_ms,
        **totals,
        "assets": [wallet, *(_other_wallet(account, asset) for asset in assets if asset["asset"] != ASSET)],
        "positions": rows,
    }


def _other_wallet(account: Account, asset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "asset": asset["asset"],
        **dict.fromkeys(_WALLET_FIGURES, _ZERO_MONEY),
        "walletBalance": _held_for_fees(account, asset["asset"]),
        "marginAvailable": asset["marginAvailable"],
        "updateTime": 0,
    }


def _totals(account: Account, summary: MarginSummary) -> dict[str, str]:
    return {
        "totalInitialMargin": money(summary.position_initial + summary.order_initial),
        "totalMaintMargin": money(summary.maintenance),
        "totalWalletBalance": money(account.wallet),
        "totalUnrealizedProfit": money(summary.unrealised),
        "totalMarginBalance": money(account.wallet + summary.unrealised),
        "totalPositionInitialMargin": money(summary.position_initial),
        "totalOpenOrderInitialMargin": money(summary.order_initial),
        "totalCrossWalletBalance": money(summary.cross_wallet),
        "totalCrossUnPnl": money(summary.cross_unrealised),
        "availableBalance": money(summary.available),
        "maxWithdrawAmount": money(min(summary.available, max(ZERO, account.wallet))),
    }


def _account_row(account: Account, market: Market, side: str) -> dict[str, Any]:
    symbol = market.instrument.symbol
    position = account.positions.get((symbol, side)) or Position(symbol, side)
    leverage = account.leverage_of(symbol, market.max_leverage)
    initial = position_initial_margin(account, position, market)
    orders = account.order_margin.get(symbol, ZERO)
    return {
        "symbol": symbol,
        "initialMargin": trimmed(display_half_even(initial + orders, 8)),
        "maintMargin": trimmed(display_half_even(position_maintenance(position, market), 8)),
        "unrealizedProfit": money(position.unrealised(market.prices.mark)),
        "positionInitialMargin": trimmed(display_half_even(initial, 8)),
        "openOrderInitialMargin": trimmed(display_half_even(orders, 8)),
        "leverage": str(leverage),
        "isolated": symbol in account.isolated,
        "entryPrice": _entry(position),
        "maxNotional": plain(max_notional(market.brackets, leverage)),
        "positionSide": side,
        "positionAmt": _amount(position, market),
        "notional": trimmed(display_half_even(position.amount * market.prices.mark, 8)),
        "isolatedWallet": trimmed(position.isolated_wallet),
        "updateTime": position.updated_ms,
    }


def position_risk_rows(account: Account, markets: Mapping[str, Market], symbols: list[str]) -> list[dict[str, Any]]:
    """``positionRisk`` of some symbols; flat rows show a mark price of zero, as recorded."""
    summary = summarise(account, markets)
    rows: list[dict[str, Any]] = []
    for symbol in symbols:
        market = markets[symbol]
        leverage = account.leverage_of(symbol, market.max_leverage)
        cap = plain(max_notional(market.brackets, leverage))
        isolated = symbol in account.isolated
        for side in account.sides():
            position = account.positions.get((symbol, side)) or Position(symbol, side)
            mark = market.prices.mark
            liquidation = liquidation_price(account, position, markets, summary)
            rows.append(
                {
                    "symbol": symbol,
                    "positionAmt": _amount(position, market),
                    "entryPrice": _entry(position),
                    "markPrice": money(mark) if position.amount else _ZERO_MONEY,
                    "unRealizedProfit": money(position.unrealised(mark)) if position.amount else _ZERO_MONEY,
                    "liquidationPrice": trimmed(display_half_even(liquidation, 8)),
                    "leverage": str(leverage),
                    "maxNotionalValue": cap,
                    "marginType": "isolated" if isolated else "cross",
                    "isolatedMargin": money(_isolated_margin(position, mark)) if isolated else _ZERO_MONEY,
                    "isAutoAddMargin": "true" if symbol in account.auto_add_margin else "false",
                    "positionSide": side,
                    "notional": trimmed(display_half_even(position.amount * mark, 8)),
                    "isolatedWallet": trimmed(position.isolated_wallet),
                    "updateTime": position.updated_ms,
                }
            )
    return rows


def bracket_body(market: Market) -> dict[str, Any]:
    """A row of ``leverageBracket``; all figures are numbers, as recorded."""
    return {
        "symbol": market.instrument.symbol,
        "brackets": [
            {
                "bracket": row.number,
                "initialLeverage": row.max_leverage,
                "notionalCap": int(row.cap),
                "notionalFloor": int(row.floor),
                "maintMarginRatio": float(row.maint_ratio),
                "cum": float(row.cum),
            }
            for row in market.brackets
        ],
    }


def _isolated_margin(position: Position, mark: Decimal) -> Decimal:
    return position.isolated_wallet + position.unrealised(mark) if position.amount else ZERO


def _amount(position: Position, market: Market) -> str:
    return plain(display_half_even(position.amount, market.instrument.quantity_decimals))


def _entry(position: Position) -> str:
    return trimmed(position.entry_price) if position.amount else "0.0"
