"""Conditional orders: when they fire, what the owner hears, and what becomes of them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from support.sim_bench import make_bench

BURST = ["EXPIRED/EXPIRED/STOP_MARKET", "NEW/NEW/MARKET", "ACCOUNT", "TRADE/FILLED/MARKET"]


def test_a_trigger_tells_expired_new_account_fill_under_one_id_in_one_millisecond(bench):
    bench.market("BUY", "0.010")
    stop = bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true", newClientOrderId="sl")
    bench.events()
    bench.jump("93990")
    frames = bench.events()
    orders = [frame["o"] for frame in frames if frame["e"] == "ORDER_TRADE_UPDATE"]
    assert [f"{row['x']}/{row['X']}/{row['o']}/{row['ot']}" for row in orders] == [
        "EXPIRED/EXPIRED/STOP_MARKET/STOP_MARKET",
        "NEW/NEW/MARKET/STOP_MARKET",
        "TRADE/FILLED/MARKET/STOP_MARKET",
    ]
    assert frames[2]["e"] == "ACCOUNT_UPDATE"
    assert frames[2]["a"]["P"][0]["pa"] == "0"
    assert {(row["i"], row["c"], row["sp"]) for row in orders} == {(stop.order_id, "sl", "94000.0")}
    assert len({frame["T"] for frame in frames}) == 1
    assert [row["z"] for row in orders] == ["0", "0", "0.010"]
    assert (stop.type, stop.orig_type, stop.status) == ("MARKET", "STOP_MARKET", "FILLED")
    assert bench.amount() == 0


@pytest.mark.parametrize(
    ("kind", "side", "stop_price", "quiet", "fires"),
    [
        ("STOP_MARKET", "SELL", "94000", "94000.1", "94000"),
        ("STOP_MARKET", "BUY", "98000", "97999.9", "98000"),
        ("TAKE_PROFIT_MARKET", "SELL", "98000", "97999.9", "98000"),
        ("TAKE_PROFIT_MARKET", "BUY", "94000", "94000.1", "94000"),
    ],
)
def test_each_type_fires_at_its_stop_price_and_not_before(bench, kind, side, stop_price, quiet, fires):
    order = bench.stop(side, stop_price, type=kind, quantity="0.010")
    bench.jump(quiet)
    assert order.type == kind
    bench.jump(fires)
    assert (order.type, order.status) == ("MARKET", "FILLED")


@pytest.mark.parametrize(
    ("kind", "side", "stop_price"),
    [
        ("STOP_MARKET", "SELL", "96000"),
        ("STOP_MARKET", "BUY", "95000"),
        ("TAKE_PROFIT_MARKET", "SELL", "95000"),
        ("TAKE_PROFIT_MARKET", "BUY", "96000"),
    ],
)
def test_an_order_that_would_trigger_at_once_is_refused(bench, kind, side, stop_price):
    params = {"side": side, "type": kind, "stopPrice": stop_price, "quantity": "0.010", "workingType": "MARK_PRICE"}
    assert bench.code_of(**params) == -2021


def test_the_working_type_decides_which_price_fires(bench):
    mark = bench.stop("SELL", "95500", quantity="0.010")
    last = bench.stop("SELL", "95500", quantity="0.010", workingType="CONTRACT_PRICE")
    bench.venue.jump("BTCUSDT", Decimal(95600), Decimal(95400))
    assert (mark.type, last.type) == ("STOP_MARKET", "MARKET")


def test_a_reduce_only_trigger_without_position_expires_and_executes_nothing(bench):
    bench.market("BUY", "0.010")
    stop = bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true")
    bench.market("SELL", "0.010")
    bench.events()
    bench.jump("93000")
    assert bench.story() == ["EXPIRED/EXPIRED/STOP_MARKET"]
    assert (stop.status, stop.executed, bench.amount()) == ("EXPIRED", Decimal(0), Decimal(0))


@pytest.mark.parametrize(("obeys", "status", "left"), [(False, "FILLED", 0), (True, "EXPIRED", 130)])
def test_a_trigger_above_the_market_maximum_ends_as_the_rule_says(obeys, status, left):
    """Facts section 13: nothing public tells whether triggered orders obey MARKET_LOT_SIZE; BTC's maximum is 120."""
    bench = make_bench(depth="1000", balance="100000000")
    bench.venue.state.rules.triggers_obey_market_maximum = obeys
    bench.market("BUY", "70")
    bench.market("BUY", "60")
    assert bench.code_of(side="SELL", type="MARKET", quantity="130", reduceOnly="true") == -4005
    stop = bench.stop("SELL", "94000", quantity="130", reduceOnly="true")
    bench.jump("93990")
    assert (stop.status, bench.amount()) == (status, left)


