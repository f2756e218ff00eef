"""Price sources."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from aster_sim.feeds.candles import CandleFeed, CandleFileError, read_candles, symbol_of
from aster_sim.feeds.synthetic import CALM, SyntheticFeed, weather_of
from support.sim_bench import Bench, make_bench

HEADER = "openTime,open,high,low,close,volume\n"


class _Clock:
    """Time that passes when somebody waits for it."""

    def __init__(self) -> None:
        self.waited = 0.0

    def now_us(self) -> int:
        return int(self.waited * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        self.waited += seconds


def _file(tmp_path: Path, name: str, *rows: str) -> Path:
    path = tmp_path / name
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def _feed(bench: Bench, files: dict[str, Path], speed: float = 0.0) -> tuple[CandleFeed, list[tuple[str, Decimal]]]:
    path: list[tuple[str, Decimal]] = []
    feed = CandleFeed(
        bench.venue, _Clock(), {symbol: read_candles(file) for symbol, file in files.items()}, speed, lambda: None
    )
    bench.venue.price_listener = lambda symbol: path.append((symbol, bench.venue.market(symbol).prices.mark))
    return feed, path


async def test_a_rising_candle_visits_its_low_first_a_falling_one_its_high(bench, tmp_path):
    file = _file(tmp_path, "BTCUSDT.csv", "1,95000,95200,94900,95100,1", "2,95100,95300,94800,94900,1")
    feed, path = _feed(bench, {"BTCUSDT": file})
    await feed.step(2)
    assert [price for _, price in path] == [
        Decimal(text) for text in ("95000", "94900", "95200", "95100", "95100", "95300", "94800", "94900")
    ]


async def test_files_play_in_lock_step_by_open_time(bench, tmp_path):
    btc = _file(tmp_path, "BTCUSDT.csv", "1,95000,95000,95000,95000,1", "3,95100,95100,95100,95100,1")
    eth = _file(tmp_path, "ETHUSDT.csv", "1,3300,3300,3300,3300,1", "2,3310,3310,3310,3310,1")
    feed, path = _feed(bench, {"BTCUSDT": btc, "ETHUSDT": eth})
    first = await feed.step(1)
    assert {symbol for symbol, _ in path} == {"BTCUSDT", "ETHUSDT"}
    assert first["candles"]["ETHUSDT"]["openTime"] == 1
    path.clear()
    second = await feed.step(1)
    assert {symbol for symbol, _ in path} == {"ETHUSDT"}
    assert second["done"] is False
    last = await feed.step(5)
    assert last["done"] is True
    assert last["candles"]["BTCUSDT"]["close"] == "95100"


async def test_a_candle_through_a_stop_fills_it_near_its_price_and_counts_the_fill(bench, tmp_path):
    file = _file(tmp_path, "BTCUSDT.csv", "1,96000,96100,90000,91000,1")
    feed, _ = _feed(bench, {"BTCUSDT": file})
    bench.market("BUY", "0.010")
    bench.stop("SELL", "95000", closePosition="true")
    answer = await feed.step(1)
    assert answer["fills"] == 1
    assert Decimal(94900) < bench.account.trades["BTCUSDT"][-1].price < Decimal(95000)


async def test_speed_is_candles_per_second_of_the_venues_clock(bench, tmp_path):
    file = _file(tmp_path, "BTCUSDT.csv", *(f"{minute},95000,95000,95000,95000,1" for minute in range(10)))
    clock = _Clock()
    feed = CandleFeed(bench.venue, clock, {"BTCUSDT": read_candles(file)}, 5.0, lambda: None)
    await feed.run()
    assert feed.done
    assert clock.waited == pytest.approx(2.0)


async def test_stepping_to_the_end_of_a_feed_that_plays_ends_it_quietly(bench, tmp_path):
    class Yielding(_Clock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            await asyncio.sleep(0)

    file = _file(tmp_path, "BTCUSDT.csv", *(f"{minute},95000,95000,95000,95000,1" for minute in range(5)))
    feed = CandleFeed(bench.venue, Yielding(), {"BTCUSDT": read_candles(file)}, 5.0, lambda: None)
    _, stepped = await asyncio.gather(feed.run(), feed.step(9))
    assert stepped["done"]


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("data/binance_um_BTCUSDT_1m_20250507.csv", "BTCUSDT"),
        ("1000PEPEUSDT-5m.csv", "1000PEPEUSDT"),
        ("ETHUSDT=some/file.csv", "ETHUSDT"),
    ],
)
def test_the_symbol_comes_from_the_name_or_is_given(text, symbol):
    assert symbol_of(text)[0] == symbol


def test_candle_files_that_cannot_be_used_say_why(tmp_path):
    with pytest.raises(CandleFileError, match="write SYMBOL="):
        symbol_of("prices.csv")
    with pytest.raises(CandleFileError, match="cannot be read"):
        read_candles(tmp_path / "absent.csv")
    bad = {
        "is not a candle": "1,95000,nan,94000,95000,1",
        "outside low and high": "1,95000,95100,94000,96000,1",
        "not after": "1,5,5,5,5,1\n1,5,5,5,5,1",
    }
    for words, rows in bad.items():
        with pytest.raises(CandleFileError, match=words):
            read_candles(_file(tmp_path, "BTCUSDT.csv", rows))
    empty = tmp_path / "BTCUSDT.csv"
    empty.write_text("time,price\n1,2\n")
    with pytest.raises(CandleFileError, match="no column openTime"):
        read_candles(empty)


async def test_candles_of_an_unknown_symbol_are_refused(bench, tmp_path):
    file = _file(tmp_path, "NOPEUSDT.csv", "1,5,5,5,5,1")
    with pytest.raises(CandleFileError, match="NOPEUSDT: the exchange info has no such symbol"):
        _feed(bench, {"NOPEUSDT": file})


def _walk(seed: int, ticks: int) -> list[Decimal]:
    bench = make_bench()
    feed = SyntheticFeed(bench.venue, _Clock(), Random(seed), lambda: None)
    prices = []
    for _ in range(ticks):
        feed.tick()
        prices.append(bench.venue.market("BTCUSDT").prices.mark)
    return prices


def test_synthetic_prices_replay_from_their_seed():
    assert _walk(3, 50) == _walk(3, 50)
    assert _walk(3, 50) != _walk(4, 50)


def test_synthetic_prices_are_calm_enough_for_a_stop_two_percent_away():
    for seed in range(5):
        prices = _walk(seed, 1_200)
        assert max(abs(price / 96000 - 1) for price in prices) < Decimal("0.02")
        assert len(set(prices)) > 500


def test_a_price_set_by_hand_is_where_the_walk_goes_on(bench):
    feed = SyntheticFeed(bench.venue, _Clock(), Random(1), lambda: None)
    feed.tick()
    bench.jump("90000")
    feed.tick()
    assert abs(bench.venue.market("BTCUSDT").prices.mark / 90000 - 1) < Decimal("0.001")


def _wander(seed: int, text: str = "", steps: int = 600) -> list[Decimal]:
    bench = make_bench()
    weather = weather_of(text) if text else CALM
    feed = SyntheticFeed(bench.venue, _Clock(), Random(seed), lambda: None, weather)
    prices = []
    for _ in range(steps):
        feed.tick()
        prices.append(bench.venue.market("BTCUSDT").prices.mark)
    return prices


def _widest(prices: list[Decimal]) -> Decimal:
    return max(abs(after / before - 1) for before, after in itertools.pairwise(prices))


def test_volatility_widens_each_step_and_the_seed_repeats_it():
    assert _wander(3, "volatility=1") == _wander(3)
    assert _widest(_wander(3, "volatility=10")) > 5 * _widest(_wander(3))
    assert _wander(3, "volatility=10") != _wander(4, "volatility=10")


def test_jumps_are_rare_and_large():
    wild = _wander(3, "jumps=0.02")
    large = [pair for pair in itertools.pairwise(wild) if abs(pair[1] / pair[0] - 1) > Decimal("0.001")]
    assert 1 <= len(large) <= 40
    assert _widest(_wander(3)) < Decimal("0.001")


@pytest.mark.parametrize("text", ["volatility", "volatility=-1", "jumps=2", "storm=1", "volatility=1,jumps=x"])
def test_weather_that_cannot_be_is_refused(text):
    with pytest.raises(ValueError, match="neither volatility=NUMBER nor jumps"):
        weather_of(text)
