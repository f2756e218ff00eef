"""What happened before the venue opened: invented candles that end at the start price.

A bot that wants 500 candles for its indicators would otherwise have to wait for them. They are drawn from the seed,
backwards from the start price, fine ones for the last days and coarser ones before, so that short
intervals have a thousand of them or more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aster_sim.tape.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bar

if TYPE_CHECKING:
    from random import Random

TRADES_A_MINUTE = 4
_TIERS = ((MINUTE_MS, 2), (5 * MINUTE_MS, 10), (HOUR_MS, 80), (DAY_MS, 900))
"""(width, whole days before today) from the latest to the oldest; the first also reaches up to the start."""

_MINUTE_PPM = 250
_PPM = 1_000_000
_QUANTITY_SPREAD = (40, 160)


def invented(rng: Random, price: int, lot: int, start_ms: int) -> list[Bar]:
    """Candles up to the minute of ``start_ms``, oldest first; the last one closes at ``price`` ticks.

    ``lot`` is the typical quantity of one trade in steps.
    """
    newest_first: list[Bar] = []
    until = start_ms // MINUTE_MS * MINUTE_MS
    day = start_ms // DAY_MS * DAY_MS
    close = price
    for width, days in _TIERS:
        day -= days * DAY_MS
        minutes = width // MINUTE_MS
        spread = int(_MINUTE_PPM * minutes**0.5)
        while until > day:
            until -= width
            bar = _bar(rng, until, width, close, spread)
            _trade(rng, bar, lot, minutes)
            newest_first.append(bar)
            close = bar.open
    newest_first.reverse()
    return newest_first


def path(bar: Bar) -> tuple[int, int, int, int]:
    """The prices of an invented minute's trades, in their order: low before high when it rose."""
    if bar.close > bar.open:
        return bar.open, bar.low, bar.high, bar.close
    return bar.open, bar.high, bar.low, bar.close


def _bar(rng: Random, open_ms: int, width: int, close: int, spread: int) -> Bar:
    open_price = _moved(close, rng.randint(-spread, spread))
    high = _moved(max(open_price, close), rng.randint(0, spread // 2))
    low = _moved(min(open_price, close), -rng.randint(0, spread // 2))
    return Bar(open_ms, width, open_price, high, low, close)


def _moved(price: int, ppm: int) -> int:
    return max(1, price + price * ppm // _PPM)


def _trade(rng: Random, bar: Bar, lot: int, minutes: int) -> None:
    """Give a candle its volume: four trades a minute along its path, as ``path`` tells."""
    each = max(1, lot * rng.randint(*_QUANTITY_SPREAD) // 100)
    rising = bar.close > bar.open
    prices = path(bar)
    bar.trades = TRADES_A_MINUTE * minutes
    bar.volume = bar.trades * each
    bar.quote = sum(prices) * each * minutes
    buys = prices[2:] if rising else prices[1:2]
    bar.bought = len(buys) * each * minutes
    bar.bought_quote = sum(buys) * each * minutes
