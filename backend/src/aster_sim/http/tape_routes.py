"""Public endpoints over the record of trades and candles (asterdex-facts.md section 4, "Public")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aster_sim.core import errors
from aster_sim.core.errors import Refusal
from aster_sim.core.intake import int_param, required
from aster_sim.http import tape_views
from aster_sim.http.calls import Call, Route, Security, by_symbol, fixed
from aster_sim.tape.bars import HOUR_MS, INTERVALS
from aster_sim.tape.tape import Print, SymbolTape

_TRADES_DEFAULT, _TRADES_MAXIMUM = 500, 1000
_KLINES_DEFAULT, _KLINES_MAXIMUM = 500, 1500
_INVALID_INTERVAL = Refusal(-1120, "Invalid interval.")


def _tape(call: Call, symbol: str) -> SymbolTape | None:
    """The record of a symbol, None as long as it has no price."""
    market = call.runtime.venue.state.markets[symbol]
    return call.runtime.tape.of(market) if market.priced else None


def _trades(call: Call) -> Any:
    tape = _tape(call, call.symbol())
    limit = call.limit(_TRADES_DEFAULT, _TRADES_MAXIMUM)
    return [tape_views.trade_row(tape, row) for row in tape.trades(limit)] if tape else []


def _historical_trades(call: Call) -> Any:
    tape = _tape(call, call.symbol())
    limit = call.limit(_TRADES_DEFAULT, _TRADES_MAXIMUM)
    rows = tape.trades(limit, from_id=int_param(call.params, "fromId")) if tape else []
    return [tape_views.trade_row(tape, row) for row in rows] if tape else []


def _agg_trades(call: Call) -> Any:
    tape = _tape(call, call.symbol())
    limit = call.limit(_TRADES_DEFAULT, _TRADES_MAXIMUM)
    start, end = int_param(call.params, "startTime"), int_param(call.params, "endTime")
    if start is not None and end is not None and not 0 <= end - start < HOUR_MS:
        raise errors.BAD_INTERVAL.error()
    if tape is None:
        return []
    rows: list[Print]
    if start is None and end is None:
        rows = tape.trades(limit, from_id=int_param(call.params, "fromId"))
    else:
        rows = [
            row
            for row in tape.trades(len(tape.prints) or limit)
            if (start is None or row.time_ms >= start) and (end is None or row.time_ms <= end)
        ]
        rows = rows[:limit] if start is not None else rows[-limit:]
    return [tape_views.agg_trade_row(tape, row) for row in rows]


def _candles(call: Call, symbol: str, *, mark: bool) -> Any:
    interval = required(call.params, "interval")
    if interval not in INTERVALS:
        raise _INVALID_INTERVAL.error()
    limit = call.limit(_KLINES_DEFAULT, _KLINES_MAXIMUM)
    start, end = int_param(call.params, "startTime"), int_param(call.params, "endTime")
    tape = _tape(call, symbol)
    if tape is None:
        return []
    now_ms = call.runtime.venue.state.now_ms()
    rows = tape.candles(interval, now_ms, mark=mark, start=start, end=end, limit=limit)
    return [tape_views.kline_row(tape, bar, traded=not mark) for bar in rows]


def _klines(call: Call) -> Any:
    return _candles(call, call.symbol(), mark=False)


def _mark_klines(call: Call) -> Any:
    return _candles(call, call.symbol(), mark=True)


def _index_klines(call: Call) -> Any:
    pair = required(call.params, "pair")
    if pair not in call.runtime.venue.state.markets:
        raise errors.BAD_SYMBOL.error()
    return _candles(call, pair, mark=True)


def _day(call: Call) -> Any:
    state = call.runtime.venue.state
    now_ms = state.now_ms()
    if call.params.get("symbol"):
        tape = _tape(call, call.symbol())
        if tape is None:
            raise errors.BAD_SYMBOL.error()
        return tape_views.day_row(tape, tape.day(now_ms))
    tapes = [call.runtime.tape.of(market) for market in state.markets.values() if market.priced]
    return [tape_views.day_row(tape, tape.day(now_ms)) for tape in tapes]


def _klines_weight(params: Mapping[str, str]) -> int:
    text = params.get("limit", "")
    limit = int(text) if text.isascii() and text.isdigit() else _KLINES_DEFAULT
    for below, weight in ((100, 1), (500, 2), (1001, 5)):
        if limit < below:
            return weight
    return 10


TAPE_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "trades"): Route(_trades, fixed(1), Security.NONE),
    ("GET", "historicalTrades"): Route(_historical_trades, fixed(20), Security.MARKET),
    ("GET", "aggTrades"): Route(_agg_trades, fixed(20), Security.NONE),
    ("GET", "klines"): Route(_klines, _klines_weight, Security.NONE),
    ("GET", "markPriceKlines"): Route(_mark_klines, _klines_weight, Security.NONE),
    ("GET", "indexPriceKlines"): Route(_index_klines, _klines_weight, Security.NONE),
    ("GET", "ticker/24hr"): Route(_day, by_symbol(1, 40), Security.NONE),
}
