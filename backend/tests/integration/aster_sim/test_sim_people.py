"""The person at the exchange, through the control API: closes, flips, modes and funding rates."""

from __future__ import annotations

import aiohttp
import pytest

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


async def held(client, symbol="BTCUSDT"):
    rows = (await client.call("GET", "positionRisk", {"symbol": symbol})).body
    return {row["positionSide"]: row["positionAmt"] for row in rows if float(row["positionAmt"])}


async def refused(client, name, payload):
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{client._venue.control_url}/{name}", json=payload) as response,
    ):
        assert response.status == 400
        return await response.json()


async def test_a_person_closes_a_position_and_the_bot_hears_of_it(alice):
    await alice.order(**MARKET)
    stream = await alice.user_stream()
    closed = await alice.control("POST", "positions", {"account": "alice", "symbol": "BTCUSDT", "do": "close"})
    assert [(row["side"], row["reduceOnly"], row["status"]) for row in closed["orders"]] == [("SELL", True, "FILLED")]
    frames = await stream.take(3)
    assert [frame["e"] for frame in frames] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert await held(alice) == {}
    ledger = await alice.control("GET", "ledger")
    assert ledger["requests"][-1]["origin"] == "human"


async def test_a_person_flips_a_position(alice):
    await alice.order(**MARKET)
    await alice.control("POST", "positions", {"account": "alice", "symbol": "BTCUSDT", "do": "flip"})
    assert await held(alice) == {"BOTH": "-0.010"}


async def test_a_person_flips_one_side_in_hedge_mode(alice):
    await alice.control("POST", "modes", {"account": "alice", "hedge": True})
    await alice.order(**MARKET, positionSide="LONG")
    body = {"account": "alice", "symbol": "BTCUSDT", "positionSide": "LONG", "do": "flip"}
    await alice.control("POST", "positions", body)
    assert await held(alice) == {"SHORT": "-0.010"}


async def test_a_person_changes_modes(alice):
    fees_in = {"asset": "BNB", "balance": "1.5"}
    body = {"account": "alice", "fees_in": fees_in, "leverage": {"BTCUSDT": 7}, "margin_type": {"BTCUSDT": "ISOLATED"}}
    assert await alice.control("POST", "modes", body) == {
        "hedge": False,
        "multi_assets": False,
        "fees_in": fees_in,
        "leverage": {"BTCUSDT": 7},
        "isolated": ["BTCUSDT"],
        "auto_add_margin": [],
    }
    row = (await alice.call("GET", "positionRisk", {"symbol": "BTCUSDT"})).body[0]
    assert (row["leverage"], row["marginType"]) == ("7", "isolated")
    balances = {row["asset"]: row["balance"] for row in (await alice.call("GET", "balance")).body}
    assert balances["BNB"] == "1.50000000"


async def test_a_funding_rate_is_set_and_shown(alice):
    await alice.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0005", "interval_hours": 4})
    index = (await alice.public("premiumIndex", symbol="BTCUSDT")).body
    assert index["lastFundingRate"] == "0.00050000"
    info = (await alice.public("fundingInfo", symbol="BTCUSDT")).body[0]
    assert info["fundingIntervalHours"] == 4


@pytest.mark.parametrize(
    ("name", "payload", "told"),
    [
        ("positions", {"account": "alice", "symbol": "BTCUSDT"}, "has no position"),
        ("positions", {"account": "alice", "symbol": "BTCUSDT", "do": "dance"}, "close or flip"),
        ("positions", {"account": "nobody", "symbol": "BTCUSDT"}, "no account nobody"),
        ("positions", {"account": "alice", "symbol": "NOSUCH"}, "Invalid symbol"),
        ("modes", {"account": "alice", "hedge": "yes"}, "true or false"),
        ("modes", {"account": "alice", "colour": 1}, "unknown mode"),
        ("modes", {"account": "alice", "leverage": {"BTCUSDT": "7"}}, "whole number"),
        ("modes", {"account": "alice", "leverage": 7}, "by symbol"),
        ("modes", {"account": "alice", "hedge": False}, "No need"),
        ("funding", {"symbol": "BTCUSDT", "rate": "much"}, "must be a number"),
        ("funding", {"symbol": "BTCUSDT", "interval_hours": 99}, "intervalHours"),
    ],
)
async def test_what_a_person_cannot_do_is_told(alice, name, payload, told):
    assert told in (await refused(alice, name, payload))["error"]
