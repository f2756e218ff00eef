"""The live feed against a stand-in on loopback that speaks the frames recorded from AsterDEX."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aster_sim.clock import SystemClock
from aster_sim.feeds.live import LiveFeedError
from aster_sim.server import RunningVenue, VenueConfig, start_venue
from support.patience import PATIENCE_S
from support.samples import sample, samples
from support.sim_client import SimClient


def frames_of(path: Path) -> list[Any]:
    """A mark price and a trade, as AsterDEX sends them on combined streams."""
    frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
    return [frame for frame in frames if frame["stream"] in {"!markPrice@arr", "btcusdt@trade"}]


class HastyClock(SystemClock):
    """Real time, but nobody waits long for a new connection."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


class StandIn:
    """AsterDEX's public streams: each connection gets the frames, then what a test adds."""

    def __init__(self) -> None:
        self.frames: list[Any] = frames_of(sample("market_frames.json"))
        self.asked: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.asked.append(request.raw_path)
        self.sockets.append(socket)
        for frame in self.frames:
            await socket.send_json(frame)
        async for _ in socket:
            pass
        return socket

    async def say(self, text: str) -> None:
        await self.sockets[-1].send_str(text)


@pytest.fixture
async def standin() -> AsyncIterator[tuple[StandIn, str]]:
    stand = StandIn()
    runner = web.ServerRunner(web.Server(stand.serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield stand, f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def live_venue(url: str, prices: str = "live:BTCUSDT") -> RunningVenue:
    return await start_venue(VenueConfig(prices=prices, live_url=url, seed=1), HastyClock())


async def until_price(venue: RunningVenue, last: str, mark: str = "84150.5") -> None:
    prices = venue.venue.state.markets["BTCUSDT"].prices
    async with asyncio.timeout(PATIENCE_S):
        while (prices.last, prices.mark) != (Decimal(last), Decimal(mark)):
            await asyncio.sleep(0.005)


def mini_ticker(price: str) -> str:
    row = {"e": "24hrMiniTicker", "s": "BTCUSDT", "c": price}
    return json.dumps({"stream": "!miniTicker@arr", "data": [row]})


@pytest.mark.parametrize("path", samples("market_frames.json"))
async def test_recorded_frames_set_last_and_mark_price(standin, path):
    stand, url = standin
    stand.frames = frames_of(path)
    told = {frame["stream"]: frame["data"] for frame in stand.frames}
    venue = await live_venue(url)
    try:
        await until_price(venue, told["btcusdt@trade"]["p"], told["!markPrice@arr"][0]["p"])
    finally:
        await venue.stop()


async def test_prices_are_asterdexs_and_clients_trade_at_them(standin):
    stand, url = standin
    venue = await live_venue(url)
    try:
        assert stand.asked == ["/stream?streams=!markPrice@arr@1s/!miniTicker@arr/btcusdt@trade"]
        async with SimClient(venue) as client:
            index = (await client.public("premiumIndex", symbol="BTCUSDT")).body
            assert (index["markPrice"], index["lastFundingRate"]) == ("84150.50000000", "0.00008125")
            answer = await client.order(
                symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", newOrderRespType="RESULT"
            )
            assert 84_150 < float(answer.body["avgPrice"]) < 84_200
            await stand.say(mini_ticker("84300.0"))
            await until_price(venue, "84300.0")
            state = await client.control("GET", "state")
            assert state["feed"] == "live"
            assert set(state["prices"]) == {"BTCUSDT"}, "what AsterDEX has no price for has none here"
    finally:
        await venue.stop()


async def test_no_past_is_invented_for_real_prices(standin):
    _, url = standin
    venue = await live_venue(url)
    try:
        async with SimClient(venue) as client:
            rows = (await client.public("klines", symbol="BTCUSDT", interval="1m")).body
            assert len(rows) <= 2
    finally:
        await venue.stop()


async def test_a_lost_connection_is_made_again_and_prices_stand_meanwhile(standin):
    stand, url = standin
    venue = await live_venue(url)
    try:
        await stand.say(mini_ticker("84300.0"))
        await until_price(venue, "84300.0")
        stand.frames = [json.loads(mini_ticker("84400.0"))]
        await stand.sockets[-1].close()
        await until_price(venue, "84400.0")
        assert len(stand.asked) == 2
    finally:
        await venue.stop()


@pytest.mark.parametrize(
    "odd",
    [
        "{",
        "[]",
        '{"data": 7}',
        '{"data": [{"e": "markPriceUpdate", "s": "NOSUCH", "p": "1"}]}',
        '{"data": [{"e": "markPriceUpdate", "s": "BTCUSDT", "p": "-5", "r": "7"}]}',
        '{"data": {"e": "trade", "s": "BTCUSDT", "p": "NaN"}}',
    ],
)
async def test_odd_frames_move_nothing_and_end_nothing(standin, odd):
    stand, url = standin
    venue = await live_venue(url)
    try:
        await until_price(venue, "84150.5")
        await stand.say(odd)
        await stand.say(mini_ticker("84300.0"))
        await until_price(venue, "84300.0")
    finally:
        await venue.stop()


async def test_without_internet_the_start_says_what_to_use_instead():
    with pytest.raises(LiveFeedError, match=r"cannot be reached .* use --prices synthetic or candles:FILE"):
        await live_venue("ws://127.0.0.1:9", "live")


async def test_a_symbol_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match="no symbol NOSUCH"):
        await live_venue("ws://127.0.0.1:9", "live:NOSUCH")
