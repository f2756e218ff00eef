"""Candles: their intervals, how they grow with each price, and how small ones make big ones.

Prices are whole ticks and quantities whole steps of their symbol, so that sums over thousands of candles are exact
and cheap; ``SymbolTape`` turns them into text. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-01 was a Thursday; weeks begin on Monday
_MONTH = "1M"

INTERVALS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    _MONTH: 30 * DAY_MS,
}
"""Intervals by name with their width (asterdex-facts.md section 4); a month's is only nominal."""


@dataclass(slots=True)
class Bar:
    """One candle of ``width_ms``; ``quote`` counts ticks times steps, ``bought`` is what takers bought."""

    open_ms: int
    width_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    quote: int = 0
    trades: int = 0
    bought: int = 0
    bought_quote: int = 0

    def trade(self, price: int, quantity: int, *, bought: bool) -> None:
        """Take a trade in."""
        self.move(price)
        value = price * quantity
        self.volume += quantity
        self.quote += value
        self.trades += 1
        if bought:
            self.bought += quantity
            self.bought_quote += value

    def move(self, price: int) -> None:
        """Take a price in that nobody traded at."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price

    def absorb(self, later: Bar) -> None:
        """Take in a smaller candle that comes after all that is in this one."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.quote += later.quote
        self.trades += later.trades
        self.bought += later.bought
        self.bought_quote += later.bought_quote


def flat(open_ms: int, width_ms: int, price: int) -> Bar:
    """A candle in which nothing happened yet."""
    return Bar(open_ms, width_ms, price, price, price, price)


def opened(interval: str, at_ms: int) -> int:
    """When the candle that holds a time opened: on the UTC grid, weeks on Monday, months on the first."""
    if interval == _MONTH:
        moment = datetime.fromtimestamp(at_ms // 1000, UTC)
        return _ms(datetime(moment.year, moment.month, 1, tzinfo=UTC))
    width = INTERVALS[interval]
    shift = _MONDAY_MS if interval == "1w" else 0
    return (at_ms - shift) // width * width + shift


def next_opened(interval: str, open_ms: int) -> int:
    """When the candle after the one that opened at ``open_ms`` opens."""
    if interval == _MONTH:
        moment = datetime.fromtimestamp(open_ms // 1000, UTC)
        following = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
        return _ms(datetime(*following, 1, tzinfo=UTC))
    return open_ms + INTERVALS[interval]


def earlier(interval: str, open_ms: int, count: int) -> int:
    """When the candle ``count`` before the one that opened at ``open_ms`` opened."""
    if interval != _MONTH:
        return open_ms - count * INTERVALS[interval]
    moment = datetime.fromtimestamp(open_ms // 1000, UTC)
    months = max(0, moment.year * 12 + moment.month - 1 - count - 1970 * 12)
    return _ms(datetime(1970 + months // 12, months % 12 + 1, 1, tzinfo=UTC))


def gathered(interval: str, bars: Iterable[Bar], from_ms: int, until_ms: int) -> list[Bar]:
    """Candles of an interval out of smaller ones, those that open from ``from_ms`` to ``until_ms`` inclusive.

    A time without any price stands as a flat candle at the close before it; before the first bar there is nothing.
    """
    found: list[Bar] = []
    for bar in bars:
        at = opened(interval, bar.open_ms)
        if found and found[-1].open_ms == at:
            found[-1].absorb(bar)
            continue
        _fill(interval, found, at)
        found.append(_copy(bar, at, next_opened(interval, at) - at))
    if found:
        _fill(interval, found, next_opened(interval, opened(interval, until_ms)))
    return [bar for bar in found if from_ms <= bar.open_ms <= until_ms]


def _fill(interval: str, found: list[Bar], until_ms: int) -> None:
    """Flat candles from the last one to the one that opens at ``until_ms``, which is left out."""
    while found:
        at = next_opened(interval, found[-1].open_ms)
        if at >= until_ms:
            return
        found.append(flat(at, next_opened(interval, at) - at, found[-1].close))


def _copy(bar: Bar, open_ms: int, width_ms: int) -> Bar:
    return Bar(
        open_ms,
        width_ms,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.quote,
        bar.trades,
        bar.bought,
        bar.bought_quote,
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
