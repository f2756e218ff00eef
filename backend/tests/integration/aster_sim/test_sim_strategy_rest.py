"""Strategy orders, countdowns, guarded cancels and margin endpoints over real HTTP."""

from __future__ import annotations

import asyncio
import json

ENTRY = {
    "strategySubId": "1",
    "securityType": "USDT_FUTURES",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.010",
    "price": "95000",
}
STOP = {
    "strategySubId": "2",
    "securityType": "USDT_FUTURES",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP_MARKET",
    "stopPrice": "94000",
    "quantity": "0.010",
    "reduceOnly": "true",
    "workingType": "MARK_PRICE",
}


async def _until(condition, what: str) -> None:
    for _ in range(400):
        if await condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never: {what}")


async def test_an_oto_lives_from_placement_to_history(venue, alice):
    body = {"strategyType": "OTO", "clientStrategyId": "s1", "subOrderList": json.dumps([ENTRY, STOP])}
    placed = await alice.call("POST", "placeStrategyOrder", body)
    assert (placed.status, placed.body["strategyStatus"], placed.body["failureCode"]) == (200, "WORKING", 0)
    query = {"strategyType": "OTO", "strategyId": placed.body["strategyId"]}
    shown = (await alice.call("GET", "strategyOpenOrder", query)).body
    assert [row["status"] for row in shown["subOrders"]] == ["NEW", "PENDING"]
    assert (await alice.call("GET", "strategyHistoryOrder", query)).code == -2013
    change = {**query, "subOrderList": json.dumps([{**STOP, "stopPrice": "93500"}])}
    [updated] = (await alice.call("POST", "updateStrategyOrder", change)).body
    assert (updated["updatedSubOrder"], updated["updateStatus"]) == (2, "SUCCESS")
    await alice.set_prices(BTCUSDT="94990")
    await alice.set_prices(BTCUSDT="93400")
    history = (await alice.call("GET", "strategyHistoryOrder", query)).body
    assert [row["status"] for row in history["subOrders"]] == ["FILLED", "FILLED"]
    assert history["strategyStatus"] == "EXPIRED"


async def test_a_countdown_over_the_wire_cancels_in_time(venue, alice):
    await alice.order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="95000")
    answer = await alice.call("POST", "countdownCancelAll", {"symbol": "BTCUSDT", "countdownTime": "50"})
    assert answer.body == {"symbol": "BTCUSDT", "countdownTime": "50"}

    async def gone() -> bool:
        return (await alice.call("GET", "openOrders", {"symbol": "BTCUSDT"})).body == []

    await _until(gone, "the order was cancelled")


async def test_a_guarded_cancel_needs_the_nonce_of_the_placement(venue, alice):
    nonce = alice.nonce()
    params = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    placed = await alice.call("POST", "order", {**params, "quantity": "0.010", "price": "95000"}, nonce=nonce)
    selector = {"symbol": "BTCUSDT", "orderId": placed.body["orderId"]}
    assert (await alice.call("DELETE", "guardedCancelOrder", selector)).code == -4225
    answer = await alice.call("DELETE", "guardedCancelOrder", selector, nonce=nonce)
    assert (answer.status, answer.body["status"]) == (200, "CANCELED")


async def test_a_guarded_cancel_that_overtakes_the_placement_stops_it(venue, alice):
    nonce = alice.nonce()
    selector = {"symbol": "BTCUSDT", "origClientOrderId": "late"}
    assert (await alice.call("DELETE", "guardedCancelOrder", selector, nonce=nonce)).code == -2011
    params = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010", "newClientOrderId": "late"}
    assert (await alice.call("POST", "order", params, nonce=nonce)).code == -4225


async def test_orders_of_a_batch_are_cancelled_by_its_nonce(venue, alice):
    nonce = alice.nonce()
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
    batch = json.dumps([{**order, "price": "95000"}, {**order, "price": "94000"}])
    placed = await alice.call("POST", "batchOrders", {"batchOrders": batch}, nonce=nonce)
    ids = json.dumps([row["orderId"] for row in placed.body])
    answer = await alice.call("DELETE", "guardedBatchOrders", {"symbol": "BTCUSDT", "orderIdList": ids}, nonce=nonce)
    assert [row["status"] for row in answer.body] == ["CANCELED", "CANCELED"]


async def test_margin_is_moved_and_remembered_over_the_wire(venue, alice):
    await alice.call("POST", "marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
    await alice.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    params = {"symbol": "BTCUSDT", "amount": "12.5", "type": "1"}
    answer = await alice.call("POST", "positionMargin", params)
    assert answer.body == {
        "amount": 12.5,
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": 1,
    }
    [row] = (await alice.call("GET", "positionMargin/history", {"symbol": "BTCUSDT"})).body
    assert (row["amount"], row["type"], row["positionSide"]) == ("12.50000000", 1, "BOTH")
    quantiles = (await alice.call("GET", "adlQuantile")).body
    assert quantiles == [{"symbol": "BTCUSDT", "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}}]


async def test_a_liquidation_is_listed_among_the_force_orders(venue, alice):
    await alice.call("POST", "leverage", {"symbol": "BTCUSDT", "leverage": "50"})
    await alice.call("POST", "marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
    await alice.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    await alice.set_prices(BTCUSDT="90000")
    [row] = (await alice.call("GET", "forceOrders", {"autoCloseType": "LIQUIDATION"})).body
    assert row["clientOrderId"].startswith("autoclose-")
    assert (row["status"], row["executedQty"], row["side"]) == ("FILLED", "0.010", "SELL")
    assert (await alice.call("GET", "forceOrders", {"autoCloseType": "ADL"})).body == []


async def test_the_stp_mode_is_set_and_shown(venue, alice):
    assert (await alice.call("GET", "stpMode")).body == {"stpMode": "EXPIRE_TAKER"}
    assert (await alice.call("POST", "stpMode", {"stpMode": "EXPIRE_BOTH"})).status == 200
    assert (await alice.call("GET", "stpMode")).body == {"stpMode": "EXPIRE_BOTH"}
