"""User-stream frames (asterdex-facts.md section 7): names, key order and string-or-number as recorded."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from aster_sim.core.account import Account, Position
from aster_sim.core.margin import position_maintenance
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO, money, plain, trimmed
from aster_sim.core.orders import TRAILING, Order, Trade

MARGIN_ASSET = "USDT"


def _position_row(account: Account, position: Position, market: Market) -> dict[str, Any]:
    isolated = position.symbol in account.isolated
    return {
        "s": position.symbol,
        "pa": plain(position.amount) if position.amount else "0",
        "ep": trimmed(position.entry_price),
        "cr": money(position.realised),
        "up": money(position.unrealised(market.prices.mark)) if position.amount else "0",
        "mt": "isolated" if isolated else "cross",
        "iw": money(position.isolated_wallet) if isolated else "0",
        "ps": position.side,
        "ma": MARGIN_ASSET,
    }


def account_update(
    account: Account,
    rows: Sequence[tuple[Position, Market]],
    reason: str,
    at_ms: int,
    *,
    change: Decimal = ZERO,
) -> dict[str, Any]:
    """ACCOUNT_UPDATE; ``reason`` is ``m``, ``change`` what moved the balance other than PnL and commission.

    Without ``rows`` there is no ``P`` at all, as for cross funding.
    """
    balance = {
        "a": MARGIN_ASSET,
        "wb": money(account.wallet),
        "cw": money(account.cross_wallet),
        "bc": money(change) if change else "0",
    }
    body: dict[str, Any] = {"m": reason, "B": [balance]}
    if account.fee_asset:
        held = money(account.fee_balance)
        body["B"].append({"a": account.fee_asset, "wb": held, "cw": held, "bc": "0"})
    if rows:
        body["P"] = [_position_row(account, position, market) for position, market in rows]
    return {"e": "ACCOUNT_UPDATE", "E": at_ms, "T": at_ms, "a": body}


def order_update(
    order: Order, market: Market, execution: str, at_ms: int, *, trade: Trade | None = None, shown: str = ""
) -> dict[str, Any]:
    """ORDER_TRADE_UPDATE; ``execution`` is ``x``, ``shown`` replaces the order's own status in ``X``.

    ``N``/``n`` are absent when the fill cost no commission; ``AP``/``cr`` only stand on trailing stops.
    """
    body: dict[str, Any] = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(order.average_price(market.instrument.price_decimals)),
        "sp": plain(order.stop_price),
        "x": execution,
        "X": shown or order.status,
        "i": order.order_id,
        "l": plain(trade.quantity) if trade else "0",
        "z": plain(order.executed),
        "L": plain(trade.price) if trade else "0",
    }
    if trade is not None and trade.commission:
        body["n"] = money(trade.commission)
        body["N"] = trade.commission_asset
    body.update(
        T=at_ms,
        t=trade.trade_id if trade else 0,
        b="0",
        a="0",
        m=trade.maker if trade else False,
        R=order.reduce_only,
        wt=order.working_type,
        ot=order.orig_type,
        ps=order.position_side,
        cp=order.close_position,
    )
    if order.orig_type == TRAILING:
        body["AP"] = plain(order.activation_price)
        body["cr"] = plain(order.callback_rate)
    body.update(
        rp=money(trade.realised_pnl) if trade and trade.realised_pnl else "0",
        pP=order.price_protect,
        si=order.strategy.strategy_id if order.strategy else 0,
        ss=order.strategy.number if order.strategy else 0,
    )
    if order.strategy:
        body["st"] = order.strategy.kind
    return {"e": "ORDER_TRADE_UPDATE", "E": at_ms, "T": at_ms, "o": body}


def margin_call(
    account: Account, rows: Sequence[tuple[Position, Market]], at_ms: int, *, cross: bool
) -> dict[str, Any]:
    """MARGIN_CALL for the cross positions together (with ``cw``) or for one isolated position."""
    frame: dict[str, Any] = {"e": "MARGIN_CALL", "E": at_ms}
    if cross:
        frame["cw"] = money(account.cross_wallet)
    frame["p"] = [
        {
            "s": position.symbol,
            "ps": position.side,
            "pa": plain(position.amount),
            "mt": "CROSSED" if cross else "ISOLATED",
            "iw": "0" if cross else money(position.isolated_wallet),
            "mp": money(market.prices.mark),
            "up": money(position.unrealised(market.prices.mark)),
            "mm": money(position_maintenance(position, market)),
        }
        for position, market in rows
    ]
    return frame


def leverage_update(symbol: str, leverage: int, at_ms: int) -> dict[str, Any]:
    """ACCOUNT_CONFIG_UPDATE after a change of leverage."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": at_ms, "T": at_ms, "ac": {"s": symbol, "l": leverage}}


def mode_update(account: Account, at_ms: int) -> dict[str, Any]:
    """ACCOUNT_CONFIG_UPDATE after a change of multi-assets or hedge mode."""
    modes = {"j": account.multi_assets, "f": False, "d": account.dual_side}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": at_ms, "T": at_ms, "ai": modes}
