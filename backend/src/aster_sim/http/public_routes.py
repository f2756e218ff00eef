"""Public endpoints (asterdex-facts.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aster_sim.core import errors
from aster_sim.core.intake import int_param
from aster_sim.http import market_views
from aster_sim.http.calls import Call, Route, Security, by_symbol, fixed

_DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
_DEPTH_DEFAULT = 500
_DEPTH_BEYOND = 5000


def _ping(_call: Call) -> Any:
    return {}


def _time(call: Call) -> Any:
    return {"serverTime": call.runtime.venue.state.now_ms()}


def _exchange_info(call: Call) -> Any:
    return market_views.exchange_info(call.runtime.venue.state, call.runtime.limits.rules)


def _depth(call: Call) -> Any:
    symbol = call.symbol()
    limit = int_param(call.params, "limit") or _DEPTH_DEFAULT
    if limit >= _DEPTH_BEYOND:
        raise errors.BAD_PARAMETER.error(name="limit")
    if limit not in _DEPTH_WEIGHTS:
        raise errors.DEPTH_LIMIT.error(limit=limit)
    runtime = call.runtime
    market, now_ms = runtime.venue.state.markets[symbol], runtime.venue.state.now_ms()
    bids, asks = runtime.book_snapshot(symbol, limit)
    return market_views.depth(market, bids, asks, runtime.next_update_id(), now_ms)


def _depth_weight(params: Mapping[str, str]) -> int:
    limit = params.get("limit", "")
    return _DEPTH_WEIGHTS.get(int(limit) if limit.isascii() and limit.isdigit() else _DEPTH_DEFAULT, 10)


def _per_symbol(call: Call, row: Any) -> Any:
    """One body when a symbol is named, a list of all priced symbols otherwise."""
    markets = call.runtime.venue.state.markets
    if call.params.get("symbol"):
        return row(markets[call.symbol()])
    return [row(market) for market in markets.values() if market.priced]


def _ticker_price(call: Call) -> Any:
    return _per_symbol(call, market_views.ticker_price)


def _book_ticker(call: Call) -> Any:
    update_id = call.runtime.next_update_id()
    return _per_symbol(call, lambda market: market_views.book_ticker(market, update_id))


def _premium_index(call: Call) -> Any:
    now_ms = call.runtime.venue.state.now_ms()
    return _per_symbol(call, lambda market: market_views.premium_index(market, now_ms))


def _funding_rates(call: Call) -> Any:
    """What was settled; before the venue opened, its default rate stands for the past."""
    start, end = int_param(call.params, "startTime"), int_param(call.params, "endTime")
    limit = call.limit(100, 1000)
    markets = call.runtime.venue.state.markets
    chosen = [markets[symbol] for symbol in call.optional_symbols()]
    rows = [
        row
        for market in chosen
        if market.priced
        for row in market_views.funding_rows(market, call.runtime.started_ms)
        if (start is None or row["fundingTime"] >= start) and (end is None or row["fundingTime"] <= end)
    ]
    rows.sort(key=lambda row: row["fundingTime"])
    return rows[:limit] if start is not None else rows[-limit:]


def _funding_info(call: Call) -> Any:
    state = call.runtime.venue.state
    markets = [state.markets[symbol] for symbol in call.optional_symbols()]
    return [market_views.funding_info(market, state.now_ms()) for market in markets]


def _spot_exchange_info(call: Call) -> Any:
    """AsterDEX has a spot exchange too, and clients such as ccxt load its markets first. Here it lists nothing."""
    return {**market_views.exchange_info(call.runtime.venue.state, call.runtime.limits.rules), "symbols": []}


SPOT_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", f"/api/{version}/{name}"): Route(handler, fixed(1), Security.NONE)
    for version in ("v1", "v3")
    for name, handler in (("ping", _ping), ("time", _time), ("exchangeInfo", _spot_exchange_info))
}
PUBLIC_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "ping"): Route(_ping, fixed(1), Security.NONE),
    ("GET", "time"): Route(_time, fixed(1), Security.NONE),
    ("GET", "exchangeInfo"): Route(_exchange_info, fixed(1), Security.NONE),
    ("GET", "depth"): Route(_depth, _depth_weight, Security.NONE),
    ("GET", "ticker/price"): Route(_ticker_price, by_symbol(1, 2), Security.NONE),
    ("GET", "ticker/bookTicker"): Route(_book_ticker, by_symbol(1, 2), Security.NONE),
    ("GET", "premiumIndex"): Route(_premium_index, fixed(1), Security.NONE),
    ("GET", "fundingRate"): Route(_funding_rates, fixed(1), Security.NONE),
    ("GET", "fundingInfo"): Route(_funding_info, fixed(1), Security.NONE),
}
