"""The control API and starting a venue."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import aiohttp
import pytest

from aster_sim.server import AccountSpec, LimitRules, VenueConfig, VenueStartError, load_accounts, start_venue
from support.patience import PATIENCE_S
from support.samples import candles
from support.sim_client import SimClient

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}


async def test_the_ledger_tells_everything_without_secrets(alice):
    await alice.order(**MARKET, newClientOrderId="mine")
    await alice.order(**{**MARKET, "quantity": "1000"})
    ledger = await alice.control("GET", "ledger")
    first, second = ledger["requests"]
    assert (first["account"], first["client_order_id"], first["outcome"]) == ("alice", "mine", "executed")
    assert first["nonce"] == first["params"]["nonce"]
    assert (second["outcome"], second["code"]) == ("refused", -4005)
    account = ledger["accounts"]["alice"]
    assert [order["orderId"] for order in account["orders"]] == first["order_ids"]
    assert account["fills"][0]["positionAfter"] == "0.010"
    assert account["fills"][0]["walletAfter"] == account["wallet"]
    text = json.dumps(ledger)
    assert "signature" not in text
    assert alice.account.private_key[2:] not in text


async def test_the_human_at_the_exchange_trades_without_signature(alice):
    stream = await alice.user_stream()
    order = await alice.control("POST", "orders", {"account": "alice", **MARKET})
    assert order["status"] == "FILLED"
    assert (await stream.take(3))[2]["o"]["X"] == "FILLED"
    limit = {**MARKET, "type": "LIMIT", "price": "95000", "timeInForce": "GTC"}
    resting = await alice.control("POST", "orders", {"account": "alice", **limit})
    selector = {"account": "alice", "symbol": "BTCUSDT", "orderId": resting["orderId"]}
    assert (await alice.control("DELETE", "orders", selector))["status"] == "CANCELED"
    origins = [row["origin"] for row in (await alice.control("GET", "ledger"))["requests"]]
    assert origins == ["human"] * 3


async def test_accounts_can_be_added_while_it_runs(venue, alice):
    made = await alice.control("POST", "accounts", {"name": "carol", "balance": "777"})
    assert made["balance"] == "777"
    venue.accounts.append(replace(venue.accounts[0], **{key: made[key] for key in made if key != "balance"}))
    async with SimClient(venue, "carol") as carol:
        assert (await carol.call("GET", "balance")).body[0]["balance"] == "777.00000000"


async def test_wrong_control_requests_are_explained(venue, alice):
    cases = [
        ("POST", "prices", {"BTCUSDT": "-1"}, 400, "above zero"),
        ("POST", "prices", {"NOPE": "1"}, 400, "Invalid symbol"),
        ("POST", "prices/step", {"candles": 1}, 400, "candles:FILE"),
        ("POST", "orders", {"account": "nobody", **MARKET}, 400, "no account nobody"),
        ("POST", "accounts", {"name": "alice"}, 400, "exists already"),
        ("POST", "accounts", {"name": "x", "balanse": 1}, 400, "balanse"),
        ("POST", "faults", {"action": {"type": "x"}}, 400, "none of"),
        ("GET", "nothing", None, 404, "no GET /sim/nothing"),
    ]
    async with aiohttp.ClientSession() as http:
        for method, name, payload, status, words in cases:
            async with http.request(method, f"{venue.control_url}/{name}", json=payload) as response:
                assert response.status == status, name
                assert words in (await response.json())["error"]


async def test_a_web_page_cannot_reach_the_control_api(venue):
    url, headers = f"{venue.control_url}/prices", {"Origin": "http://example.org"}
    async with aiohttp.ClientSession() as http, http.post(url, json={"BTCUSDT": "1"}, headers=headers) as response:
        assert response.status == 403
    assert venue.venue.market("BTCUSDT").prices.mark == 96000


async def test_state_and_clock_can_be_read(venue, alice):
    await alice.order(**MARKET)
    state = await alice.control("GET", "state")
    assert state["prices"]["ETHUSDT"]["mark"] == "3400.00"
    assert state["accounts"]["alice"]["positions"][0]["amount"] == "0.010"
    clock = await alice.control("GET", "clock")
    assert abs(clock["now_us"] - venue.venue.state.now_us()) < 5_000_000


async def test_a_port_in_use_is_said_clearly(venue):
    with pytest.raises(VenueStartError, match=rf"127\.0\.0\.1:{venue.port}.*choose another port"):
        await start_venue(VenueConfig(prices="manual", port=venue.port))


@pytest.mark.parametrize(
    ("prices", "words"),
    [("live:NOSUCH", "no symbol NOSUCH"), ("weather", "expected synthetic"), ("candles:", "expected synthetic")],
)
async def test_an_impossible_price_feed_is_refused_at_start(prices, words):
    with pytest.raises(ValueError, match=words):
        await start_venue(VenueConfig(prices=prices))


async def test_stopping_twice_is_harmless_and_closes_the_sockets(venue, alice):
    stream = await alice.user_stream()
    await venue.stop()
    await venue.stop()
    message = await stream.socket.receive(timeout=PATIENCE_S)
    assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING}


async def test_limits_are_enforced_and_announced():
    rules = LimitRules(weight_per_minute=50, orders_per_minute=3, orders_per_ten_seconds=3)
    running = await start_venue(VenueConfig(prices="manual", limits=rules))
    async with SimClient(running) as client:
        info = (await client.public("exchangeInfo")).body
        assert [row["limit"] for row in info["rateLimits"]] == [50, 3, 3]
        answers = [await client.order(**MARKET) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[3].code == -1015
        assert int(answers[3].headers["Retry-After"]) >= 1
        heavy = [await client.call("GET", "income") for _ in range(2)]
        assert (heavy[1].status, heavy[1].code) == (429, -1003)
    await running.stop()


async def test_accounts_come_from_a_file_with_their_credentials(tmp_path):
    key = "0x" + "11" * 32
    path = tmp_path / "accounts.json"
    path.write_text(
        json.dumps([{"name": "fixed", "balance": 12.5, "private_key": key, "api_key": "k", "api_secret": "s"}])
    )
    running = await start_venue(VenueConfig(prices="manual", accounts=load_accounts(path)))
    async with SimClient(running) as client:
        assert client.account.private_key == key
        assert (await client.call("GET", "balance")).body[0]["balance"] == "12.50000000"
        assert (await client.call_v1("GET", "/fapi/v2/balance")).status == 200
    await running.stop()


async def test_candles_are_stepped_through_the_control_api(tmp_path):
    path = tmp_path / "BTCUSDT.csv"
    path.write_text("openTime,open,high,low,close,volume\n60000,95000,95100,90000,91000,1\n")
    running = await start_venue(
        VenueConfig(prices=f"candles:{path}", accounts=[AccountSpec("default", Decimal(10000))])
    )
    async with SimClient(running) as client:
        await client.order(**MARKET)
        await client.order(symbol="BTCUSDT", side="SELL", type="STOP_MARKET", stopPrice="94000", closePosition="true")
        answer = await client.control("POST", "prices/step", {"candles": 3})
        assert (answer["fills"], answer["done"]) == (1, True)
        assert answer["candles"]["BTCUSDT"] == {
            "openTime": 60000,
            "open": "95000",
            "high": "95100",
            "low": "90000",
            "close": "91000",
        }
    await running.stop()


@pytest.mark.parametrize("files", candles())
async def test_recorded_instruments_and_candles_play_together(files):
    *tables, info = files
    prices = f"candles:{','.join(map(str, tables))}"
    running = await start_venue(VenueConfig(prices=prices, exchange_info=info, seed=3))
    async with SimClient(running) as client:
        symbols = (await client.public("exchangeInfo")).body["symbols"]
        ended = next(row["symbol"] for row in symbols if row["status"] == "SETTLING")
        answer = await client.control("POST", "prices/step", {"candles": 60})
        assert answer["done"] is False
        mark = (await client.public("premiumIndex", symbol="ETHUSDT")).body["markPrice"]
        assert abs(Decimal(mark) - Decimal(answer["candles"]["ETHUSDT"]["close"])) <= Decimal("0.05")
        assert (await client.order(**MARKET)).status == 200
        dead = {**MARKET, "symbol": ended, "quantity": "10"}
        assert (await client.order(**dead)).code in {-5024, -1121}
    await running.stop()
