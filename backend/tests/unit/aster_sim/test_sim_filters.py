"""Refusals of malformed and filtered orders, by code (asterdex-facts.md sections 5 and 9)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from aster_sim.core.errors import VenueError
from aster_sim.core.filters import check_price, check_quantity, check_stop_price

_LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": "95000.0"}
_MARKET = {"side": "BUY", "type": "MARKET", "quantity": "0.010"}
_STOP = {"side": "SELL", "type": "STOP_MARKET", "quantity": "0.010", "stopPrice": "90000"}
_STOP_LIMIT = {"side": "SELL", "type": "STOP", "quantity": "0.010", "stopPrice": "90000", "price": "89900"}


@pytest.mark.parametrize(
    ("base", "change", "code"),
    [
        (_LIMIT, {"price": "95000.05"}, -1111),
        (_LIMIT, {"price": "0"}, -4001),
        (_LIMIT, {"price": "2000000"}, -4002),
        (_LIMIT, {"price": "0.5"}, -4013),
        (_LIMIT, {"price": "98000"}, -4016),
        (_LIMIT, {"side": "SELL", "price": "94000"}, -4024),
        (_LIMIT, {"quantity": "0.0101"}, -1111),
        (_LIMIT, {"quantity": "0"}, -4003),
        (_LIMIT, {"quantity": "1001"}, -4005),
        (_LIMIT, {"price": "1e5"}, -1130),
        (_LIMIT, {"quantity": "NaN"}, -1130),
        (_LIMIT, {"timeInForce": "DAY"}, -1115),
        (_LIMIT, {"type": "STOP", "timeInForce": "RPI", "stopPrice": "97000"}, -1115),
        (_LIMIT, {"pegPriceType": "QUEUE_1"}, -1106),
        (_LIMIT, {"pegOffset": "1"}, -1102),
        (_LIMIT, {"pegPriceType": "QUEUE_5"}, -1130),
        (_LIMIT, {"symbol": "NOPEUSDT"}, -1121),
        (_LIMIT, {"side": "LONG"}, -1117),
        (_LIMIT, {"type": "ICEBERG"}, -1116),
        (_LIMIT, {"newClientOrderId": "no blanks"}, -4015),
        (_LIMIT, {"newClientOrderId": "x" * 37}, -4015),
        (_LIMIT, {"positionSide": "LONG"}, -4061),
        (_LIMIT, {"positionSide": "UP"}, -4060),
        (_LIMIT, {"reduceOnly": "yes"}, -1130),
        (_LIMIT, {"newOrderRespType": "FULL"}, -1136),
        (_LIMIT, {"stopPrice": "90000"}, -1106),
        (_LIMIT, {"quantity": "0.001", "price": "4000"}, -4164),
        (_MARKET, {"quantity": "121"}, -4005),
        (_MARKET, {"price": "95000"}, -1106),
        (_MARKET, {"symbol": "DOGEUSDT", "quantity": "3"}, -4164),
        (_STOP, {"stopPrice": "0"}, -4006),
        (_STOP, {"stopPrice": "90000.01"}, -1111),
        (_STOP, {"closePosition": "true"}, -4137),
        (_STOP_LIMIT, {"price": "80000"}, -4184),
        (_STOP_LIMIT, {"closePosition": "true"}, -4136),
    ],
)
def test_a_bad_order_is_refused_with_its_code_and_leaves_no_trace(bench, base, change, code):
    before = bench.venue.state.counters.order_id
    assert bench.code_of(**{**base, **change}) == code
    assert bench.venue.state.counters.order_id == before
    assert bench.venue.take_events() == []
    assert not bench.account.orders


@pytest.mark.parametrize(
    ("base", "absent"),
    [
        (_LIMIT, "timeInForce"),
        (_LIMIT, "price"),
        (_LIMIT, "quantity"),
        (_MARKET, "quantity"),
        (_STOP, "stopPrice"),
        (_STOP, "quantity"),
        (_STOP_LIMIT, "price"),
    ],
)
def test_a_missing_parameter_is_named(bench, base, absent):
    params = {key: value for key, value in base.items() if key != absent}
    with pytest.raises(VenueError) as refusal:
        bench.place(**params)
    assert refusal.value.code == -1102
    assert f"'{absent}'" in refusal.value.msg


def test_off_tick_and_off_step_values_of_allowed_precision_have_their_own_codes(bench):
    coarse = replace(
        bench.venue.market("BTCUSDT").instrument, tick=Decimal("0.5"), step=Decimal("0.005"), min_qty=Decimal("0.005")
    )
    for check, code in (
        (lambda: check_price(coarse, Decimal("95000.3")), -4014),
        (lambda: check_stop_price(coarse, Decimal("95000.3")), -4014),
        (lambda: check_quantity(coarse, Decimal("0.011"), market=False), -4023),
        (lambda: check_quantity(coarse, Decimal("0.004"), market=False), -4004),
    ):
        with pytest.raises(VenueError) as refusal:
            check()
        assert refusal.value.code == code


def test_reduce_only_is_exempt_from_min_notional(bench):
    bench.market("BUY", "100", symbol="DOGEUSDT")
    order = bench.market("SELL", "1", symbol="DOGEUSDT", reduceOnly="true")
    assert order.status == "FILLED"


def test_client_order_id_is_unique_among_open_orders_only(bench):
    first = bench.limit("BUY", "0.010", "95000", newClientOrderId="mine")
    assert bench.code_of(**_LIMIT, newClientOrderId="mine") == -4116
    bench.venue.cancel(bench.account, "BTCUSDT", first.order_id, None)
    assert bench.limit("BUY", "0.010", "95000", newClientOrderId="mine").open


def test_order_counts_are_limited_per_symbol(bench):
    for _ in range(10):
        bench.stop("SELL", "90000", quantity="0.010")
    assert bench.code_of(**_STOP) == -4045
    for _ in range(190):
        bench.limit("BUY", "0.001", "94500")
    assert bench.code_of(**_LIMIT) == -2025
