"""Liquidation: when it comes, in which order, at which price, and who pays."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.margin import liquidation_price, summarise
from aster_sim.core.orders import ADL, LIQUIDATION
from aster_sim.core.risk_views import adl_quantiles, force_order_body, force_orders
from support.sim_bench import make_bench


@pytest.fixture
def small():
    """A bench whose account has 1,000 USDT, and a BTCUSDT leverage of 50."""
    bench = make_bench(balance="1000")
    bench.venue.settings.set_leverage(bench.account, bench.venue.market("BTCUSDT"), 50)
    bench.events()
    return bench


def _isolate(bench) -> None:
    bench.venue.settings.set_margin_type(bench.account, bench.venue.market("BTCUSDT"), "ISOLATED")
    bench.events()


def _fund(bench):
    return bench.venue.state.fund


def _liquidation_price(bench) -> Decimal:
    markets = bench.venue.state.markets
    summary = summarise(bench.account, markets)
    return liquidation_price(bench.account, bench.account.held("BTCUSDT")[0], markets, summary)


def _forced(bench) -> list:
    return [order for order in bench.account.orders.values() if order.forced]


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_position_lives_up_to_its_liquidation_price_and_not_beyond(small, side, isolated):
    if isolated:
        _isolate(small)
    small.market(side, "0.300")
    price = _liquidation_price(small)
    step = Decimal("0.2") if side == "BUY" else Decimal("-0.2")
    small.jump(str((price + step).quantize(Decimal("0.1"))))
    assert small.amount() != 0
    small.jump(str((price - step).quantize(Decimal("0.1"))))
    assert small.amount() == 0


def test_orders_expire_first_then_the_position_is_closed_by_an_autoclose_order(small):
    small.market("BUY", "0.300")
    small.stop("SELL", "80000", closePosition="true", newClientOrderId="sl")
    small.jump("93500")
    small.events()
    small.jump("93050")
    orders = [frame["o"] for frame in small.events() if frame["e"] == "ORDER_TRADE_UPDATE"]
    assert (orders[0]["c"], orders[0]["x"], orders[0]["X"]) == ("sl", "EXPIRED", "EXPIRED")
    assert orders[1]["c"].startswith("autoclose-")
    assert (orders[1]["x"], orders[1]["X"], orders[1]["f"], orders[1]["R"]) == ("NEW", "NEW", "IOC", False)
    assert orders[-1]["X"] == "FILLED"
    assert {row["x"] for row in orders[2:]} == {"CALCULATED"}


def test_each_forced_execution_follows_its_account_update(small):
    small.market("BUY", "0.300")
    small.events()
    small.jump("93000")
    frames = small.events()
    for number, frame in enumerate(frames):
        if frame["e"] == "ORDER_TRADE_UPDATE" and frame["o"]["x"] == "CALCULATED":
            before = frames[number - 1]
            assert (before["e"], before["a"]["m"], before["T"]) == ("ACCOUNT_UPDATE", "ORDER", frame["T"])
    assert frames[-1]["a"]["m"] == "INSURANCE_CLEAR"


def test_what_is_left_of_the_margin_pays_the_clearance_fee(small):
    small.market("BUY", "0.300")
    small.jump("93070")
    [cleared] = [row for row in small.account.incomes if row.income_type == "INSURANCE_CLEAR"]
    assert cleared.income < 0
    assert _fund(small).cleared_in == -cleared.income
    assert small.account.wallet >= 0


def test_a_gap_beyond_the_bankruptcy_price_costs_the_fund_and_never_more_than_the_margin(small):
    small.market("BUY", "0.300")
    small.jump("80000")
    [order] = _forced(small)
    assert (order.status, order.executed) == ("FILLED", Decimal("0.300"))
    assert order.price > 92_000
    assert small.account.wallet == 0
    assert _fund(small).taken_over < -3_500
    assert small.account.wallet == sum((row.income for row in small.account.incomes), Decimal(0))


def test_an_isolated_liquidation_leaves_the_cross_wallet_and_other_symbols_alone(small):
    _isolate(small)
    small.market("BUY", "0.100")
    cross = small.account.cross_wallet
    other = small.place(side="BUY", type="LIMIT", timeInForce="GTC", symbol="ETHUSDT", quantity="0.010", price="3380")
    small.jump("90000")
    assert small.amount() == 0
    assert small.account.cross_wallet == cross
    assert other.open


def test_a_cross_liquidation_stops_as_soon_as_the_margin_suffices_again(small):
    small.market("BUY", "0.250")
    small.place(side="BUY", type="MARKET", symbol="ETHUSDT", quantity="0.030")
    small.jump("92400")
    assert small.amount() == 0
    assert small.amount("ETHUSDT") == Decimal("0.030")


def test_a_margin_call_comes_once_before_the_liquidation_and_again_after_a_recovery(small):
    small.market("BUY", "0.300")
    small.events()
    for price, calls in (("93500", 0), ("93160", 1), ("93150", 0), ("95000", 0), ("93160", 1)):
        small.jump(price)
        frames = [frame for frame in small.events() if frame["e"] == "MARGIN_CALL"]
        assert len(frames) == calls, price
    [row] = frames[0]["p"]
    assert (row["s"], row["ps"], row["pa"], row["mt"]) == ("BTCUSDT", "BOTH", "0.300", "CROSSED")
    assert {"cw", "p"} <= frames[0].keys()


def test_a_stop_before_the_liquidation_price_saves_the_position_even_in_a_gliding_market(small):
    small.market("BUY", "0.300")
    stop = small.stop("SELL", "93500", quantity="0.300", reduceOnly="true")
    small.venue.glide("BTCUSDT", Decimal(80_000))
    assert stop.status == "FILLED"
    assert _forced(small) == []


def test_a_gliding_market_liquidates_at_the_liquidation_price_not_at_its_end(small):
    small.market("BUY", "0.300")
    expected = _liquidation_price(small)
    small.venue.glide("BTCUSDT", Decimal(80_000))
    [order] = _forced(small)
    assert abs(order.cum_quote / order.executed - expected) < 60
    assert _fund(small).taken_over == 0


def test_without_enough_insurance_the_most_profitable_opposite_position_is_deleveraged(small):
    _fund(small).start = Decimal(0)
    winner = small.venue.open_account("winner", Decimal(100_000))
    bystander = small.venue.open_account("bystander", Decimal(100_000))
    small.market("BUY", "0.300")
    small.market("SELL", "0.200", winner)
    small.jump("95500")
    small.market("SELL", "0.500", bystander)
    small.venue.take_events()
    small.jump("80000")
    assert small.amount() == 0
    assert winner.position("BTCUSDT", "BOTH").amount == 0
    assert bystander.position("BTCUSDT", "BOTH").amount == Decimal("-0.400")
    counter = [frame.payload for frame in small.venue.take_events() if frame.account == "winner"]
    orders = [frame["o"] for frame in counter if frame["e"] == "ORDER_TRADE_UPDATE"]
    assert [(row["c"], row["x"], row["X"]) for row in orders] == [
        ("adl_autoclose", "NEW", "NEW_ADL"),
        ("adl_autoclose", "CALCULATED", "FILLED"),
    ]
    assert orders[1]["L"] == str(_forced(small)[0].price)


def test_force_orders_are_told_apart_from_the_clients_own(small):
    small.market("BUY", "0.300")
    small.jump("90000")
    market = small.venue.market("BTCUSDT")
    [order] = force_orders(small.account, {"BTCUSDT"}, LIQUIDATION, 0, 2**62)
    assert force_orders(small.account, {"BTCUSDT"}, ADL, 0, 2**62) == []
    body = force_order_body(order, market)
    assert (body["type"], body["timeInForce"], body["status"], body["reduceOnly"]) == ("LIMIT", "IOC", "FILLED", False)


def test_the_adl_quantile_ranks_a_position_among_those_of_its_side(small):
    rich = small.venue.open_account("rich", Decimal(1_000_000))
    small.market("BUY", "0.100", rich)
    small.jump("96500")
    small.market("BUY", "0.010")
    state = small.venue.state
    assert adl_quantiles(state, rich, ["BTCUSDT"])[0]["adlQuantile"] == {"LONG": 0, "SHORT": 0, "BOTH": 2}
    assert adl_quantiles(state, small.account, ["BTCUSDT", "ETHUSDT"]) == [
        {"symbol": "BTCUSDT", "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}}
    ]


def test_funding_can_push_an_account_into_liquidation(small):
    small.market("BUY", "0.300")
    small.jump("93200")
    assert small.amount() != 0
    small.venue.funding.change_terms(small.venue.market("BTCUSDT"), Decimal("0.003"), None)
    small.now_us = small.venue.market("BTCUSDT").funding.next_ms * 1000
    small.venue.advance()
    assert small.amount() == 0