def test_close_position_closes_whatever_is_held_then(bench):
    stop = bench.stop("SELL", "94000", closePosition="true")
    bench.market("BUY", "0.010")
    bench.market("BUY", "0.020")
    bench.events()
    bench.jump("93000")
    assert bench.story() == BURST
    assert (stop.executed, bench.amount()) == (Decimal("0.030"), Decimal(0))


def test_a_reduce_only_stop_never_flips_a_smaller_position(bench):
    bench.market("BUY", "0.030")
    stop = bench.stop("SELL", "94000", quantity="0.030", reduceOnly="true")
    bench.market("SELL", "0.020")
    bench.jump("93000")
    assert (stop.status, stop.executed, bench.amount()) == ("FILLED", Decimal("0.010"), Decimal(0))


def test_exits_do_not_cancel_each_other(bench):
    bench.market("BUY", "0.010")
    bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true")
    target = bench.stop("SELL", "98000", type="TAKE_PROFIT_MARKET", quantity="0.010", reduceOnly="true")
    bench.jump("93000")
    assert target.open
    assert bench.amount() == 0


def test_gte_gtc_orders_end_with_their_position(bench):
    bench.market("BUY", "0.010")
    stop = bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true", timeInForce="GTE_GTC")
    bench.market("SELL", "0.010")
    assert stop.status == "EXPIRED"


def test_a_stop_limit_becomes_a_limit_order(bench):
    order = bench.place(
        side="SELL", type="STOP", quantity="0.010", stopPrice="94000", price="93950", workingType="MARK_PRICE"
    )
    bench.jump("93000")
    assert (order.type, order.status, order.orig_type) == ("LIMIT", "NEW", "STOP")
    bench.jump("93960")
    assert order.status == "FILLED"
    assert bench.account.trades["BTCUSDT"][0].price == Decimal("93950.0")


def test_price_protect_holds_back_while_mark_and_last_are_apart(bench):
    order = bench.stop("SELL", "94000", quantity="0.010", priceProtect="true")
    bench.venue.jump("BTCUSDT", Decimal(93900), Decimal(96000))
    assert order.open
    assert order.waiting
    bench.jump("93900")
    assert order.status == "FILLED"


def test_a_gliding_price_fires_each_stop_at_its_own_price(bench):
    bench.market("BUY", "0.020")
    near = bench.stop("SELL", "95000", quantity="0.010", reduceOnly="true")
    far = bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true")
    bench.venue.glide("BTCUSDT", Decimal(93000))
    fills = {trade.order_id: trade.price for trade in bench.account.trades["BTCUSDT"]}
    assert Decimal(94980) < fills[near.order_id] < Decimal(95000)
    assert Decimal(93980) < fills[far.order_id] < Decimal(94000)
    assert bench.venue.market("BTCUSDT").prices.mark == Decimal("93000.0")


def test_a_trailing_stop_follows_the_extreme_and_fires_on_the_turn(bench):
    bench.market("BUY", "0.010")
    order = bench.place(
        side="SELL",
        type="TRAILING_STOP_MARKET",
        quantity="0.010",
        callbackRate="1",
        activationPrice="97000",
        workingType="MARK_PRICE",
        reduceOnly="true",
    )
    for quiet in ("96500", "95000", "97000", "98000", "97050"):
        bench.jump(quiet)
        assert order.waiting, quiet
    bench.jump("97020")
    assert (order.status, bench.amount()) == ("FILLED", Decimal(0))


def test_a_trailing_activation_on_the_wrong_side_is_refused(bench):
    params = {"side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "0.010", "callbackRate": "1"}
    assert bench.code_of(**params, activationPrice="95000") == -2021
    assert bench.code_of(**{**params, "callbackRate": "6"}) == -2007


def test_a_cancelled_stop_never_fires(bench):
    stop = bench.stop("SELL", "94000", quantity="0.010")
    bench.venue.cancel(bench.account, "BTCUSDT", stop.order_id, None)
    bench.jump("93000")
    assert stop.status == "CANCELED"
    assert bench.amount() == 0
