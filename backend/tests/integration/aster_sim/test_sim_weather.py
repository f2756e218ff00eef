"""Faults of the venue as a whole, and of streams over time, over real connections."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp
import pytest

from support.patience import PATIENCE_S

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


async def _silent(stream, seconds: float = 0.15) -> bool:
    try:
        await stream.next(seconds)
    except TimeoutError:
        return True
    return False


async def test_a_skewed_clock_shows_in_the_server_time_and_expires_honest_nonces(venue, alice):
    honest = alice.nonce()
    await alice.control("POST", "faults", {"action": {"type": "clock_skew", "seconds": 120}})
    shown = (await alice.public("time")).body["serverTime"]
    assert shown * 1000 - honest > 119_000_000
    assert (await alice.call("POST", "order", MARKET, nonce=honest)).code == -4225
    await alice.control("DELETE", "faults")
    assert (await alice.call("POST", "order", MARKET, nonce=honest)).status == 200


async def test_maintenance_closes_sockets_and_answers_as_it_is_told(venue, alice):
    stream = await alice.user_stream()
    await alice.control(
        "POST", "faults", {"action": {"type": "maintenance", "seconds": 60, "body": "<html>back soon</html>"}}
    )
    answer = await alice.order(**MARKET)
    assert (answer.status, answer.body) == (503, "<html>back soon</html>")
    message = await stream.socket.receive(timeout=PATIENCE_S)
    assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await alice.stream("btcusdt@bookTicker")
    await alice.control("DELETE", "faults")
    assert (await alice.order(**MARKET)).status == 200


async def test_a_restart_drops_connections_and_forgets_listen_keys(venue, alice):
    key = (await alice.call("POST", "listenKey")).body["listenKey"]
    await alice.control("POST", "faults", {"action": {"type": "restart", "seconds": 60}})
    with pytest.raises(aiohttp.ClientError):
        await alice.order(**MARKET)
    await alice.control("DELETE", "faults")
    assert (await alice.call("PUT", "listenKey")).code == -1125
    assert (await alice.call("POST", "listenKey")).body["listenKey"] != key


async def test_a_late_frame_comes_after_its_time(venue, alice):
    stream = await alice.user_stream()
    fault = {"match": {"event": "ACCOUNT_UPDATE"}, "action": {"type": "delay_events", "seconds": 0.05}}
    await alice.control("POST", "faults", fault)
    await alice.order(**MARKET)
    kinds = [frame["e"] for frame in await stream.take(3)]
    assert kinds == ["ORDER_TRADE_UPDATE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"]


async def test_a_reordered_frame_comes_after_the_next_one_or_at_least_a_second_late(venue, alice):
    stream = await alice.user_stream()
    fault = {"match": {"event": "ACCOUNT_UPDATE"}, "action": {"type": "reorder_events"}}
    await alice.control("POST", "faults", fault)
    await alice.order(**MARKET)
    frames = await stream.take(3)
    assert [frame["e"] for frame in frames] == ["ORDER_TRADE_UPDATE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"]
    await alice.control("POST", "faults", {"action": {"type": "reorder_events"}})
    await alice.order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="95000")
    assert (await stream.next())["o"]["x"] == "NEW"


async def test_silence_and_a_dead_key_leave_the_socket_open(venue, alice):
    stream = await alice.user_stream()
    await alice.control("POST", "faults", {"action": {"type": "silence", "seconds": 60}})
    await alice.order(**MARKET)
    assert await _silent(stream)
    await alice.control("DELETE", "faults")
    await alice.order(**MARKET)
    assert len(await stream.take(3)) == 3
    await alice.control("POST", "faults", {"action": {"type": "kill_key"}})
    await alice.order(**MARKET)
    assert await _silent(stream)
    assert not stream.socket.closed
    assert (await alice.call("PUT", "listenKey")).code == -1125


async def test_market_streams_fall_silent_alone(venue, alice):
    market, user = await alice.stream("btcusdt@bookTicker"), await alice.user_stream()
    await alice.control("POST", "faults", {"action": {"type": "silence_market", "seconds": 60}})
    await alice.set_prices(BTCUSDT="96100")
    await alice.order(**MARKET)
    assert await _silent(market)
    assert len(await user.take(3)) == 3


async def test_lists_lag_while_positions_and_frames_show_the_order(venue, alice):
    stream = await alice.user_stream()
    await alice.control("POST", "faults", {"action": {"type": "lag_lists", "seconds": 60}})
    order = (await alice.order(**MARKET)).body
    selector = {"symbol": "BTCUSDT", "orderId": str(order["orderId"])}
    assert (await alice.call("GET", "order", selector)).code == -2013
    for path in ("allOrders", "openOrders", "userTrades"):
        assert (await alice.call("GET", path, {"symbol": "BTCUSDT"})).body == []
    rows = (await alice.call("GET", "positionRisk", {"symbol": "BTCUSDT"})).body
    assert Decimal(rows[0]["positionAmt"]) > 0
    assert len(await stream.take(3)) == 3
    await alice.control("DELETE", "faults")
    assert (await alice.call("GET", "order", selector)).body["status"] == "FILLED"
    assert len((await alice.call("GET", "userTrades", {"symbol": "BTCUSDT"})).body) == 1


async def test_a_ban_lasts_and_hits_every_endpoint(venue, alice):
    fault = {"match": {"path": "/order"}, "action": {"type": "ban", "seconds": 3}}
    await alice.control("POST", "faults", fault)
    answers = [await alice.order(**MARKET), await alice.public("ping")]
    assert [(answer.status, answer.code) for answer in answers] == [(418, -1003)] * 2
    assert 1 <= int(answers[0].headers["Retry-After"]) <= 3


async def test_frames_of_a_busy_account_are_never_lost_by_reordering(venue, alice):
    stream = await alice.user_stream()
    await alice.control("POST", "faults", {"count": 0, "action": {"type": "reorder_events"}})
    await asyncio.gather(*(alice.order(**MARKET) for _ in range(5)))
    frames = await stream.take(15)
    assert sum(frame["e"] == "ACCOUNT_UPDATE" for frame in frames) == 5
