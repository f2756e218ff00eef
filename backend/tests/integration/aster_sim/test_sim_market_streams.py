"""Market streams: their frames against the recorded ones, and the books that followers keep from them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from aster_sim.server import RunningVenue
from support.patience import PATIENCE_S
from support.samples import samples

_MOMENTS = 40
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


@asynccontextmanager
async def following(venue: RunningVenue, *names: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A combined socket on some streams."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{venue.ws_url}/stream?streams={'/'.join(names)}") as socket,
    ):
        yield socket


async def frame_of(socket: aiohttp.ClientWebSocketResponse, wanted: Callable[[Any], bool]) -> Any:
    """The data of the first frame that is wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            data = (await socket.receive_json())["data"]
            if wanted(data):
                return data


def shape(value: Any) -> Any:
    """Keys and types of a body, lists by their first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize("path", samples("market_frames.json"))
async def test_frames_have_the_recorded_fields_in_the_recorded_order(venue, alice, path):
    rows = json.loads(path.read_text(encoding="utf-8"))["frames"]
    recorded = {row["stream"].replace("@arr", "@arr@1s"): row["data"] for row in rows}
    assert len(recorded) == 4
    ours: dict[str, Any] = {}
    async with following(venue, *recorded) as socket, asyncio.timeout(PATIENCE_S):
        await alice.set_prices(BTCUSDT="96100")
        while ours.keys() != recorded.keys():
            frame = await socket.receive_json()
            ours.setdefault(frame["stream"], frame["data"])
    for stream, frame in recorded.items():
        assert json.dumps(shape(ours[stream])) == json.dumps(shape(frame)), stream


async def test_a_client_trade_is_printed_for_all(venue, alice):
    async with following(venue, "btcusdt@aggTrade", "btcusdt@trade") as socket:
        answer = await alice.order(**BUY, newOrderRespType="RESULT")
        agg = await frame_of(socket, lambda data: data["e"] == "aggTrade")
        plain = await frame_of(socket, lambda data: data["e"] == "trade")
    assert (agg["q"], agg["m"], agg["s"]) == ("0.010", False, "BTCUSDT")
    assert Decimal(agg["p"]) == Decimal(answer.body["avgPrice"])
    assert (plain["p"], plain["q"], plain["t"]) == (agg["p"], agg["q"], agg["l"])
    latest = (await alice.public("trades", symbol="BTCUSDT", limit=1)).body[0]
    assert (latest["id"], latest["price"], latest["qty"], latest["isBuyerMaker"]) == (
        agg["a"],
        agg["p"],
        "0.010",
        False,
    )


async def test_a_book_kept_from_snapshot_and_changes_equals_the_venues(venue, alice):
    """The procedure of the exchange's documentation, for a book that moves and in which a client rests orders."""
    async with following(venue, "btcusdt@depth@100ms") as socket:
        await frame_of(socket, lambda data: True)
        await alice.set_prices(BTCUSDT="96100")
        snapshot = (await alice.public("depth", symbol="BTCUSDT", limit=1000)).body
        book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
        await alice.order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.500", price="96050.0"
        )
        await alice.set_prices(BTCUSDT="96070")
        previous = None
        for _ in range(3):
            frame = await frame_of(socket, lambda data: data["u"] >= snapshot["lastUpdateId"])
            if previous is None:
                assert frame["U"] <= snapshot["lastUpdateId"] <= frame["u"]
            else:
                assert frame["pu"] == previous
            previous = frame["u"]
            for side, key in (("bids", "b"), ("asks", "a")):
                for price, quantity in frame[key]:
                    book[side][price] = quantity
                    if not Decimal(quantity):
                        del book[side][price]
    now = (await alice.public("depth", symbol="BTCUSDT", limit=1000)).body
    assert book == {side: dict(now[side]) for side in ("bids", "asks")}
    assert "96050.0" in book["bids"]


@pytest.mark.parametrize(("levels", "speed"), [(5, "@100ms"), (10, ""), (20, "@500ms")])
async def test_a_partial_book_has_its_levels_best_first(venue, alice, levels, speed):
    async with following(venue, f"btcusdt@depth{levels}{speed}") as socket:
        frame = await frame_of(socket, lambda data: True)
    assert (len(frame["b"]), len(frame["a"])) == (levels, levels)
    assert frame["b"] == sorted(frame["b"], key=lambda row: -Decimal(row[0]))
    assert frame["a"] == sorted(frame["a"], key=lambda row: Decimal(row[0]))


async def test_candle_frames_agree_with_the_candles_of_rest(venue, alice):
    async with following(venue, "btcusdt@kline_1m", "btcusdt@kline_1h") as socket:
        await alice.set_prices(BTCUSDT="97000")
        frame = await frame_of(socket, lambda data: data["k"]["i"] == "1h" and data["k"]["c"] == "97000.0")
    row = (await alice.public("klines", symbol="BTCUSDT", interval="1h", limit=1)).body[0]
    candle = frame["k"]
    assert [candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")] == row
    assert candle["x"] is False


async def _ticker_of(socket, symbol: str, close: str) -> dict[str, Any]:
    """The next ticker of ``symbol`` with that last price, by its stream."""
    while True:
        frame = await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
        rows = frame["data"] if isinstance(frame["data"], list) else [frame["data"]]
        for row in rows:
            if row["s"] == symbol and row["c"] == close:
                return {frame["stream"]: row}


async def test_ticker_frames_agree_with_the_day_figures_of_rest(venue, alice):
    names = ("btcusdt@ticker", "btcusdt@miniTicker", "!ticker@arr", "!miniTicker@arr")
    async with following(venue, *names) as socket:
        await alice.set_prices(BTCUSDT="97000")
        found: dict[str, Any] = {}
        while len(found) < len(names):
            found |= await _ticker_of(socket, "BTCUSDT", "97000.0")
        for _ in range(_MOMENTS):
            ticker = found["btcusdt@ticker"]
            day = (await alice.public("ticker/24hr", symbol="BTCUSDT")).body
            if ticker["L"] == day["lastId"] and ticker["F"] == day["firstId"]:
                break  # both speak of the same moment: no trade, and no minute's end, came between them
            found |= await _ticker_of(socket, "BTCUSDT", "97000.0")
    assert [ticker[key] for key in "pPwcohlv"] == [
        day[key]
        for key in (
            "priceChange",
            "priceChangePercent",
            "weightedAvgPrice",
            "lastPrice",
            "openPrice",
            "highPrice",
            "lowPrice",
            "volume",
        )
    ]
    assert [ticker[key] for key in "FLn"] == [day["firstId"], day["lastId"], day["count"]]
    assert found["!ticker@arr"].keys() == ticker.keys()
    assert found["btcusdt@miniTicker"].keys() == found["!miniTicker@arr"].keys() == set("eEscohlvq")


async def test_the_best_prices_show_a_clients_order(venue, alice):
    async with following(venue, "btcusdt@bookTicker") as socket:
        best = (await alice.public("ticker/bookTicker", symbol="BTCUSDT")).body
        price = str(Decimal(best["bidPrice"]) + Decimal("0.1"))
        await alice.order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTX", quantity="0.123", price=price)
        frame = await frame_of(socket, lambda data: True)
    assert (frame["b"], frame["B"]) == (price, "0.123")


async def test_streams_are_also_under_fstream_for_clients_that_look_for_it(venue, alice):
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{venue.ws_url}/fstream/ws/btcusdt@trade") as socket:
        await alice.set_prices(BTCUSDT="96100")
        assert (await socket.receive_json(timeout=PATIENCE_S))["p"] == "96100.0"
