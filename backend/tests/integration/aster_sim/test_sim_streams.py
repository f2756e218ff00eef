"""User and market streams over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from aster_sim.server import VenueConfig, start_venue
from support.patience import PATIENCE_S
from support.sim_client import SimClient

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


def _story(frames):
    return [frame["e"] if frame["e"] != "ORDER_TRADE_UPDATE" else frame["o"]["x"] for frame in frames]


async def test_an_entry_and_its_stop_tell_their_whole_life(alice):
    stream = await alice.user_stream()
    await alice.order(**MARKET)
    assert _story(await stream.take(3)) == ["NEW", "ACCOUNT_UPDATE", "TRADE"]
    await alice.order(symbol="BTCUSDT", side="SELL", type="STOP_MARKET", stopPrice="94000", closePosition="true")
    assert _story(await stream.take(1)) == ["NEW"]
    await alice.set_prices(BTCUSDT="93000")
    burst = await stream.take(4)
    assert _story(burst) == ["EXPIRED", "NEW", "ACCOUNT_UPDATE", "TRADE"]
    assert burst[3]["o"]["rp"].startswith("-30.")
    assert {row["o"]["i"] for row in burst if "o" in row} == {burst[0]["o"]["i"]}


async def test_events_are_sent_before_or_with_the_answer_and_only_to_the_owner(alice, bob):
    mine, theirs = await alice.user_stream(), await bob.user_stream()
    await alice.order(**MARKET)
    await bob.order(**{**MARKET, "side": "SELL"})
    assert (await mine.take(3))[2]["o"]["S"] == "BUY"
    assert (await theirs.take(3))[2]["o"]["S"] == "SELL"


async def test_one_key_serves_several_sockets_and_is_shared(alice):
    first = await alice.user_stream()
    second = await alice.user_stream()
    await alice.order(**MARKET)
    assert _story(await first.take(3)) == _story(await second.take(3))


async def test_a_deleted_key_leaves_the_socket_open_and_silent(alice):
    stream = await alice.user_stream()
    assert (await alice.call("DELETE", "listenKey")).body == {}
    assert (await alice.call("PUT", "listenKey")).code == -1125
    await alice.order(**MARKET)
    await stream.send({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    assert (await stream.next())["id"] == 1


async def test_a_bogus_key_connects_and_stays_silent(alice):
    stream = await alice.stream("nosuchkey")
    await alice.order(**MARKET)
    await stream.socket.ping()
    with pytest.raises(asyncio.TimeoutError):
        await stream.next(timeout_s=0.05)


async def test_book_ticker_follows_the_price(alice):
    stream = await alice.stream("btcusdt@bookTicker")
    await alice.set_prices(BTCUSDT="95000")
    frame = await stream.next()
    assert (frame["e"], frame["s"]) == ("bookTicker", "BTCUSDT")
    assert float(frame["b"]) < 95000 < float(frame["a"])


async def test_mark_prices_come_every_second_alone_and_as_a_list(venue, alice):
    url = f"{venue.ws_url}/stream?streams=btcusdt@markPrice@1s/!markPrice@arr@1s"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        frames = [await socket.receive_json(timeout=PATIENCE_S) for _ in range(2)]
    by_stream = {frame["stream"]: frame["data"] for frame in frames}
    assert by_stream["btcusdt@markPrice@1s"]["p"] == "96000.00000000"
    assert len(by_stream["!markPrice@arr@1s"]) == 8


async def answer_of(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """The next answer to a command; frames in between are passed over."""
    while True:
        frame = await socket.receive_json(timeout=PATIENCE_S)
        if "stream" not in frame and "e" not in frame:
            return frame


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("{", {"code": 3}),
        ("[1]", {"code": 2}),
        ('{"method": "DANCE", "id": 1}', {"code": 2, "id": 1}),
        ('{"id": 1}', {"code": 2, "id": 1}),
        ('{"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 1}', {"code": 2, "id": 1}),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@kline_7m"], "id": 1}', {"code": 2, "id": 1}),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": -1}', {"code": 2}),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": "x"}', {"code": 2}),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"]}', {"result": None, "id": None}),
        ('{"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2}', {"result": None, "id": 2}),
        ('{"method": "GET_PROPERTY", "params": ["combined"], "id": 3}', {"result": False, "id": 3}),
        ('{"method": "SET_PROPERTY", "params": ["combined", true], "id": 4}', {"result": None, "id": 4}),
        ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 4}', {"code": 1, "id": 4}),
        ('{"method": "SET_PROPERTY", "params": ["colour", true], "id": 4}', {"code": 0, "id": 4}),
        ('{"method": "GET_PROPERTY", "params": [7], "id": 5}', {"code": 2, "id": 5}),
    ],
)
async def test_commands_are_answered_by_id_and_mistakes_by_code(alice, command, answer):
    stream = await alice.stream("ethusdt@trade")
    await stream.socket.send_str(command)
    body = await answer_of(stream.socket)
    assert {key: value for key, value in body.items() if key != "msg"} == answer


async def test_the_property_combined_wraps_frames(alice):
    stream = await alice.stream("btcusdt@aggTrade")
    await stream.send({"method": "SET_PROPERTY", "params": ["combined", True], "id": 1})
    await answer_of(stream.socket)
    await alice.set_prices(BTCUSDT="95000")
    assert (await stream.next())["stream"] == "btcusdt@aggTrade"


async def test_more_than_ten_messages_in_a_second_close_the_connection(alice):
    stream = await alice.stream("btcusdt@trade")
    for number in range(10):
        await stream.send({"method": "LIST_SUBSCRIPTIONS", "id": number})
        assert (await answer_of(stream.socket))["id"] == number
    for number in range(15):
        await stream.send({"method": "LIST_SUBSCRIPTIONS", "id": number})
    while (message := await stream.socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_an_address_that_is_too_long_is_answered_with_414(venue):
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{venue.ws_url}/stream?streams=" + "btcusdt@bookTicker/" * 500)
    assert refused.value.status == 414


async def test_streams_can_be_subscribed_later_and_a_listen_key_too(venue, alice):
    key = (await alice.call("POST", "listenKey")).body["listenKey"]
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{venue.ws_url}/stream") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker", key], "id": 7})
        assert await socket.receive_json(timeout=PATIENCE_S) == {"result": None, "id": 7}
        await alice.order(**MARKET)
        assert (await socket.receive_json(timeout=PATIENCE_S))["stream"] == key
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 8})
        assert await answer_of(socket) == {"result": sorted([key, "btcusdt@bookTicker"]), "id": 8}


async def test_the_201st_stream_closes_the_connection(venue):
    names = "/".join(f"s{number}@bookTicker" for number in range(201))
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{venue.ws_url}/stream?streams={names}") as socket:
        message = await socket.receive(timeout=PATIENCE_S)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 3003)


class _SteppedClock:
    """A clock that a test moves; whoever sleeps wakes when its time has come."""

    def __init__(self) -> None:
        self._now_us = 1_795_000_000_000_000
        self._moved = asyncio.Event()

    def now_us(self) -> int:
        return self._now_us

    async def sleep(self, seconds: float) -> None:
        until = self._now_us + int(seconds * 1_000_000)
        while self._now_us < until:
            await self._moved.wait()

    async def advance(self, seconds: float) -> None:
        self._now_us += int(seconds * 1_000_000)
        self._moved.set()
        self._moved = asyncio.Event()
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_listen_key_ends_after_an_hour_unless_renewed():
    clock = _SteppedClock()
    running = await start_venue(VenueConfig(prices="manual", seed=1), clock)
    async with SimClient(running) as client:
        key = (await client.call("POST", "listenKey")).body["listenKey"]
        await clock.advance(3_500)
        assert (await client.call("PUT", "listenKey")).body == {}
        await clock.advance(3_590)
        stream = await client.stream(key)
        await clock.advance(11)
        assert (await stream.next())["e"] == "listenKeyExpired"
        assert (await client.call("PUT", "listenKey")).code == -1125
        assert not stream.socket.closed
        await stream.close()
    await running.stop()


async def test_the_venue_pings_every_five_minutes_and_hangs_up_on_the_silent():
    clock = _SteppedClock()
    running = await start_venue(VenueConfig(prices="manual", seed=1), clock)
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"{running.ws_url}/ws/x", autoping=False)
        await clock.advance(301)
        assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.PING
        await clock.advance(901)
        kinds = [(await socket.receive(timeout=PATIENCE_S)).type for _ in range(2)]
        assert aiohttp.WSMsgType.CLOSE in kinds
        await socket.close()
    await running.stop()


async def test_a_connection_ends_after_24_hours_however_alive_it_is():
    clock = _SteppedClock()
    running = await start_venue(VenueConfig(prices="manual", seed=1), clock)
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"{running.ws_url}/ws/x")
        for number in range(146):
            await clock.advance(590)
            await socket.pong()
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            assert await answer_of(socket) == {"result": ["x"], "id": number}
        assert not socket.closed
        await clock.advance(261)  # no ping is due before the end
        assert (await socket.receive(timeout=PATIENCE_S)).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
        await socket.close()
    await running.stop()
