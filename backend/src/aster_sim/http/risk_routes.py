"""Endpoints around margin and liquidation (asterdex-facts.md section 4, "Account")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aster_sim.core import errors
from aster_sim.core.intake import decimal_param, int_param
from aster_sim.core.isolated import ADD, REDUCE, change_margin, margin_change_rows
from aster_sim.core.open_interest import openable
from aster_sim.core.orders import ADL, BOTH, LIQUIDATION
from aster_sim.core.risk_views import adl_quantiles, force_order_body, force_orders
from aster_sim.http.calls import Call, Route, Security, by_symbol, fixed
from aster_sim.http.order_routes import time_range


def _direction(call: Call) -> int | None:
    value = int_param(call.params, "type")
    if value not in {None, ADD, REDUCE}:
        raise errors.BAD_PARAMETER.error(name="type")
    return value


def _position_margin(call: Call) -> Any:
    market = call.runtime.venue.market(call.params.get("symbol"))
    for name in ("amount", "type"):
        call.required(name)
    amount, direction = decimal_param(call.params, "amount"), _direction(call)
    side = call.params.get("positionSide", BOTH)
    change_margin(call.runtime.venue.state, call.account, market, side, amount, direction or ADD)
    return {
        "amount": int(amount) if amount == int(amount) else float(amount),
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": direction,
    }


def _position_margin_history(call: Call) -> Any:
    return margin_change_rows(call.account, call.symbol(), _direction(call), call.limit(500, 500))


def _force_orders(call: Call) -> Any:
    kind = call.params.get("autoCloseType")
    if kind not in {None, LIQUIDATION, ADL}:
        raise errors.BAD_PARAMETER.error(name="autoCloseType")
    start, end = time_range(call)
    state, symbols = call.runtime.venue.state, set(call.optional_symbols())
    orders = force_orders(call.account, symbols, kind, start, end)
    return [force_order_body(order, state.markets[order.symbol]) for order in orders[-call.limit(50, 100) :]]


def _adl_quantile(call: Call) -> Any:
    rows = adl_quantiles(call.runtime.venue.state, call.account, call.optional_symbols())
    return rows[0] if call.params.get("symbol") and rows else rows


def _set_stp_mode(call: Call) -> Any:
    call.runtime.venue.settings.set_stp_mode(call.account, call.required("stpMode"))
    return {"code": 200, "msg": "success"}


def _remaining_openable(call: Call) -> Any:
    state, market = call.runtime.venue.state, call.runtime.venue.market(call.params.get("symbol"))
    call.required("leverage")
    leverage = int_param(call.params, "leverage") or 0
    if not 1 <= leverage <= market.max_leverage:
        raise errors.BAD_LEVERAGE.error(leverage=leverage)
    return {"remainingOpenableNotionalValue": float(openable(state, market, leverage))}


def _stp_mode(call: Call) -> Any:
    return {"stpMode": call.account.stp_mode}


RISK_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "remainingOpenableNotionalValue"): Route(_remaining_openable, fixed(20), Security.NONE),
    ("POST", "positionMargin"): Route(_position_margin, fixed(1), Security.SIGNED),
    ("GET", "forceOrders"): Route(_force_orders, by_symbol(20, 50), Security.SIGNED),
    ("GET", "adlQuantile"): Route(_adl_quantile, fixed(5), Security.SIGNED),
    ("GET", "positionMargin/history"): Route(_position_margin_history, fixed(1), Security.SIGNED),
}
RISK_V3_ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "/fapi/v3/stpMode"): Route(_set_stp_mode, fixed(1), Security.SIGNED),
    ("GET", "/fapi/v3/stpMode"): Route(_stp_mode, fixed(30), Security.SIGNED),
}
