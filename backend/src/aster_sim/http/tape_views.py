"""Bodies and frames made from the public record: trades, candles, 24-hour figures (asterdex-facts.md sections 4, 7)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aster_sim.core.numbers import display_half_even, plain
from aster_sim.tape.bars import Bar
from aster_sim.tape.tape import DayFigures, Print, SymbolTape

_PERCENT_DECIMALS = 3
_QUOTE_DECIMALS = 2


def trade_row(tape: SymbolTape, row: Print) -> dict[str, Any]:
    """A row of ``trades`` and ``historicalTrades``; quoteQty has the price's decimals, as recorded."""
    decimals = -int(tape.tick.as_tuple().exponent)
    quote = display_half_even(row.price * row.quantity * (tape.tick * tape.step), decimals)
    return {
        "id": row.trade_id,
        "price": tape.price(row.price),
        "qty": tape.quantity(row.quantity),
        "quoteQty": plain(quote),
        "time": row.time_ms,
        "isBuyerMaker": row.buyer_is_maker,
    }


def agg_trade_row(tape: SymbolTape, row: Print) -> dict[str, Any]:
    """A row of ``aggTrades``; here each trade is an aggregate of its own."""
    return {
        "a": row.trade_id,
        "p": tape.price(row.price),
        "q": tape.quantity(row.quantity),
        "f": row.trade_id,
        "l": row.trade_id,
        "T": row.time_ms,
        "m": row.buyer_is_maker,
    }


def agg_trade_frame(tape: SymbolTape, row: Print, now_ms: int) -> dict[str, Any]:
    """``aggTrade``: the row of REST, addressed."""
    return {"e": "aggTrade", "E": now_ms, "s": tape.symbol, **agg_trade_row(tape, row)}


def trade_frame(tape: SymbolTape, row: Print, now_ms: int) -> dict[str, Any]:
    """``trade``, as recorded."""
    return {
        "e": "trade",
        "E": now_ms,
        "T": row.time_ms,
        "s": tape.symbol,
        "t": row.trade_id,
        "p": tape.price(row.price),
        "q": tape.quantity(row.quantity),
        "X": "MARKET",
        "m": row.buyer_is_maker,
    }


def kline_row(tape: SymbolTape, bar: Bar, *, traded: bool = True) -> list[Any]:
    """A row of ``klines``; mark and index price candles carry no volume."""
    return [
        bar.open_ms,
        *(tape.price(price) for price in (bar.open, bar.high, bar.low, bar.close)),
        tape.quantity(bar.volume) if traded else "0",
        bar.open_ms + bar.width_ms - 1,
        tape.value(bar.quote) if traded else "0",
        bar.trades,
        tape.quantity(bar.bought) if traded else "0",
        tape.value(bar.bought_quote) if traded else "0",
        "0",
    ]


def kline_frame(
    tape: SymbolTape, interval: str, bar: Bar, last_id: int, now_ms: int, *, closed: bool
) -> dict[str, Any]:
    """``kline``, as recorded; trade ids are -1 where nothing was traded."""
    return {
        "e": "kline",
        "E": now_ms,
        "s": tape.symbol,
        "k": {
            "t": bar.open_ms,
            "T": bar.open_ms + bar.width_ms - 1,
            "s": tape.symbol,
            "i": interval,
            "f": last_id - bar.trades + 1 if bar.trades else -1,
            "L": last_id if bar.trades else -1,
            "o": tape.price(bar.open),
            "c": tape.price(bar.close),
            "h": tape.price(bar.high),
            "l": tape.price(bar.low),
            "v": tape.quantity(bar.volume),
            "n": bar.trades,
            "x": closed,
            "q": tape.value(bar.quote),
            "V": tape.quantity(bar.bought),
            "Q": tape.value(bar.bought_quote),
            "B": "0",
        },
    }


def day_row(tape: SymbolTape, day: DayFigures) -> dict[str, Any]:
    """A row of ``ticker/24hr``, as recorded (there is no ``prevClosePrice``)."""
    return {
        "symbol": tape.symbol,
        "priceChange": tape.price(day.last - day.open),
        "priceChangePercent": plain(_percent(day)),
        "weightedAvgPrice": _average(tape, day),
        "lastPrice": tape.price(day.last),
        "lastQty": tape.quantity(day.last_quantity),
        "openPrice": tape.price(day.open),
        "highPrice": tape.price(day.high),
        "lowPrice": tape.price(day.low),
        "volume": tape.quantity(day.volume),
        "quoteVolume": plain(display_half_even(Decimal(tape.value(day.quote)), _QUOTE_DECIMALS)),
        "openTime": day.from_ms,
        "closeTime": day.to_ms,
        "firstId": day.last_id - day.trades + 1,
        "lastId": day.last_id,
        "count": day.trades,
    }


def ticker_frame(tape: SymbolTape, day: DayFigures, now_ms: int) -> dict[str, Any]:
    """``24hrTicker``."""
    return {
        "e": "24hrTicker",
        "E": now_ms,
        "s": tape.symbol,
        "p": tape.price(day.last - day.open),
        "P": plain(_percent(day)),
        "w": _average(tape, day),
        "c": tape.price(day.last),
        "Q": tape.quantity(day.last_quantity),
        "o": tape.price(day.open),
        "h": tape.price(day.high),
        "l": tape.price(day.low),
        "v": tape.quantity(day.volume),
        "q": tape.value(day.quote),
        "O": day.from_ms,
        "C": day.to_ms,
        "F": day.last_id - day.trades + 1,
        "L": day.last_id,
        "n": day.trades,
    }


def mini_ticker_frame(tape: SymbolTape, day: DayFigures, now_ms: int) -> dict[str, Any]:
    """``24hrMiniTicker``."""
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": tape.symbol,
        "c": tape.price(day.last),
        "o": tape.price(day.open),
        "h": tape.price(day.high),
        "l": tape.price(day.low),
        "v": tape.quantity(day.volume),
        "q": tape.value(day.quote),
    }


def _percent(day: DayFigures) -> Decimal:
    return display_half_even(Decimal(100 * (day.last - day.open)) / day.open, _PERCENT_DECIMALS)


def _average(tape: SymbolTape, day: DayFigures) -> str:
    """The volume-weighted price, half to even on the tick; the last price where nothing was traded."""
    if not day.volume:
        return tape.price(day.last)
    return tape.price(int(display_half_even(Decimal(day.quote) / day.volume, 0)))
