"""The public record of each symbol: latest trades, candles of last and mark price, 24-hour figures.

Other people's trades are invented: each move of a price prints one, with a quantity from the seed. Trades of the
venue's own clients are printed as they happen. Deterministic like the core: seed and inputs decide everything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from aster_sim.core.market import Market
from aster_sim.core.orders import Trade
from aster_sim.tape.bars import DAY_MS, INTERVALS, MINUTE_MS, Bar, earlier, flat, gathered, next_opened, opened
from aster_sim.tape.history import TRADES_A_MINUTE, invented, path

if TYPE_CHECKING:
    from random import Random

PRINTS_KEPT = 2_000
MINUTES_KEPT = 20_000
_SEEDED_MINUTES = 250
_FIRST_ID = 1_000_000
_LOT_NOTIONAL = Decimal(5_000)
_SPREAD = (20, 200)


class Print(msgspec.Struct, frozen=True):
    """One public trade, in ticks and steps; ``buyer_is_maker`` when the taker sold."""

    trade_id: int
    time_ms: int
    price: int
    quantity: int
    buyer_is_maker: bool


@dataclass(frozen=True, slots=True)
class DayFigures:
    """The last 24 hours of a symbol, in ticks and steps."""

    open: int
    high: int
    low: int
    last: int
    volume: int
    quote: int
    trades: int
    last_id: int
    last_quantity: int
    from_ms: int
    to_ms: int


class SymbolTape:
    """The public record of one symbol, from the venue's start on, and an invented past before it."""

    def __init__(self, market: Market, rng: Random, past_rng: Random | None, now_ms: int) -> None:
        """``past_rng`` draws what was before the start; without one there was nothing."""
        instrument = market.instrument
        self.symbol = instrument.symbol
        self.tick = instrument.tick
        self.step = min(instrument.step, instrument.market_step)
        self.prints: deque[Print] = deque(maxlen=PRINTS_KEPT)
        self.version = 0
        self._rng = rng
        self._started_ms = now_ms
        self._start_price = self._last = self.ticks(market.prices.last)
        self._start_mark = self.ticks(market.prices.mark)
        self._past_rng = past_rng
        self._past: list[Bar] | None = None
        self._bars: deque[Bar] = deque(maxlen=MINUTES_KEPT)
        self._marks: deque[Bar] = deque(maxlen=MINUTES_KEPT)
        self._next_id = _FIRST_ID
        self._lot = max(1, int(_LOT_NOTIONAL / market.prices.last / self.step))
        self._day: tuple[int, list[Bar]] = (-1, [])

    # -- what happens ---------------------------------------------------------------------------

    def print_trade(self, price: Decimal, quantity: Decimal, now_ms: int, *, taker_bought: bool) -> Print:
        """Record a trade of the venue's own clients."""
        return self._print(self.ticks(price), max(1, int(quantity / self.step)), now_ms, bought=taker_bought)

    def moved(self, last: Decimal, mark: Decimal, now_ms: int) -> Print:
        """Record a move of the market; other people traded at the new price."""
        price = self.ticks(last)
        bought = price > self._last or (price == self._last and self._rng.random() < 0.5)
        quantity = max(1, self._lot * self._rng.randint(*_SPREAD) // 100)
        self._current(self._marks, self._start_mark, now_ms).move(self.ticks(mark))
        return self._print(price, quantity, now_ms, bought=bought)

    def _print(self, price: int, quantity: int, now_ms: int, *, bought: bool) -> Print:
        self._current(self._bars, self._last, now_ms).trade(price, quantity, bought=bought)
        self._last = price
        trade = Print(self._next_id, now_ms, price, quantity, not bought)
        self._next_id += 1
        self.version += 1
        self.prints.append(trade)
        return trade

    @staticmethod
    def _current(bars: deque[Bar], last: int, now_ms: int) -> Bar:
        at = now_ms // MINUTE_MS * MINUTE_MS
        if not bars or bars[-1].open_ms < at:
            bars.append(flat(at, MINUTE_MS, bars[-1].close if bars else last))
        return bars[-1]

    # -- what is asked --------------------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """The id of the latest trade."""
        return self._next_id - 1

    def ticks(self, price: Decimal) -> int:
        """A price in whole ticks."""
        return int(price / self.tick)

    def price(self, ticks: int) -> str:
        """Ticks as AsterDEX writes a price."""
        return format(ticks * self.tick, "f")

    def quantity(self, steps: int) -> str:
        """Steps as AsterDEX writes a quantity."""
        return format(steps * self.step, "f")

    def value(self, product: int) -> str:
        """A quote amount out of ticks times steps."""
        return format(product * (self.tick * self.step), "f")

    def trades(self, limit: int, *, from_id: int | None = None) -> list[Print]:
        """The latest trades, or those from an id on; oldest first."""
        self._invent()
        if from_id is None:
            return list(self.prints)[-limit:]
        return list(islice((row for row in self.prints if row.trade_id >= from_id), limit))

    def candles(
        self, interval: str, now_ms: int, *, mark: bool = False, start: int | None, end: int | None, limit: int
    ) -> list[Bar]:
        """Candles of an interval, oldest first.

        With ``start``, ``limit`` of them from there on; otherwise the latest ``limit`` up to ``end`` or now.
        """
        last = opened(interval, min(now_ms, end if end is not None else now_ms))
        if start is None:
            first = earlier(interval, last, limit - 1)
        else:
            first = opened(interval, start)
            first = first if first == start else next_opened(interval, first)
            last = min(last, earlier(interval, first, -limit) if interval != "1M" else last)
        rows = gathered(interval, self._bars_from(interval, first, last, mark=mark), first, last)
        return rows[:limit]

    def candle(self, interval: str, now_ms: int) -> Bar:
        """The candle that is forming."""
        return self.candles(interval, now_ms, start=None, end=None, limit=1)[-1]

    def day(self, now_ms: int) -> DayFigures:
        """The figures of the last 24 hours, whole minutes."""
        minute = now_ms // MINUTE_MS * MINUTE_MS
        if self._day[0] != minute:
            since = minute - DAY_MS + MINUTE_MS
            closed = self.candles("1m", minute - 1, start=since, end=None, limit=DAY_MS // MINUTE_MS)
            self._day = (minute, _summed(closed))
        current = [self._bars[-1]] if self._bars and self._bars[-1].open_ms >= minute else []
        bars = _summed([*self._day[1], *current]) or [flat(minute, MINUTE_MS, self._last)]
        whole = bars[0]
        return DayFigures(
            open=whole.open,
            high=whole.high,
            low=whole.low,
            last=whole.close,
            volume=whole.volume,
            quote=whole.quote,
            trades=whole.trades,
            last_id=self.last_id,
            last_quantity=self.prints[-1].quantity if self.prints else 0,
            from_ms=minute - DAY_MS + MINUTE_MS,
            to_ms=now_ms,
        )

    def _bars_from(self, interval: str, first_ms: int, last_ms: int, *, mark: bool) -> list[Bar]:
        """The bars that make candles from ``first_ms`` to the one opened at ``last_ms``, and one before them."""
        width = INTERVALS[interval]
        live = self._marks if mark else self._bars
        start = self._start_mark if mark else self._start_price
        until = next_opened(interval, opened(interval, last_ms))
        past = self._invent()
        fine = bisect_left(past, True, key=lambda bar: bar.width_ms <= width)  # noqa: FBT003 -- a key, not a flag
        at = bisect_left(past, first_ms, key=lambda bar: bar.open_ms)
        rows = past[max(fine, at - 1) :]
        if len(live) < MINUTES_KEPT and (not live or live[0].open_ms > self._started_ms):
            rows.append(flat(self._started_ms // MINUTE_MS * MINUTE_MS, MINUTE_MS, start))
        rows += live
        return [bar for bar in rows if bar.open_ms < until]

    def _invent(self) -> list[Bar]:
        """The past, made when it is first asked for; the prints of its last minutes go before the real ones."""
        if self._past is None:
            rng = self._past_rng
            self._past = invented(rng, self._start_price, self._lot, self._started_ms) if rng else []
            seeds: list[Print] = []
            for minute in self._past[-_SEEDED_MINUTES:]:
                bought = {2, 3} if minute.close > minute.open else {1}
                each = minute.volume // TRADES_A_MINUTE
                for at, price in enumerate(path(minute)):
                    when = minute.open_ms + at * (MINUTE_MS // TRADES_A_MINUTE)
                    number = _FIRST_ID - _SEEDED_MINUTES * TRADES_A_MINUTE + len(seeds)
                    seeds.append(Print(number, when, price, each, at not in bought))
            room = PRINTS_KEPT - len(self.prints)
            self.prints.extendleft(reversed(seeds[len(seeds) - min(room, len(seeds)) :]))
        return self._past


def _summed(bars: Iterable[Bar]) -> list[Bar]:
    """One bar out of all, or none out of none."""
    rows = list(bars)
    if not rows:
        return []
    whole = flat(rows[0].open_ms, DAY_MS, rows[0].open)
    for bar in rows:
        whole.absorb(bar)
    return [whole]


class Tape:
    """All symbols' records; a symbol's begins when its price is first known."""

    def __init__(self, rng_of: Callable[[str], Random], now_ms: Callable[[], int], *, with_past: bool) -> None:
        """``rng_of`` gives each purpose a random source of its own, so that the order of questions decides nothing."""
        self._rng_of = rng_of
        self._now_ms = now_ms
        self._with_past = with_past
        self._symbols: dict[str, SymbolTape] = {}

    def of(self, market: Market) -> SymbolTape:
        """The record of a symbol that has a price."""
        symbol = market.instrument.symbol
        found = self._symbols.get(symbol)
        if found is None:
            past = self._rng_of(f"{symbol}:past") if self._with_past else None
            found = self._symbols[symbol] = SymbolTape(market, self._rng_of(symbol), past, self._now_ms())
        return found

    def moved(self, market: Market) -> Print:
        """Record that a symbol's price moved."""
        prices = market.prices
        return self.of(market).moved(prices.last, prices.mark, self._now_ms())

    def executed(self, market: Market, trade: Trade) -> Print:
        """Record a trade of the venue's own clients."""
        bought = (trade.side == "BUY") != trade.maker
        return self.of(market).print_trade(trade.price, trade.quantity, trade.time_ms, taker_bought=bought)


def public_trades(trades: list[Trade]) -> list[Trade]:
    """Those fills that the public sees: of two clients that met, the taker's alone."""
    shown: list[Trade] = []
    for at, trade in enumerate(trades):
        other = trades[at + 1] if at + 1 < len(trades) else None
        met = (
            trade.maker
            and other is not None
            and not other.maker
            and (other.symbol, other.price, other.quantity) == (trade.symbol, trade.price, trade.quantity)
            and other.trade_id == trade.trade_id + 1
        )
        if not met:
            shown.append(trade)
    return shown
