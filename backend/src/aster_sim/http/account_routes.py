"""Account endpoints (asterdex-facts.md section 4, "Account")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aster_sim.core import errors, views
from aster_sim.core.brackets import max_notional
from aster_sim.core.intake import bool_param, int_param
from aster_sim.core.numbers import plain
from aster_sim.core.orders import Trade
from aster_sim.http.calls import Call, Route, Security, fixed
from aster_sim.http.order_routes import time_range

_SUCCESS = {"code": 200, "msg": "success"}
_RATE_DECIMALS = "{:.6f}"


def _balance(call: Call) -> Any:
    state = call.runtime.venue.state
    return views.balance_rows(call.account, state.markets, state.catalogue.assets)


def _account(call: Call) -> Any:
    state = call.runtime.venue.state
    return views.account_body(call.account, state.markets, state.catalogue.assets)


def _position_risk(call: Call) -> Any:
    return views.position_risk_rows(call.account, call.runtime.venue.state.markets, call.optional_symbols())


def _user_trades(call: Call) -> Any:
    symbol, from_id = call.symbol(), int_param(call.params, "fromId")
    if from_id is not None and ("startTime" in call.params or "endTime" in call.params):
        raise errors.BAD_COMBINATION.error()
    start, end = time_range(call)
    order_id = int_param(call.params, "orderId")
    limit = call.limit(500, 1000)

    def wanted(trade: Trade) -> bool:
        if call.lags_behind(trade.time_ms) or (order_id is not None and trade.order_id != order_id):
            return False
        return start <= trade.time_ms <= end and (from_id is None or trade.trade_id >= from_id)

    rows = [trade for trade in call.account.trades.get(symbol, ()) if wanted(trade)]
    chosen = rows[:limit] if from_id is not None or start else rows[-limit:]
    return [views.trade_body(trade) for trade in chosen]


def _income(call: Call) -> Any:
    symbol, kind = call.params.get("symbol"), call.params.get("incomeType")
    start = int_param(call.params, "startTime") or 0
    end = int_param(call.params, "endTime")
    limit = call.limit(100, 1000)
    rows = [
        income
        for income in call.account.incomes
        if (not symbol or income.symbol == symbol)
        and (not kind or income.income_type == kind)
        and income.time_ms >= start
        and (end is None or income.time_ms <= end)
    ]
    chosen = rows[:limit] if start else rows[-limit:]
    return [views.income_body(income) for income in chosen]


def _set_leverage(call: Call) -> Any:
    market = call.runtime.venue.market(call.params.get("symbol"))
    call.required("leverage")
    leverage = int_param(call.params, "leverage") or 0
    call.runtime.venue.settings.set_leverage(call.account, market, leverage)
    cap = plain(max_notional(market.brackets, leverage))
    return {"symbol": market.instrument.symbol, "leverage": leverage, "maxNotionalValue": cap}


def _set_margin_type(call: Call) -> Any:
    market = call.runtime.venue.market(call.params.get("symbol"))
    margin_type = call.required("marginType")
    call.runtime.venue.settings.set_margin_type(call.account, market, margin_type)
    return _SUCCESS


def _set_dual_side(call: Call) -> Any:
    call.required("dualSidePosition")
    dual_side = bool_param(call.params, "dualSidePosition")
    call.runtime.venue.settings.set_dual_side(call.account, dual_side=dual_side)
    return _SUCCESS


def _dual_side(call: Call) -> Any:
    return {"dualSidePosition": call.account.dual_side}


def _set_multi_assets(call: Call) -> Any:
    call.required("multiAssetsMargin")
    multi_assets = bool_param(call.params, "multiAssetsMargin")
    call.runtime.venue.settings.set_multi_assets(call.account, multi_assets=multi_assets)
    return _SUCCESS


def _multi_assets(call: Call) -> Any:
    return {"multiAssetsMargin": call.account.multi_assets}


def _leverage_bracket(call: Call) -> Any:
    markets = call.runtime.venue.state.markets
    if call.params.get("symbol"):
        return views.bracket_body(markets[call.symbol()])
    return [views.bracket_body(market) for market in markets.values()]


def _commission_rate(call: Call) -> Any:
    state = call.runtime.venue.state
    return {
        "symbol": call.symbol(),
        "makerCommissionRate": _RATE_DECIMALS.format(state.maker_rate),
        "takerCommissionRate": _RATE_DECIMALS.format(state.taker_rate),
    }


def _open_listen_key(call: Call) -> Any:
    return {"listenKey": call.runtime.hub.open_key(call.account_name, call.runtime.clock.now_us())}


def _renew_listen_key(call: Call) -> Any:
    if not call.runtime.hub.renew_key(call.account_name, call.runtime.clock.now_us()):
        raise errors.BAD_LISTEN_KEY.error()
    return {}


def _close_listen_key(call: Call) -> Any:
    call.runtime.hub.close_key(call.account_name)
    return {}


def _builders(_call: Call) -> Any:
    """The builders that the account has approved: none, since the venue charges no builder's fee."""
    return []


