"""The venue's bodies have the keys and types of recorded ones, and of our own that were written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aster_sim.server import VenueConfig, start_venue
from support.samples import answers, samples
from support.sim_client import SimClient

BTC = {"symbol": "BTCUSDT"}
MARKET = {**BTC, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
LIMIT = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": "95000.0"}

EXPLAINED = {
    "GET /fapi/v3/fundingInfo": {
        "[].fundingFeeCap": "the venue's rates have no cap",
        "[].fundingFeeFloor": "the venue's rates have no floor",
    },
}
"""Where we differ, field by field, and why."""


def body_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def shapes(value: Any, at: str = "") -> dict[str, set[str]]:
    """Each key's path with the types that its values have: rows of a list together, figures of a row by position."""
    found: dict[str, set[str]] = {at: {type(value).__name__}} if at else {}
    if isinstance(value, dict):
        for key, item in value.items():
            merge(found, shapes(item, f"{at}.{key}" if at else key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            merge(found, shapes(item, f"{at}[]" if isinstance(item, dict | list) else f"{at}[{number}]"))
    return found


def merge(found: dict[str, set[str]], more: dict[str, set[str]]) -> None:
    for path, kinds in more.items():
        found.setdefault(path, set()).update(kinds)


@pytest.mark.parametrize("path", samples("exchange_info.json"))
async def test_the_recorded_exchange_info_is_served_as_it_was_recorded(path):
    """Same symbols, same fields, same types, same text; only the server's time is ours."""
    recorded = body_of(path)
    config = VenueConfig(prices="manual", seed=1, exchange_info=path)
    running = await start_venue(config)
    try:
        async with SimClient(running) as client:
            ours = (await client.public("exchangeInfo")).body
    finally:
        await running.stop()
    assert list(ours) == list(recorded)
    assert {**ours, "serverTime": 0} == {**recorded, "serverTime": 0}


@pytest.mark.parametrize("path", samples("exchange_info.json"))
async def test_the_built_in_exchange_info_has_the_recorded_keys_and_types(alice, path):
    recorded = body_of(path)
    ours = (await alice.public("exchangeInfo")).body
    filters = {row["filterType"]: row for row in recorded["symbols"][0]["filters"]}
    for symbol in ours["symbols"]:
        twin = next(row for row in recorded["symbols"] if row["symbol"] == symbol["symbol"])
        assert list(symbol) == list(twin), symbol["symbol"]
        plain = {key: type(value) for key, value in symbol.items()}
        assert plain == {key: type(value) for key, value in twin.items()}
        assert {row["filterType"]: set(row) for row in symbol["filters"]} == {
            name: set(row) for name, row in filters.items()
        }
    assert ours["rateLimits"] == recorded["rateLimits"]
    assert shapes(ours["assets"]) == shapes(recorded["assets"])


@pytest.mark.parametrize(
    "paths",
    [*samples("account_one_way.json", "exchange_info.json"), *samples("account_hedge.json", "exchange_info.json")],
)
async def test_an_account_has_the_recorded_keys_and_types(paths):
    account, info = paths
    recorded = body_of(account)
    sides = {row["positionSide"] for row in recorded["positions"]}
    running = await start_venue(VenueConfig(prices="manual", seed=1, exchange_info=info))
    try:
        async with SimClient(running) as client:
            if sides == {"LONG", "SHORT"}:
                await client.call("POST", "positionSide/dual", {"dualSidePosition": "true"})
            ours = (await client.call_v1("GET", "/fapi/v4/account")).body
            same = (await client.call("GET", "accountWithJoinMargin")).body
    finally:
        await running.stop()
    assert shapes(ours) == shapes(recorded) == shapes(same)
    assert list(ours) == list(recorded)
    assert list(ours["positions"][0]) == list(recorded["positions"][0])
    assert len(ours["assets"]) == len(recorded["assets"])
    assert {row["positionSide"] for row in ours["positions"]} == sides
    flat = next(row for row in recorded["positions"] if row["symbol"] == "BTCUSDT")
    mine = next(row for row in ours["positions"] if row["symbol"] == "BTCUSDT")
    own = {"leverage", "maxNotional", "updateTime"}
    assert {key: value for key, value in mine.items() if key not in own} == {
        key: value for key, value in flat.items() if key not in own
    }


async def bodies(client: SimClient) -> dict[str, Any]:
    """What the venue answers to each recorded operation."""
    await client.call("POST", "leverage", {**BTC, "leverage": "21"})
    market = await client.order(**MARKET)
    filled = await client.call("GET", "order", {**BTC, "orderId": market.body["orderId"]})
    await client.order(**LIMIT)
    resting = await client.call("GET", "openOrders", BTC)
    batch = await client.call("POST", "batchOrders", {"batchOrders": json.dumps([MARKET])})
    trades = await client.call("GET", "userTrades", BTC)
    income = await client.call("GET", "income")
    unknown = await client.call("DELETE", "batchOrders", {**BTC, "orderIdList": "[77]"})
    cancel_all = await client.call("DELETE", "allOpenOrders", BTC)
    await client.call("POST", "marginType", {"symbol": "ETHUSDT", "marginType": "ISOLATED"})
    await client.order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.100")
    margin = await client.call("POST", "positionMargin", {"symbol": "ETHUSDT", "amount": "1", "type": "1"})
    flat = await client.call("GET", "positionRisk", {"symbol": "SOLUSDT"})
    balance = await client.call("GET", "balance")
    return {
        "GET /fapi/v1|v3/time": (await client.public("time")).body,
        "GET /fapi/v3/klines?symbol=BTCUSDT&interval=5m&limit=1": (
            await client.public("klines", **BTC, interval="5m", limit=1)
        ).body,
        "GET /fapi/v3/trades": (await client.public("trades", **BTC, limit=1)).body,
        "GET /fapi/v3/depth?limit=5": (await client.public("depth", **BTC, limit=5)).body,
        "GET /fapi/v3/fundingRate": (await client.public("fundingRate", **BTC, limit=1)).body,
        "GET /fapi/v3/ticker/24hr?symbol=BTCUSDT": (await client.public("ticker/24hr", **BTC)).body,
        "GET /fapi/v3/premiumIndex?symbol=BTCUSDT": (await client.public("premiumIndex", **BTC)).body,
        "GET /fapi/v3/fundingInfo?symbol=BTCUSDT": (await client.public("fundingInfo", **BTC)).body,
        "GET /fapi/v3/fundingInfo": (await client.public("fundingInfo", **BTC)).body,
        "GET /fapi/v3/balance": balance.body,
        "GET /fapi/v3/positionSide/dual": (await client.call("GET", "positionSide/dual")).body,
        "GET /fapi/v3/commissionRate?symbol=BTCUSDT": (await client.call("GET", "commissionRate", BTC)).body,
        "GET /fapi/v3/positionRisk": flat.body,
        "POST /fapi/v3/leverage": (await client.call("POST", "leverage", {**BTC, "leverage": "21"})).body,
        "POST /fapi/v3/positionMargin": margin.body,
        "DELETE /fapi/v3/batchOrders": unknown.body,
        "GET /fapi/v3/income": income.body,
        "DELETE /fapi/v3/allOpenOrders": cancel_all.body,
        "POST /fapi/v3/batchOrders": batch.body,
        "POST /fapi/v3/order": market.body,
        "GET /fapi/v3/order": filled.body,
        "GET /fapi/v3/openOrders": resting.body,
        "GET /fapi/v3/userTrades": trades.body,
        "GET /fapi/v3/leverageBracket": (await client.call("GET", "leverageBracket")).body,
    }


@pytest.mark.parametrize("path", samples("answers.json"))
async def test_every_recorded_answer_has_our_keys_and_types(alice, path):
    """Field by field; what differs is listed above with its reason, and nothing is listed that does not differ."""
    cases = answers(path)
    ours = await bodies(alice)
    assert {operation for operation, _ in cases} == set(ours)
    for operation, body in cases:
        recorded, mine = shapes(body), shapes(ours[operation])
        different = {key for key in recorded.keys() | mine.keys() if recorded.get(key) != mine.get(key)}
        assert different == set(EXPLAINED.get(operation, {})), operation
