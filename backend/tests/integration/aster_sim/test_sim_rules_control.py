"""The exchange's own rules, changed through the control API."""

from __future__ import annotations

import pytest

from aster_sim.server import LimitRules, VenueConfig, start_venue
from support.sim_client import SimClient

FOK = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "FOK", "quantity": "0.010", "price": "95000"}


async def test_unfillable_orders_are_refused_once_told_so(venue, alice):
    assert (await alice.order(**FOK, newOrderRespType="RESULT")).body["status"] == "EXPIRED"
    assert (await alice.control("POST", "rules", {"refuse_unfillable": True}))["refuse_unfillable"] is True
    assert (await alice.order(**FOK)).code == -5021


async def test_each_disputed_rule_is_a_switch(alice):
    rules = await alice.control("GET", "rules")
    switches = {name: value for name, value in rules.items() if isinstance(value, bool)}
    assert switches == dict.fromkeys(
        (
            "refuse_unfillable",
            "only_closing_orders_cover",
            "triggers_obey_market_maximum",
            "exempt_hedge_closes",
        ),
        False,
    )
    turned = await alice.control("POST", "rules", dict.fromkeys(switches, True))
    assert all(turned[name] is True for name in switches)


async def test_an_empty_insurance_fund_deleverages_the_winner(venue, alice, bob):
    await alice.control("POST", "rules", {"insurance_fund": "0"})
    for client, side in ((alice, "BUY"), (bob, "SELL")):
        await client.call("POST", "leverage", {"symbol": "BTCUSDT", "leverage": "50"})
        await client.call("POST", "marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
        await client.order(symbol="BTCUSDT", side=side, type="MARKET", quantity="0.500")
    stream = await bob.user_stream()
    await alice.set_prices(BTCUSDT="85000")
    first = (await stream.next())["o"]
    assert (first["c"], first["X"]) == ("adl_autoclose", "NEW_ADL")
    [row] = (await bob.call("GET", "forceOrders", {"autoCloseType": "ADL"})).body
    assert (row["status"], row["executedQty"]) == ("FILLED", "0.500")
    fund = (await alice.control("GET", "rules"))["insurance_fund"]
    assert fund["taken_over"] == "0.00000000"


async def test_a_ban_is_lifted_by_a_pardon():
    rules = LimitRules(weight_per_minute=5, refusals_before_ban=1)
    running = await start_venue(VenueConfig(prices="manual", limits=rules))
    async with SimClient(running) as client:
        statuses = [(await client.public("ping")).status for _ in range(8)]
        assert statuses[-1] == 418
        await client.control("POST", "rules", {"pardon": True})
        assert (await client.public("ping")).status in {200, 429}
    await running.stop()


@pytest.mark.parametrize(
    "body",
    [
        {"funding_delay_s": -1},
        {"funding_delay_s": True},
        {"insurance_fund": "-1"},
        {"insurance_fund": "x"},
        {"pardon": 1},
        {"tax": "1"},
        {"interest_caps": {"BTCUSDT": "-1"}},
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(venue, alice, body):
    with pytest.raises(AssertionError, match="error"):
        await alice.control("POST", "rules", body)


async def test_a_cap_on_open_interest_is_told_and_lifted(venue, alice):
    asked = {"symbol": "BTCUSDT", "leverage": "20"}
    before = (await alice.public("remainingOpenableNotionalValue", **asked)).body
    assert before == {"remainingOpenableNotionalValue": 65_000_000.0}
    await alice.control("POST", "rules", {"interest_caps": {"BTCUSDT": "500"}})
    after = await alice.public("remainingOpenableNotionalValue", **asked)
    assert after.body == {"remainingOpenableNotionalValue": 500.0}
    assert after.headers["X-MBX-USED-WEIGHT-1M"] == "40"
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
    assert (await alice.order(**order)).code == -5018
    assert (await alice.control("POST", "rules", {"interest_caps": {"BTCUSDT": None}}))["interest_caps"] == {}
    assert (await alice.order(**order)).status == 200
    assert (await alice.public("remainingOpenableNotionalValue", symbol="BTCUSDT")).code == -1102


async def test_automatic_margin_is_switched_by_hand_and_shown(venue, alice):
    await alice.call("POST", "marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
    modes = await alice.control("POST", "modes", {"account": "alice", "auto_add_margin": {"BTCUSDT": True}})
    assert modes["auto_add_margin"] == ["BTCUSDT"]
    [row] = (await alice.call("GET", "positionRisk", {"symbol": "BTCUSDT"})).body
    assert row["isAutoAddMargin"] == "true"


async def test_pegged_orders_are_of_the_v3_family(venue, alice):
    order = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTX", "quantity": "0.010",
        "pegPriceType": "QUEUE_1",
    }  # fmt: skip
    assert float((await alice.order(**order)).body["price"]) > 0
    assert (await alice.call_v1("POST", "/fapi/v1/order", order)).code == -1106
