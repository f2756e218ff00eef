"""Faults as a client meets them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from support.patience import PATIENCE_S

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


async def _fault(client, action, **rest):
    await client.control("POST", "faults", {"match": {"method": "POST", "path": "/order"}, "action": action, **rest})


async def _amount(client):
    rows = (await client.call("GET", "positionRisk", {"symbol": "BTCUSDT"})).body
    return rows[0]["positionAmt"]


async def test_a_dropped_answer_hides_an_order_that_was_executed(alice):
    await _fault(alice, {"type": "drop_after"})
    with pytest.raises(aiohttp.ClientError):
        await alice.order(**MARKET, newClientOrderId="lost")
    found = await alice.call("GET", "order", {"symbol": "BTCUSDT", "origClientOrderId": "lost"})
    assert found.body["status"] == "FILLED"
    requests = (await alice.control("GET", "ledger"))["requests"]
    lost = next(row for row in requests if row["client_order_id"] == "lost" and row["method"] == "POST")
    assert (lost["outcome"], lost["delivered"], lost["fault"]) == ("executed", False, "1:drop_after")


async def test_a_dropped_request_was_never_executed(alice):
    await _fault(alice, {"type": "drop_before"})
    with pytest.raises(aiohttp.ClientError):
        await alice.order(**MARKET)
    assert await _amount(alice) == "0.000"
    assert (await alice.order(**MARKET)).status == 200


async def test_503_after_acceptance_lies_about_an_executed_order(alice):
    await _fault(alice, {"type": "error", "status": 503, "code": -1007, "msg": "Timeout", "executed": True})
    answer = await alice.order(**MARKET)
    assert (answer.status, answer.code) == (503, -1007)
    assert await _amount(alice) == "0.010"


async def test_429_with_retry_after_and_an_html_body(alice):
    headers = {"Retry-After": "7"}
    await _fault(alice, {"type": "error", "status": 429, "code": -1003, "msg": "slow down", "headers": headers})
    await _fault(alice, {"type": "error", "status": 502, "body": "<html>Bad Gateway</html>"})
    first, second = await alice.order(**MARKET), await alice.order(**MARKET)
    assert (first.status, first.headers["Retry-After"], first.code) == (429, "7", -1003)
    assert (second.status, second.body) == (502, "<html>Bad Gateway</html>")
    assert await _amount(alice) == "0.000"


async def test_a_noop_overtakes_a_delayed_request(alice):
    await _fault(alice, {"type": "delay_before", "seconds": 0.2})
    nonce = alice.nonce()
    async with asyncio.TaskGroup() as tasks:
        delayed = tasks.create_task(alice.call("POST", "order", MARKET, nonce=nonce))
        while not (await alice.control("GET", "faults"))[0]["spent"]:
            pass
        assert (await alice.call("POST", "noop", nonce=nonce)).status == 200
    assert delayed.result().code == -4225
    assert await _amount(alice) == "0.000"


async def test_frames_are_lost_duplicated_and_cut_off(alice):
    stream = await alice.user_stream()
    await alice.control(
        "POST",
        "faults",
        [
            {"match": {"event": "ACCOUNT_UPDATE"}, "action": {"type": "drop_events"}},
            {"match": {"event": "ORDER_TRADE_UPDATE"}, "skip": 1, "action": {"type": "duplicate_events"}},
        ],
    )
    await alice.order(**MARKET)
    frames = await stream.take(3)
    assert [frame["o"]["x"] for frame in frames] == ["NEW", "TRADE", "TRADE"]
    await alice.control("POST", "faults", {"action": {"type": "disconnect"}})
    await alice.order(**MARKET)
    assert (await stream.socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE


async def test_faults_are_listed_and_cleared(alice):
    await _fault(alice, {"type": "drop_after"}, count=0)
    assert [row["action"]["type"] for row in await alice.control("GET", "faults")] == ["drop_after"]
    assert await alice.control("DELETE", "faults") == []
    assert (await alice.order(**MARKET)).status == 200