def _agents(call: Call) -> Any:
    """Who may sign for the account, and for how long; none of them may withdraw."""
    return [
        {
            "agentAddress": agent.signer,
            "agentName": agent.account,
            "ipWhitelist": "",
            "expired": agent.expires_ms,
            "canSpotTrade": False,
            "canPerpTrade": True,
            "canWithdraw": False,
        }
        for agent in call.runtime.auth.agents_of(call.account_name)
    ]


def _noop(_call: Call) -> Any:
    """Authentication has burnt the nonce, which is all that a noop does."""
    return _SUCCESS


_POSITION_RISK = Route(_position_risk, fixed(5), Security.SIGNED)
_BALANCE = Route(_balance, fixed(5), Security.SIGNED)
_ACCOUNT = Route(_account, fixed(5), Security.SIGNED)

ACCOUNT_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "userTrades"): Route(_user_trades, fixed(5), Security.SIGNED),
    ("GET", "income"): Route(_income, fixed(30), Security.SIGNED),
    ("POST", "leverage"): Route(_set_leverage, fixed(1), Security.SIGNED),
    ("POST", "marginType"): Route(_set_margin_type, fixed(1), Security.SIGNED),
    ("POST", "positionSide/dual"): Route(_set_dual_side, fixed(1), Security.SIGNED),
    ("GET", "positionSide/dual"): Route(_dual_side, fixed(30), Security.SIGNED),
    ("POST", "multiAssetsMargin"): Route(_set_multi_assets, fixed(1), Security.SIGNED),
    ("GET", "multiAssetsMargin"): Route(_multi_assets, fixed(30), Security.SIGNED),
    ("GET", "leverageBracket"): Route(_leverage_bracket, fixed(1), Security.SIGNED),
    ("GET", "commissionRate"): Route(_commission_rate, fixed(20), Security.SIGNED),
    ("POST", "listenKey"): Route(_open_listen_key, fixed(1), Security.KEY),
    ("PUT", "listenKey"): Route(_renew_listen_key, fixed(1), Security.KEY),
    ("DELETE", "listenKey"): Route(_close_listen_key, fixed(1), Security.KEY),
}
V3_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/fapi/v3/balance"): _BALANCE,
    ("GET", "/fapi/v3/positionRisk"): _POSITION_RISK,
    ("GET", "/fapi/v3/account"): _ACCOUNT,
    ("GET", "/fapi/v3/accountWithJoinMargin"): _ACCOUNT,
    ("GET", "/fapi/v3/agent"): Route(_agents, fixed(1), Security.SIGNED),
    ("GET", "/fapi/v3/builder"): Route(_builders, fixed(1), Security.SIGNED),
    ("POST", "/fapi/v3/noop"): Route(_noop, fixed(1), Security.SIGNED, ledgered=True),
}
V1_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/fapi/v2/balance"): _BALANCE,
    ("GET", "/fapi/v2/positionRisk"): _POSITION_RISK,
    ("GET", "/fapi/v2/account"): _ACCOUNT,
    ("GET", "/fapi/v4/account"): _ACCOUNT,
}
