"""The public record: trades, candles that add up, 24-hour figures."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aster_sim.core.catalogue import built_in_catalogue
from aster_sim.core.venue import Venue
from aster_sim.tape.bars import DAY_MS, INTERVALS, MINUTE_MS, earlier, next_opened, opened
from aster_sim.tape.tape import SymbolTape, Tape, public_trades
from support.sim_bench import make_bench

START_MS = 1_795_371_723_456


class Desk:
    """A tape of BTCUSDT on a clock that tests move."""

    def __init__(self, *, seed: int = 1, with_past: bool = True) -> None:
        self.now_ms = START_MS
        self.venue = Venue(built_in_catalogue(), Random(seed), lambda: self.now_ms * 1000)
        self.market = self.venue.state.markets["BTCUSDT"]
        self.tape = Tape(lambda purpose: Random(f"{seed}:{purpose}"), lambda: self.now_ms, with_past=with_past)

    @property
    def symbol(self) -> SymbolTape:
        return self.tape.of(self.market)

    def move(self, price: str, *, after_ms: int = 0) -> None:
        self.now_ms += after_ms
        value = Decimal(price)
        self.market.prices.move(value, value, self.now_ms)
        self.tape.moved(self.market)

    def candles(self, interval: str, limit: int = 1500, start: int | None = None, end: int | None = None):
        return self.symbol.candles(interval, self.now_ms, start=start, end=end, limit=limit)


@pytest.mark.long
@pytest.mark.parametrize("interval", INTERVALS)
def test_candles_of_every_interval_follow_each_other_without_a_gap(interval):
    desk = Desk()
    rows = desk.candles(interval)
    assert len(rows) > (1000 if interval in {"1m", "3m", "5m", "15m", "1h"} else 30)
    for before, after in pairwise(rows):
        assert before.open_ms + before.width_ms == after.open_ms
        assert before.close == after.open
    assert all(row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high for row in rows)
    assert rows[-1].open_ms <= desk.now_ms < rows[-1].open_ms + rows[-1].width_ms
    assert rows[-1].close == 960_000


@pytest.mark.parametrize(("interval", "minutes"), [("3m", 3), ("15m", 15), ("1h", 60), ("4h", 240)])
def test_big_candles_are_the_sum_of_small_ones(interval, minutes):
    desk = Desk()
    for step in range(300):
        desk.move(str(96_000 + step % 17 * 10), after_ms=23_000)
    big = desk.candles(interval, limit=5)[1]
    small = desk.candles("1m", start=big.open_ms, limit=minutes)
    assert [small[0].open, small[-1].close] == [big.open, big.close]
    assert [max(row.high for row in small), min(row.low for row in small)] == [big.high, big.low]
    for figure in ("volume", "quote", "trades", "bought", "bought_quote"):
        assert sum(getattr(row, figure) for row in small) == getattr(big, figure)


def test_a_quiet_minute_stands_flat_at_the_last_close():
    desk = Desk()
    desk.move("97000")
    desk.move("97100", after_ms=3 * MINUTE_MS)
    quiet = desk.candles("1m", limit=3)[0]
    assert (quiet.open, quiet.high, quiet.low, quiet.close, quiet.volume) == (970_000, 970_000, 970_000, 970_000, 0)


def test_start_and_end_choose_candles_by_their_opening():
    desk = Desk()
    first = opened("1m", desk.now_ms) - 100 * MINUTE_MS
    rows = desk.candles("1m", start=first + 1, end=first + 10 * MINUTE_MS)
    assert [rows[0].open_ms, rows[-1].open_ms, len(rows)] == [first + MINUTE_MS, first + 10 * MINUTE_MS, 10]
    assert len(desk.candles("1m", start=first, limit=7)) == 7
    assert desk.candles("1m", start=first, limit=7)[0].open_ms == first
    assert desk.candles("1m", end=first, limit=7)[-1].open_ms == first
    assert desk.candles("1m", start=desk.now_ms + DAY_MS) == []


def test_the_same_seed_tells_the_same_past_whenever_it_is_asked():
    early, late = Desk(), Desk()
    asked_first = early.candles("1m", limit=50)[:-1]
    for desk in (early, late):
        for step in range(50):
            desk.move(str(96_000 + step), after_ms=1_000)
    assert late.candles("1m", end=START_MS - MINUTE_MS, limit=49) == asked_first
    assert early.symbol.trades(1000) == late.symbol.trades(1000)
    assert Desk(seed=2).candles("1m", limit=50)[:-1] != asked_first


def test_a_venue_without_a_past_invents_none():
    desk = Desk(with_past=False)
    assert len(desk.candles("1m")) == 1
    assert desk.symbol.trades(10) == []
    assert desk.symbol.day(desk.now_ms).trades == 0


def test_trades_have_gapless_rising_ids_and_belong_to_their_candles():
    desk = Desk()
    desk.move("96010")
    desk.move("96020", after_ms=10)
    rows = desk.symbol.trades(1000)
    assert [after.trade_id - before.trade_id for before, after in pairwise(rows)] == [1] * (len(rows) - 1)
    assert all(before.time_ms <= after.time_ms for before, after in pairwise(rows))
    minute = desk.candles("1m", limit=2)[0]
    inside = [row for row in rows if minute.open_ms <= row.time_ms < minute.open_ms + MINUTE_MS]
    assert sum(row.quantity for row in inside) == minute.volume
    assert sum(row.quantity for row in inside if not row.buyer_is_maker) == minute.bought
    assert desk.symbol.trades(5, from_id=rows[3].trade_id) == rows[3:8]


def test_a_rising_price_was_bought_and_a_falling_one_sold():
    desk = Desk()
    for price in ("96000", "96010", "95000"):
        desk.move(price)
    assert [row.buyer_is_maker for row in desk.symbol.trades(2)] == [False, True]


def test_the_day_is_what_its_minutes_say():
    desk = Desk()
    for step in range(100):
        desk.move(str(96_000 + step * 7), after_ms=45_000)
    day = desk.symbol.day(desk.now_ms)
    minutes = desk.candles("1m", limit=1440)
    assert (day.open, day.last) == (minutes[0].open, minutes[-1].close)
    assert (day.high, day.low) == (max(row.high for row in minutes), min(row.low for row in minutes))
    assert (day.volume, day.trades) == (sum(row.volume for row in minutes), sum(row.trades for row in minutes))
    assert day.last_id == desk.symbol.last_id


def test_the_public_sees_one_trade_when_two_clients_meet():
    bench = make_bench()
    maker = bench.venue.open_account("maker", Decimal(100_000))
    bench.limit("BUY", "0.010", "95999.9", account=maker)
    bench.market("SELL", "0.010")
    trades = bench.venue.take_changes().trades
    assert [trade.maker for trade in trades] == [True, False]
    assert public_trades(trades) == [trades[1]]


def test_the_public_sees_a_resting_order_that_the_market_reached():
    bench = make_bench()
    bench.limit("BUY", "0.010", "95000.0")
    bench.jump("94000")
    trades = bench.venue.take_changes().trades
    assert [trade.maker for trade in trades] == [True]
    assert public_trades(trades) == trades


@given(st.sampled_from(list(INTERVALS)), st.integers(0, 4_000_000_000_000), st.integers(0, 40))
def test_the_grid_of_an_interval_is_regular(interval, at_ms, count):
    start = opened(interval, at_ms)
    assert start <= at_ms < next_opened(interval, start)
    assert opened(interval, start) == start
    ahead = start
    for _ in range(count):
        ahead = next_opened(interval, ahead)
    assert earlier(interval, ahead, count) == start
