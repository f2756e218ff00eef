"""What is signed is what is sent: plain decimals, escaped where it must be."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from app.domain.reports import OrderRequest, OrderType, PositionSide, Side, TimeInForce, WorkingType
from app.integrations.aster.forms import batch_form, form, order_fields, order_form

MARKET = OrderRequest(
    symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, client_order_id="tes.abc.e1", quantity=Decimal("0.010")
)
STOP = OrderRequest(
    symbol="BTCUSDT",
    side=Side.SELL,
    type=OrderType.STOP_MARKET,
    client_order_id="tes.abc.s1",
    quantity=Decimal("0.010"),
    stop_price=Decimal("94000.0"),
    reduce_only=True,
    working_type=WorkingType.MARK_PRICE,
    price_protect=False,
)


def test_market_order_asks_for_its_result() -> None:
    """Scenario U6."""
    assert order_form(MARKET) == (
        "symbol=BTCUSDT&side=BUY&type=MARKET&newClientOrderId=tes.abc.e1&newOrderRespType=RESULT&quantity=0.01"
    )


def test_stop_order_carries_its_trigger() -> None:
    fields = dict(order_fields(STOP))
    assert fields["stopPrice"] == "94000"
    assert fields["reduceOnly"] == "true"
    assert fields["workingType"] == "MARK_PRICE"
    assert fields["priceProtect"] == "FALSE"
    assert "positionSide" not in fields


def test_hedge_mode_order_names_its_side_and_no_reduce_only() -> None:
    """Fact sheet, section 6: reduceOnly is refused in hedge mode."""
    fields = dict(order_fields(replace(STOP, position_side=PositionSide.LONG)))
    assert fields["positionSide"] == "LONG"
    assert "reduceOnly" not in fields


def test_close_position_carries_no_reduce_only() -> None:
    """Fact sheet, section 6."""
    fields = dict(order_fields(replace(STOP, close_position=True, quantity=None)))
    assert fields["closePosition"] == "true"
    assert not {"reduceOnly", "quantity"} & set(fields)


def test_decimals_never_show_an_exponent() -> None:
    request = replace(
        MARKET, type=OrderType.LIMIT, price=Decimal("1E+5"), quantity=Decimal("1E-7"), time_in_force=TimeInForce.IOC
    )
    fields = dict(order_fields(request))
    assert (fields["price"], fields["quantity"], fields["timeInForce"]) == ("100000", "0.0000001", "IOC")


@given(st.lists(st.tuples(st.sampled_from(["a", "symbol"]), st.text(max_size=40)), min_size=1, max_size=5))
def test_form_reads_back_as_what_was_put_in(fields: list[tuple[str, str]]) -> None:
    text = form(fields)
    assert text.isascii()
    assert parse_qsl(text, keep_blank_values=True) == fields


@given(st.text(max_size=20), st.text(alphabet="aZ09.:/_-&=%é", max_size=36))
def test_order_reads_back_whatever_its_symbol_and_id(symbol: str, client_order_id: str) -> None:
    request = replace(STOP, symbol=symbol, client_order_id=client_order_id)
    assert parse_qsl(order_form(request), keep_blank_values=True) == order_fields(request)


def test_batch_is_real_json_and_percent_encoded() -> None:
    """Fact sheet, section 10.3."""
    text = batch_form([MARKET, STOP])
    [(name, value)] = parse_qsl(text)
    assert name == "batchOrders"
    assert '"' not in text
    assert [order["newClientOrderId"] for order in json.loads(value)] == ["tes.abc.e1", "tes.abc.s1"]
    assert all(isinstance(field, str) for order in json.loads(value) for field in order.values())
