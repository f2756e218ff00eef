"""Stepping through candles: time stands still, and clients still see the price that they trade on."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp

from aster_sim.server import AccountSpec, LimitRules, VenueConfig, start_venue
from support.patience import PATIENCE_S
from support.sim_client import SimClient

CANDLES = "openTime,open,high,low,close,volume\n60000,95000,95100,90000,91000,1\n120000,91000,91500,90500,91200,1\n"


class _StandingClock:
    """No second ever passes: what comes every second never comes."""

    def now_us(self) -> int:
        return 1_795_000_000_000_000

    async def sleep(self, seconds: float) -> None:
        if seconds:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_each_step_publishes_the_mark_price_it_ends_with(tmp_path):
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(CANDLES)
    config = VenueConfig(prices=f"candles:{path}", accounts=[AccountSpec("default", Decimal(10000))])
    running = await start_venue(config, _StandingClock())
    url = f"{running.ws_url}/stream?streams=!markPrice@arr@1s"
    async with SimClient(running) as client, aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        for close in ("91000.00000000", "91200.00000000"):
            await client.control("POST", "prices/step", {"candles": 1})
            frame = await socket.receive_json(timeout=PATIENCE_S)
            assert [(row["s"], row["p"]) for row in frame["data"] if row["s"] == "BTCUSDT"] == [("BTCUSDT", close)]
    await running.stop()


async def test_limits_can_be_a_multiple_of_the_recorded_ones_and_exchange_info_says_so():
    running = await start_venue(VenueConfig(prices="manual", limits=LimitRules().times(100)))
    async with SimClient(running) as client:
        rows = (await client.public("exchangeInfo")).body["rateLimits"]
    assert [row["limit"] for row in rows] == [240_000, 120_000, 30_000]
    await running.stop()
