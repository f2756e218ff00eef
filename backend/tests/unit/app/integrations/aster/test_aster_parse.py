"""Recorded answers and frames become reports with the exchange's own digits; oddities never kill the parser."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aster_doubles import recording
from hypothesis import given
from hypothesis import strategies as st

from app.domain.reports import (
    AccountConfigUpdate,
    AccountUpdate,
    ExchangeOrderStatus,
    MarginCall,
    MarginType,
    OrderUpdate,
    PositionSide,
    Side,
    UnrecognisedEvent,
)
from app.integrations.aster import parse, wire
from app.integrations.aster.parse_stream import market_prices, user_event


def _case(operation: str) -> bytes:
    cases = json.loads(recording("ccxt_futures_responses.json"))["cases"]
    return json.dumps(next(case["body"] for case in cases if case["op"].startswith(operation))).encode()


def _order(operation: str) -> wire.Order:
    body = _case(operation)
    if body[:1] == b"[":
        return msgspec.json.decode(body, type=list[wire.Order])[0]
    return msgspec.json.decode(body, type=wire.Order)


def test_recorded_filled_order_is_read() -> None:
    report = parse.order_report(_order("GET /fapi/v3/order (FILLED"))
    assert report.order_id == 17338441758
    assert report.client_order_id == "727Wt3TIUgkUCxXp20E543"
    assert report.status is ExchangeOrderStatus.FILLED
    assert (report.average_price, report.executed_quantity) == (Decimal("2304.56000"), Decimal("0.010"))
    assert (report.side, report.position_side) == (Side.BUY, PositionSide.BOTH)
    assert report.updated_at == datetime(2026, 4, 21, 19, 38, 20, 700_000, tzinfo=UTC)
    assert not report.is_conditional


@pytest.mark.parametrize(
    "operation", ["POST /fapi/v3/batchOrders", "POST /fapi/v3/order", "GET /fapi/v3/openOrders (resting LIMIT)"]
)
def test_recorded_resting_order_has_no_average_price(operation: str) -> None:
    report = parse.order_report(_order(operation))
    assert report.status is ExchangeOrderStatus.NEW
    assert report.average_price == 0
    assert report.executed_quantity == 0


def test_fill_price_comes_from_the_quote_when_the_average_is_missing() -> None:
    """Scenario U6."""
    order = _order("GET /fapi/v3/order (FILLED")
    order.avg_price = Decimal(0)
    assert parse.order_report(order).average_price == Decimal("2304.56")


def test_recorded_account_answers_are_read() -> None:
    balance = parse.balance_report(msgspec.json.decode(_case("GET /fapi/v3/balance"), type=list[wire.Balance])[0])
    assert (balance.asset, balance.wallet_balance, balance.available_balance) == (
        "USDT",
        Decimal("1.11341089"),
        Decimal("0.81341089"),
    )
    position = parse.position_report(
        msgspec.json.decode(_case("GET /fapi/v3/positionRisk (flat row"), type=list[wire.PositionRisk])[0]
    )
    assert position.is_flat
    assert (position.leverage, position.margin_type) == (20, MarginType.CROSSED)
    assert position.maximum_notional == 2_500_000
    trade = parse.fill_report(msgspec.json.decode(_case("GET /fapi/v3/userTrades"), type=list[wire.UserTrade])[0])
    assert (trade.exchange_trade_id, trade.side, trade.commission) == (2583152, Side.SELL, Decimal("0.00279605"))
    assert trade.client_order_id is None
    income = parse.income_report(msgspec.json.decode(_case("GET /fapi/v3/income"), type=list[wire.Income])[0])
    assert (income.kind, income.amount, income.transfer_id) == (
        "FUNDING_FEE",
        Decimal("0.00134317"),
        "4480321991774044580",
    )


def test_recorded_market_answers_are_read() -> None:
    mark = parse.mark_price(msgspec.json.decode(_case("GET /fapi/v3/premiumIndex"), type=wire.PremiumIndex))
    assert (mark.mark_price, mark.funding_rate) == (Decimal("106630.71786957"), Decimal("0.0001"))
    book = parse.order_book("BTCUSDT", msgspec.json.decode(_case("GET /fapi/v3/depth"), type=wire.Depth))
    assert book.bids[0] == (Decimal("106626.8"), Decimal("8.266"))
    assert len(book.asks) == 5


def test_recorded_brackets_keep_their_digits() -> None:
    """JSON numbers are read from their text, never through a binary float."""
    rows = msgspec.json.decode(_case("GET /fapi/v3/leverageBracket"), type=list[wire.SymbolBrackets])
    first, second = parse.brackets(rows[0])
    assert (first.maximum_leverage, str(first.maintenance_rate), first.notional_cap) == (50, "0.01", 5000)
    assert (str(second.maintenance_rate), second.cumulative) == ("0.025", 75)


@pytest.mark.parametrize("name", ["accountV4_demo.json", "accountV4_demo_node.json"])
def test_recorded_accounts_are_read(name: str) -> None:
    body = recording(name)
    report = parse.account_report(msgspec.json.decode(body, type=wire.Account))
    assert report.can_trade
    assert str(report.wallet_balance) == json.loads(body)["totalWalletBalance"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-inf", "sNaN"])
def test_number_that_is_not_finite_is_refused_at_the_door(text: str) -> None:
    order = _order("POST /fapi/v3/order")
    order.executed_qty = Decimal(text)
    with pytest.raises(ValueError, match="finite"):
        parse.order_report(order)


@pytest.mark.parametrize("read", [parse.side_of, parse.position_side_of, parse.margin_type_of])
def test_unknown_direction_is_refused_rather_than_guessed(read: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        read("SIDEWAYS")


# --- the user stream


def _frames(name: str) -> list[str]:
    return [json.dumps(frame) for frame in json.loads(recording("binance_um_user_stream_lifecycle.json"))[name]]


def test_recorded_stop_trigger_keeps_one_order_through_expired_new_and_filled() -> None:
    """Scenario P8, fact sheet section 6."""
    updates = [event for event in map(user_event, _frames("otoco_stop_triggered")) if isinstance(event, OrderUpdate)]
    stop = [update for update in updates if update.order.order_id == 4014170259]
    assert [update.order.status_text for update in stop] == ["NEW", "EXPIRED", "NEW", "FILLED"]
    assert [update.order.is_triggered for update in stop] == [False, False, True, True]
    assert all(update.order.is_conditional and update.order.reduce_only for update in stop)
    fill = stop[-1].fill
    assert fill is not None
    assert (fill.exchange_trade_id, fill.price, fill.quantity) == (133744542, Decimal("0.07600"), Decimal(150))
    assert (fill.commission, fill.commission_asset, fill.realised_pnl) == (
        Decimal("0.00456000"),
        "USDT",
        Decimal("-0.03900000"),
    )
    assert [update.fill for update in stop[:-1]] == [None, None, None]


@pytest.mark.parametrize(
    "name",
    ["otoco_stop_triggered", "manual_market_close_expires_gte_gtc_siblings", "single_stop_market_fill"],
)
def test_every_recorded_frame_is_recognised(name: str) -> None:
    for frame in _frames(name):
        assert isinstance(user_event(frame), OrderUpdate | AccountUpdate), frame


def test_recorded_account_update_tells_positions_and_balances() -> None:
    updates = [event for event in map(user_event, _frames("otoco_stop_triggered")) if isinstance(event, AccountUpdate)]
    opened, closed = updates
    assert (opened.reason, opened.positions[0].quantity) == ("ORDER", Decimal(-150))
    assert opened.positions[0].margin_type is MarginType.ISOLATED
    assert closed.positions[0].quantity == 0
    assert closed.balances[0].wallet_balance == Decimal("316.15065294")


def test_combined_frame_is_unwrapped() -> None:
    frame = _frames("single_stop_market_fill")[0]
    assert user_event(f'{{"stream":"key","data":{frame}}}') == user_event(frame)


def test_config_update_and_margin_call_are_read() -> None:
    leverage = user_event('{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ac":{"s":"BTCUSDT","l":25}}')
    assert isinstance(leverage, AccountConfigUpdate)
    assert (leverage.symbol, leverage.leverage, leverage.is_hedge_mode) == ("BTCUSDT", 25, None)
    mode = user_event('{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ai":{"j":true,"f":false,"d":true}}')
    assert isinstance(mode, AccountConfigUpdate)
    assert (mode.symbol, mode.is_multi_asset, mode.is_hedge_mode) == (None, True, True)
    call = user_event('{"e":"MARGIN_CALL","E":1,"cw":"3.1","p":[{"s":"ETHUSDT","ps":"LONG","pa":"1.3"}]}')
    assert isinstance(call, MarginCall)
    assert call.symbols == ("ETHUSDT",)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ('{"e":"SOMETHING_NEW","E":1,"x":{}}', "SOMETHING_NEW"),
        ('{"e":"listenKeyExpired","E":1}', "listenKeyExpired"),
        ('{"e":"ORDER_TRADE_UPDATE","E":1}', "ORDER_TRADE_UPDATE"),
        ('{"result":null,"id":3}', ""),
        ("not json", ""),
        ("[]", ""),
        ("", ""),
    ],
)
def test_frame_that_is_not_understood_is_kept_as_it_is(frame: str, kind: str) -> None:
    """Scenario W5."""
    assert user_event(frame) == UnrecognisedEvent(kind=kind, raw=frame)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["BUY", "1.5", "NaN", "BOTH"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("esoaEiXSzPBTptl"), inner, max_size=8),
    max_leaves=12,
)


@given(st.one_of(st.text(max_size=60), _JSON.map(json.dumps), _JSON.map(lambda data: json.dumps({"data": data}))))
def test_no_frame_whatever_it_is_kills_the_parser(frame: str) -> None:
    """Scenario W5."""
    assert isinstance(
        user_event(frame), OrderUpdate | AccountUpdate | AccountConfigUpdate | MarginCall | UnrecognisedEvent
    )


@pytest.mark.parametrize(("field", "value"), [("S", "UP"), ("ps", "NORTH"), ("z", "NaN"), ("i", "text"), ("T", 10**18)])
def test_order_update_with_a_senseless_field_is_kept_not_raised(field: str, value: object) -> None:
    frame = json.loads(_frames("single_stop_market_fill")[0])
    frame["o"][field] = value
    assert isinstance(user_event(json.dumps(frame)), UnrecognisedEvent)


@pytest.mark.parametrize(
    ("field", "value"), [("x", "AMENDMENT"), ("x", "NEW_ADL"), ("X", "NEW_INSURANCE"), ("f", "RPI")]
)
def test_new_enumeration_value_does_not_hide_the_order(field: str, value: str) -> None:
    """Scenario W5."""
    frame = json.loads(_frames("single_stop_market_fill")[0])
    frame["o"][field] = value
    event = user_event(json.dumps(frame))
    assert isinstance(event, OrderUpdate)
    if field == "X":
        assert (event.order.status, event.order.status_text) == (ExchangeOrderStatus.UNRECOGNISED, value)


def test_recorded_mark_prices_are_read_from_array_and_single_frames() -> None:
    frames = json.loads(recording("aster_ws_frames_measured.json"))["frames"]
    frame = next(frame for frame in frames if frame["stream"].startswith("!markPrice"))
    [mark] = market_prices(json.dumps(frame))
    assert (mark.symbol, mark.mark_price, mark.funding_rate) == ("BTCUSDT", Decimal("84249.3"), Decimal("0.00009554"))
    single = {"stream": "btcusdt@markPrice@1s", "data": frame["data"][0]}
    assert market_prices(json.dumps(single)) == [mark]
    assert market_prices('{"result":null,"id":1}') == []


@pytest.mark.parametrize("odd", ['{"s":"NEWUSDT","p":"","E":1}', '{"s":"NEWUSDT","p":"NaN","E":1}', "null", "[]"])
def test_odd_mark_price_does_not_hide_the_others(odd: str) -> None:
    """Scenario W5."""
    good = '{"e":"markPriceUpdate","s":"BTCUSDT","p":"96000.5","E":1,"r":""}'
    [mark] = market_prices(f'{{"stream":"x","data":[{odd},{good},{odd}]}}')
    assert (mark.symbol, mark.mark_price, mark.next_funding_at) == ("BTCUSDT", Decimal("96000.5"), None)
