"""Prices from recorded candles: CSV files with openTime,open,high,low,close,volume.

Each candle passes through open, one extreme, the other, and close: the low first when it closed above its open,
the high first otherwise. From close to the next open the price jumps, inside a candle it glides, so
that a stop inside the range fires at its own price. Several files play in lock-step by openTime. Candle
time is only a price source: the venue's clock stays the injected one.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from aster_sim.clock import SimClock
from aster_sim.core.numbers import parse_decimal, plain
from aster_sim.core.venue import Venue

_SYMBOL_IN_NAME = re.compile(r"(?<![A-Z0-9])([A-Z0-9]{2,20}USD[TC1]?)(?![A-Z0-9])")
_COLUMNS = ("openTime", "open", "high", "low", "close")
_POINTS = 4


class CandleFileError(ValueError):
    """A candle file that cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar; ``open_ms`` is its openTime."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    def points(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """The path through the bar."""
        if self.close > self.open:
            return (self.open, self.low, self.high, self.close)
        return (self.open, self.high, self.low, self.close)


def symbol_of(text: str) -> tuple[str, Path]:
    """(symbol, path) from ``SYMBOL=path`` or a path whose file name holds the symbol."""
    name, separator, rest = text.partition("=")
    if separator:
        return name, Path(rest)
    path = Path(text)
    found = _SYMBOL_IN_NAME.search(path.stem.upper().replace("_", " "))
    if found is None:
        raise CandleFileError(f"candle file {path.name}: no symbol in its name; write SYMBOL={path.name}")
    return found.group(1), path


def read_candles(path: Path) -> list[Candle]:
    """The bars of a file, oldest first.  Raises CandleFileError."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CandleFileError(f"candle file {path.name}: no column {', '.join(missing)}")
            rows = [_candle(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise CandleFileError(f"candle file {path.name}: cannot be read: {error.strerror}") from error
    if not rows:
        raise CandleFileError(f"candle file {path.name}: no candles in it")
    for before, after in itertools.pairwise(rows):
        if after.open_ms <= before.open_ms:
            raise CandleFileError(f"candle file {path.name}: openTime {after.open_ms} is not after the one before")
    return rows


def _candle(path: Path, line: int, row: dict[str, str | None]) -> Candle:
    numbers = [parse_decimal(row[name] or "") for name in _COLUMNS[1:]]
    text = row["openTime"] or ""
    if not text.isdigit() or any(number is None or number <= 0 for number in numbers):
        raise CandleFileError(f"candle file {path.name}: line {line} is not a candle")
    opened, high, low, closed = (number for number in numbers if number is not None)
    if not low <= min(opened, closed) <= max(opened, closed) <= high:
        raise CandleFileError(f"candle file {path.name}: line {line} has open or close outside low and high")
    return Candle(int(text), opened, high, low, closed)


class CandleFeed:
    """Plays bars through the venue, at a speed or step by step."""

    name = "candles"

    def __init__(
        self,
        venue: Venue,
        clock: SimClock,
        bars: dict[str, list[Candle]],
        speed: float,
        settle: Callable[[], None],
    ) -> None:
        """``speed`` is candles per second of the venue's clock; 0 plays only what ``step`` asks for."""
        self._venue = venue
        self._clock = clock
        self._speed = speed
        self._settle = settle
        self._by_time: dict[int, dict[str, Candle]] = {}
        self._playing = asyncio.Lock()
        for symbol, rows in bars.items():
            if symbol not in venue.state.markets:
                raise CandleFileError(f"candle file of {symbol}: the exchange info has no such symbol")
            for row in rows:
                self._by_time.setdefault(row.open_ms, {})[symbol] = row
        self._times = sorted(self._by_time)
        self._next = 0
        self._latest: dict[str, Candle] = {}
        for symbol, rows in bars.items():
            venue.jump(symbol, rows[0].open)

    @property
    def done(self) -> bool:
        """Whether every bar was played."""
        return self._next >= len(self._times)

    async def run(self) -> None:
        """Play at the chosen speed to the end; at speed 0 do nothing."""
        if not self._speed:
            return
        pause = 1.0 / (self._speed * _POINTS)
        while not self.done:
            async with self._playing:
                if not self.done:  # somebody may have stepped to the end meanwhile
                    await self._play(pause)

    async def close(self) -> None:
        """Nothing is held open."""

    async def step(self, count: int) -> dict[str, Any]:
        """Play up to ``count`` bars at once: the latest closed bar per symbol, fills, whether it was the end."""
        async with self._playing:
            before = self._venue.state.fills
            for _ in range(count):
                if self.done:
                    break
                await self._play(0.0)
            return {
                "candles": {symbol: _shown(row) for symbol, row in self._latest.items()},
                "fills": self._venue.state.fills - before,
                "done": self.done,
            }

    async def _play(self, pause_s: float) -> None:
        """One bar of every symbol that has one at this time."""
        bars = self._by_time[self._times[self._next]]
        self._next += 1
        for point in range(_POINTS):
            for symbol, row in bars.items():
                if point:
                    self._venue.glide(symbol, row.points()[point])
                else:
                    self._venue.jump(symbol, row.open)
            self._settle()
            if pause_s:
                await self._clock.sleep(pause_s)
        self._latest.update(bars)
        if not pause_s:
            await self._clock.sleep(0.0)


def _shown(row: Candle) -> dict[str, Any]:
    return {
        "openTime": row.open_ms,
        "open": plain(row.open),
        "high": plain(row.high),
        "low": plain(row.low),
        "close": plain(row.close),
    }
