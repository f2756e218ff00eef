"""REST over a real socket: both families, field names and types, refusals, headers."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "quantity": "0.010",
    "price": "95000",
    "timeInForce": "GTC",
}
ORDER_TYPES = {
    "orderId": int,
    "symbol": str,
    "status": str,
    "clientOrderId": str,
    "price": str,
    "avgPrice": str,
    "origQty": str,
    "executedQty": str,
    "cumQuote": str,
    "timeInForce": str,
    "type": str,
    "origType": str,
    "reduceOnly": bool,
    "closePosition": bool,
    "side": str,
    "positionSide": str,
    "stopPrice": str,
    "workingType": str,
    "priceProtect": bool,
    "updateTime": int,
    "newChainData": dict,
}


def _types(body):
    return {key: type(value) for key, value in body.items()}


async def test_public_endpoints_have_the_recorded_fields_and_types(alice):
    assert (await alice.public("ping")).body == {}
    assert _types((await alice.public("time")).body) == {"serverTime": int}
    info = (await alice.public("exchangeInfo")).body
    assert {row["rateLimitType"] for row in info["rateLimits"]} == {"REQUEST_WEIGHT", "ORDERS"}
    assert len(info["symbols"]) == 8
    premium = (await alice.public("premiumIndex", symbol="BTCUSDT")).body
    assert premium["markPrice"] == "96000.00000000"
    assert isinstance(premium["nextFundingTime"], int)
    assert len((await alice.public("premiumIndex")).body) == 8
    ticker = (await alice.public("ticker/bookTicker", symbol="BTCUSDT")).body
    assert Decimal(ticker["bidPrice"]) < Decimal(96000) < Decimal(ticker["askPrice"])
    assert (await alice.public("ticker/price", symbol="ETHUSDT")).body["price"] == "3400.00"
    depth = (await alice.public("depth", symbol="BTCUSDT", limit=5)).body
    assert [len(depth[side]) for side in ("bids", "asks")] == [5, 5]
    assert depth["asks"][0] == [ticker["askPrice"], ticker["askQty"]]
    assert (await alice.public("depth", symbol="BTCUSDT", limit=7)).code == -4021
    assert (await alice.public("depth", symbol="NOPE")).code == -1121
    assert (await alice.public("depth")).code == -1102


async def test_what_is_not_simulated_says_so_and_is_no_unknown_outcome(alice):
    for path in ("/fapi/v3/asset/wallet/transfer", "/fapi/v3/chase", "/nothing"):
        answer = await alice.raw("GET", path)
        assert (answer.status, answer.code) == (404, -1020)
        assert path in answer.body["msg"]


async def test_ack_says_new_and_nothing_executed_even_for_a_filled_market_order(alice):
    ack = await alice.order(**MARKET)
    assert (ack.body["status"], ack.body["executedQty"], ack.body["avgPrice"]) == ("NEW", "0", "0.00000")
    query = await alice.call("GET", "order", {"symbol": "BTCUSDT", "orderId": ack.body["orderId"]})
    assert (query.body["status"], query.body["executedQty"]) == ("FILLED", "0.010")
    assert _types(ack.body) == {**ORDER_TYPES, "cumQty": str}
    assert _types(query.body) == {**ORDER_TYPES, "time": int}


async def test_result_waits_for_the_final_state(alice):
    body = (await alice.order(**MARKET, newOrderRespType="RESULT")).body
    assert (body["status"], body["executedQty"], body["cumQty"]) == ("FILLED", "0.010", "0.010")
    assert Decimal(body["cumQuote"]) == Decimal(body["avgPrice"]) * Decimal("0.010")


async def test_an_order_is_found_cancelled_and_refused_afterwards(alice):
    placed = await alice.order(**LIMIT, newClientOrderId="mine")
    rows = (await alice.call("GET", "openOrders", {"symbol": "BTCUSDT"})).body
    assert [row["clientOrderId"] for row in rows] == ["mine"]
    assert rows[0]["avgPrice"] == "0"
    assert (await alice.call("GET", "openOrder", {"symbol": "BTCUSDT", "origClientOrderId": "mine"})).status == 200
    assert (await alice.order(**LIMIT, newClientOrderId="mine")).code == -4116
    gone = await alice.call("DELETE", "order", {"symbol": "BTCUSDT", "orderId": placed.body["orderId"]})
    assert gone.body["status"] == "CANCELED"
    selector = {"symbol": "BTCUSDT", "origClientOrderId": "mine"}
    assert (await alice.call("DELETE", "order", selector)).code == -2011
    assert (await alice.call("GET", "openOrder", selector)).code == -2013
    assert (await alice.call("GET", "order", selector)).body["status"] == "CANCELED"
    assert (await alice.call("GET", "order", {"symbol": "BTCUSDT", "orderId": "1"})).code == -2013
    assert (await alice.call("GET", "order", {"symbol": "BTCUSDT"})).code == -1102


async def test_accounts_do_not_see_each_others_orders(alice, bob):
    order_id = (await alice.order(**LIMIT)).body["orderId"]
    selector = {"symbol": "BTCUSDT", "orderId": order_id}
    assert (await bob.call("GET", "order", selector)).code == -2013
    assert (await bob.call("DELETE", "order", selector)).code == -2011
    assert (await bob.call("GET", "openOrders")).body == []


async def test_put_amends_a_limit_order_in_v3_only(alice):
    order_id = (await alice.order(**LIMIT)).body["orderId"]
    change = {"symbol": "BTCUSDT", "orderId": order_id, "quantity": "0.020", "price": "95100"}
    amended = await alice.call("PUT", "order", change)
    assert (amended.body["orderId"], amended.body["origQty"], amended.body["price"]) == (order_id, "0.020", "95100.0")
    assert (await alice.call("PUT", "order", {**change, "orderId": 7})).code == -2013
    assert (
        await alice.call("PUT", "order", {key: change[key] for key in ("symbol", "orderId", "price")})
    ).code == -1102
    assert (await alice.call_v1("PUT", "/fapi/v1/order", change)).status == 404


async def test_batches_answer_by_position(alice):
    rows = [LIMIT, {**LIMIT, "price": "1"}, {**LIMIT, "newClientOrderId": "third", "reduceOnly": False}]
    answer = await alice.call("POST", "batchOrders", {"batchOrders": json.dumps(rows)})
    assert [row.get("code", row.get("status")) for row in answer.body] == ["NEW", -4164, "NEW"]
    assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "3"
    quoted = await alice.call("POST", "batchOrders", {"batchOrders": str([LIMIT])})
    assert quoted.body[0]["status"] == "NEW"
    too_many = await alice.call("POST", "batchOrders", {"batchOrders": json.dumps([LIMIT] * 6)})
    assert too_many.code == -4082
    ids = [answer.body[0]["orderId"], 12345]
    cancelled = await alice.call("DELETE", "batchOrders", {"symbol": "BTCUSDT", "orderIdList": json.dumps(ids)})
    assert [row.get("code", row.get("status")) for row in cancelled.body] == ["CANCELED", -2011]
    by_client = {"symbol": "BTCUSDT", "origClientOrderIdList": '["third"]'}
    assert (await alice.call("DELETE", "batchOrders", by_client)).body[0]["status"] == "CANCELED"
    for text in ("nonsense", "{}", "[]"):
        assert (await alice.call("POST", "batchOrders", {"batchOrders": text})).code == -1130


async def test_cancel_all_answers_with_a_code_that_is_text(alice):
    await alice.order(**LIMIT)
    await alice.order(**{**LIMIT, "symbol": "ETHUSDT", "price": "3390", "quantity": "0.1"})
    answer = await alice.call("DELETE", "allOpenOrders", {"symbol": "BTCUSDT"})
    assert answer.body["code"] == "200"
    assert [row["symbol"] for row in (await alice.call("GET", "openOrders")).body] == ["ETHUSDT"]
    history = (await alice.call("GET", "allOrders", {"symbol": "BTCUSDT"})).body
    assert [row["status"] for row in history] == ["CANCELED"]


async def test_account_views_agree_with_each_other(alice):
    await alice.order(**MARKET)
    await alice.set_prices(BTCUSDT="97000")
    balance = (await alice.call("GET", "balance")).body[0]
    account = (await alice.call("GET", "account")).body
    risk = (await alice.call("GET", "positionRisk", {"symbol": "BTCUSDT"})).body[0]
    trade = (await alice.call("GET", "userTrades", {"symbol": "BTCUSDT"})).body[0]
    income = (await alice.call("GET", "income", {"incomeType": "COMMISSION"})).body[0]
    assert balance["balance"] == account["totalWalletBalance"]
    assert balance["availableBalance"] == account["availableBalance"]
    assert Decimal(balance["balance"]) == Decimal(100000) - Decimal(trade["commission"])
    assert Decimal(income["income"]) == -Decimal(trade["commission"])
    assert risk["entryPrice"] == trade["price"]
    assert Decimal(risk["unRealizedProfit"]) == (Decimal(97000) - Decimal(trade["price"])) * Decimal("0.010")
    assert account["totalUnrealizedProfit"] == risk["unRealizedProfit"]
    row = next(row for row in account["positions"] if row["symbol"] == "BTCUSDT")
    assert (row["positionAmt"], row["leverage"], row["isolated"]) == ("0.010", "20", False)
    assert len(account["positions"]) == 8
    join = (await alice.call("GET", "accountWithJoinMargin")).body
    assert join.keys() == account.keys()


async def test_settings_can_be_changed_and_read_back(alice):
    symbol = {"symbol": "BTCUSDT"}
    leverage = await alice.call("POST", "leverage", {**symbol, "leverage": "25"})
    assert leverage.body == {"symbol": "BTCUSDT", "leverage": 25, "maxNotionalValue": "50000000"}
    assert (await alice.call("POST", "marginType", {**symbol, "marginType": "ISOLATED"})).body["code"] == 200
    assert (await alice.call("POST", "marginType", {**symbol, "marginType": "ISOLATED"})).code == -4046
    risk = (await alice.call("GET", "positionRisk", symbol)).body[0]
    assert (risk["leverage"], risk["marginType"]) == ("25", "isolated")
    assert (await alice.call("GET", "positionSide/dual")).body == {"dualSidePosition": False}
    assert (await alice.call("POST", "positionSide/dual", {"dualSidePosition": "false"})).code == -4059
    assert (await alice.call("POST", "positionSide/dual", {"dualSidePosition": "true"})).body["code"] == 200
    assert [row["positionSide"] for row in (await alice.call("GET", "positionRisk", symbol)).body] == ["LONG", "SHORT"]
    assert (await alice.call("GET", "multiAssetsMargin")).body == {"multiAssetsMargin": False}
    rate = (await alice.call("GET", "commissionRate", symbol)).body
    assert (rate["makerCommissionRate"], rate["takerCommissionRate"]) == ("0.000000", "0.000400")
    brackets = (await alice.call("GET", "leverageBracket")).body
    assert [row["symbol"] for row in brackets][:2] == ["BTCUSDT", "ETHUSDT"]
    one = (await alice.call("GET", "leverageBracket", symbol)).body
    assert one["brackets"][0]["initialLeverage"] == 125


async def test_the_v1_family_serves_the_same_account(alice):
    v1 = await alice.call_v1("POST", "/fapi/v1/order", {**MARKET, "newOrderRespType": "RESULT"})
    assert v1.body["status"] == "FILLED"
    v3 = await alice.call("GET", "balance")
    assert (await alice.call_v1("GET", "/fapi/v2/balance")).body == v3.body
    for path in ("/fapi/v2/positionRisk", "/fapi/v4/account", "/fapi/v2/account", "/fapi/v1/openOrders"):
        assert (await alice.call_v1("GET", path)).status == 200, path
    key = await alice.raw("POST", "/fapi/v1/listenKey", headers={"X-MBX-APIKEY": alice.account.api_key})
    assert len(key.body["listenKey"]) == 64
    stranger = await alice.raw("GET", "/fapi/v2/balance", headers={"X-MBX-APIKEY": "nobody"})
    assert (stranger.status, stranger.code) == (401, -2015)
    assert (await alice.raw("POST", "/fapi/v1/listenKey")).code == -2014


async def test_parameters_may_come_in_the_query_of_a_post(alice):
    answer = await alice.raw("POST", "/fapi/v3/order", query=alice.signed(MARKET))
    assert answer.status == 200


async def test_user_may_be_left_out_of_the_signed_string(alice):
    answer = await alice.raw("POST", "/fapi/v3/order", body=alice.signed(MARKET, with_user=False))
    assert answer.status == 200


async def test_escaped_text_is_verified_as_it_was_sent(alice):
    rows = urlencode({"batchOrders": json.dumps([MARKET])})
    assert "%5B" in rows
    assert (await alice.call("POST", "batchOrders", {"batchOrders": json.dumps([MARKET])})).status == 200


async def test_a_noop_burns_the_nonce_of_a_request_that_is_still_on_its_way(alice):
    nonce = alice.nonce()
    assert (await alice.call("POST", "noop", nonce=nonce)).body == {"code": 200, "msg": "success"}
    late = await alice.call("POST", "order", MARKET, nonce=nonce)
    assert (late.status, late.code) == (400, -4225)
    assert (await alice.call("POST", "noop", nonce=nonce)).code == -4225


async def test_a_noop_after_the_fact_fails_and_changes_nothing(alice):
    nonce = alice.nonce()
    assert (await alice.call("POST", "order", MARKET, nonce=nonce)).status == 200
    assert (await alice.call("POST", "noop", nonce=nonce)).code == -4225


async def test_headers_count_weight_and_orders(alice):
    first = await alice.order(**LIMIT)
    second = await alice.call("GET", "balance")
    weights = [int(answer.headers["X-MBX-USED-WEIGHT-1M"]) for answer in (first, second)]
    assert weights[1] - weights[0] == 5
    assert first.headers["X-MBX-ORDER-COUNT-1M"] == "1"


@pytest.mark.parametrize("body", ["", "nonce=x&signer=y&signature=z", "signature=", "%ff%fe=1", "a" * 5000])
async def test_garbage_is_refused_with_a_code(alice, body):
    answer = await alice.raw("POST", "/fapi/v3/order", body=body)
    assert answer.status == 400
    assert answer.code < 0


async def test_an_order_on_trial_is_checked_and_not_placed(alice):
    assert (await alice.call("POST", "order/test", MARKET)).body == {}
    assert (await alice.call("POST", "order/test", {**MARKET, "quantity": "5000"})).code == -4005
    assert (await alice.call("GET", "allOrders", {"symbol": "BTCUSDT"})).body == []
    stray = await alice.call("POST", "order/test", {**MARKET, "reduceOnly": "true"})
    assert stray.code == -2022
