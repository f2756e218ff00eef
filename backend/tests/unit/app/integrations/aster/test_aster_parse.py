"""Recorded answers and frames become reports with the exchange's own digits; oddities never kill the parser."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
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
from support.samples import answers, sample, samples

_OURS = dict(answers(sample("answers.json")))
_STREAM = sample("user_stream.json")


def _case(operation: str) -> bytes:
    return json.dumps(_OURS[operation]).encode()


def _order(operation: str) -> wire.Order:
    body = _case(operation)
    if body[:1] == b"[":
        return msgspec.json.decode(body, type=list[wire.Order])[0]
    return msgspec.json.decode(body, type=wire.Order)


def test_filled_order_is_read() -> None:
    report = parse.order_report(_order("GET /fapi/v3/order"))
    assert report.order_id == 90000000017
    assert report.client_order_id == "sample-entry"
    assert report.status is ExchangeOrderStatus.FILLED
    assert (report.average_price, report.executed_quantity) == (Decimal("3400.50000"), Decimal("0.250"))
    assert (report.side, report.position_side) == (Side.BUY, PositionSide.BOTH)
    assert report.updated_at == datetime(2026, 9, 21, 14, 13, 20, 700_000, tzinfo=UTC)
    assert not report.is_conditional


@pytest.mark.parametrize("operation", ["POST /fapi/v3/batchOrders", "POST /fapi/v3/order", "GET /fapi/v3/openOrders"])
def test_resting_order_has_no_average_price(operation: str) -> None:
    report = parse.order_report(_order(operation))
    assert report.status is ExchangeOrderStatus.NEW
    assert report.average_price == 0
    assert report.executed_quantity == 0


def test_fill_price_comes_from_the_quote_when_the_average_is_missing() -> None:
    """Scenario U6."""
    order = _order("GET /fapi/v3/order")
    order.avg_price = Decimal(0)
    assert parse.order_report(order).average_price == Decimal("3400.5")


def test_account_answers_are_read() -> None:
    balance = parse.balance_report(msgspec.json.decode(_case("GET /fapi/v3/balance"), type=list[wire.Balance])[0])
    assert (balance.asset, balance.wallet_balance, balance.available_balance) == (
        "USDT",
        Decimal("2512.75000001"),
        Decimal("2339.42500001"),
    )
    position = parse.position_report(
        msgspec.json.decode(_case("GET /fapi/v3/positionRisk"), type=list[wire.PositionRisk])[0]
    )
    assert position.is_flat
    assert (position.leverage, position.margin_type) == (20, MarginType.CROSSED)
    assert position.maximum_notional == 3_000_000
    trade = parse.fill_report(msgspec.json.decode(_case("GET /fapi/v3/userTrades"), type=list[wire.UserTrade])[0])
    assert (trade.exchange_trade_id, trade.side, trade.commission) == (7000001, Side.SELL, Decimal("0.341225"))
    assert trade.client_order_id is None
    income = parse.income_report(msgspec.json.decode(_case("GET /fapi/v3/income"), type=list[wire.Income])[0])
    assert (income.kind, income.amount, income.transfer_id) == (
        "FUNDING_FEE",
        Decimal("-0.34170625"),
        "9000000000000000123",
    )


def test_market_answers_are_read() -> None:
    mark = parse.mark_price(
        msgspec.json.decode(_case("GET /fapi/v3/premiumIndex?symbol=BTCUSDT"), type=wire.PremiumIndex)
    )
    assert (mark.mark_price, mark.funding_rate) == (Decimal("84150.51234567"), Decimal("0.00008125"))
    book = parse.order_book("BTCUSDT", msgspec.json.decode(_case("GET /fapi/v3/depth?limit=5"), type=wire.Depth))
    assert book.bids[0] == (Decimal("84150.5"), Decimal("1.250"))
    assert len(book.asks) == 5


def test_brackets_keep_their_digits() -> None:
    """JSON numbers are read from their text, never through a binary float."""
    rows = msgspec.json.decode(_case("GET /fapi/v3/leverageBracket"), type=list[wire.SymbolBrackets])
    first, second = parse.brackets(rows[0])
    assert (first.maximum_leverage, str(first.maintenance_rate), first.notional_cap) == (40, "0.015", 4000)
    assert (str(second.maintenance_rate), second.cumulative) == ("0.035", 80)


_WIRE = {
    "GET /fapi/v3/premiumIndex?symbol=BTCUSDT": wire.PremiumIndex,
    "GET /fapi/v3/depth?limit=5": wire.Depth,
    "GET /fapi/v3/balance": list[wire.Balance],
    "GET /fapi/v3/positionSide/dual": wire.PositionMode,
    "GET /fapi/v3/commissionRate?symbol=BTCUSDT": wire.CommissionRate,
    "GET /fapi/v3/positionRisk": list[wire.PositionRisk],
    "POST /fapi/v3/leverage": wire.Leverage,
    "GET /fapi/v3/income": list[wire.Income],
    "POST /fapi/v3/batchOrders": list[wire.Order],
    "POST /fapi/v3/order": wire.Order,
    "GET /fapi/v3/order": wire.Order,
    "GET /fapi/v3/openOrders": list[wire.Order],
    "GET /fapi/v3/userTrades": list[wire.UserTrade],
    "GET /fapi/v3/leverageBracket": list[wire.SymbolBrackets],
}
_REPORT: dict[type, Callable[[Any], object]] = {
    wire.Order: parse.order_report,
    wire.UserTrade: parse.fill_report,
    wire.Income: parse.income_report,
    wire.Balance: parse.balance_report,
    wire.PositionRisk: parse.position_report,
    wire.PremiumIndex: parse.mark_price,
    wire.SymbolBrackets: parse.brackets,
}


@pytest.mark.parametrize("path", samples("answers.json"))
def test_every_recorded_answer_that_we_ask_for_is_read(path: Path) -> None:
    found = [(operation, body) for operation, body in answers(path) if operation in _WIRE]
    assert {operation for operation, _ in found} == set(_WIRE)
    for operation, body in found:
        rows = msgspec.json.decode(json.dumps(body), type=_WIRE[operation])
        for row in rows if isinstance(rows, list) else [rows]:
            if type(row) in _REPORT:
                _REPORT[type(row)](row)


@pytest.mark.parametrize("path", [*samples("account_one_way.json"), *samples("account_hedge.json")])
def test_recorded_accounts_are_read(path: Path) -> None:
    body = path.read_bytes()
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

streams = pytest.mark.parametrize("path", samples("user_stream.json"))


def _frames(name: str, path: Path = _STREAM) -> list[str]:
    return [json.dumps(frame) for frame in json.loads(path.read_bytes())[name]]


def _stop(path: Path) -> list[OrderUpdate]:
    """What the frames of a triggered bracket tell of its stop."""
    events = map(user_event, _frames("otoco_stop_triggered", path))
    stop = [one for one in events if isinstance(one, OrderUpdate) and one.order.original_type_text == "STOP_MARKET"]
    assert len({update.order.order_id for update in stop}) == 1
    return stop


@streams
def test_recorded_stop_trigger_keeps_one_order_through_expired_new_and_filled(path: Path) -> None:
    """Scenario P8, fact sheet section 6."""
    stop = _stop(path)
    assert [update.order.status_text for update in stop] == ["NEW", "EXPIRED", "NEW", "FILLED"]
    assert [update.order.is_triggered for update in stop] == [False, False, True, True]
    assert all(update.order.is_conditional and update.order.reduce_only for update in stop)
    assert [update.fill is None for update in stop] == [True, True, True, False]


def test_fill_of_a_triggered_stop_is_read() -> None:
    fill = _stop(_STREAM)[-1].fill
    assert fill is not None
    assert (fill.exchange_trade_id, fill.price, fill.quantity) == (4000002, Decimal("2.55"), Decimal(12))
    assert (fill.commission, fill.commission_asset, fill.realised_pnl) == (
        Decimal("0.01224"),
        "USDT",
        Decimal("-0.612"),
    )


@pytest.mark.parametrize(
    "name",
    ["otoco_stop_triggered", "manual_market_close_expires_gte_gtc_siblings", "single_stop_market_fill"],
)
@streams
def test_every_recorded_frame_is_recognised(path: Path, name: str) -> None:
    for frame in _frames(name, path):
        assert isinstance(user_event(frame), OrderUpdate | AccountUpdate), frame


def test_account_update_tells_positions_and_balances() -> None:
    updates = [event for event in map(user_event, _frames("otoco_stop_triggered")) if isinstance(event, AccountUpdate)]
    opened, closed = updates
    assert (opened.reason, opened.positions[0].quantity) == ("ORDER", Decimal(-12))
    assert opened.positions[0].margin_type is MarginType.ISOLATED
    assert closed.positions[0].quantity == 0
    assert closed.balances[0].wallet_balance == Decimal("499.3637648")


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


@pytest.mark.parametrize("path", samples("market_frames.json"))
def test_mark_prices_are_read_from_array_and_single_frames(path: Path) -> None:
    frames = json.loads(path.read_bytes())["frames"]
    frame = next(frame for frame in frames if frame["stream"].startswith("!markPrice"))
    [mark] = market_prices(json.dumps(frame))
    [row] = frame["data"]
    assert mark.symbol == "BTCUSDT"
    assert (mark.mark_price, mark.funding_rate) == (Decimal(row["p"]), Decimal(row["r"]))
    single = {"stream": "btcusdt@markPrice@1s", "data": row}
    assert market_prices(json.dumps(single)) == [mark]
    assert market_prices('{"result":null,"id":1}') == []


@pytest.mark.parametrize("odd", ['{"s":"NEWUSDT","p":"","E":1}', '{"s":"NEWUSDT","p":"NaN","E":1}', "null", "[]"])
def test_odd_mark_price_does_not_hide_the_others(odd: str) -> None:
    """Scenario W5."""
    good = '{"e":"markPriceUpdate","s":"BTCUSDT","p":"96000.5","E":1,"r":""}'
    [mark] = market_prices(f'{{"stream":"x","data":[{odd},{good},{odd}]}}')
    assert (mark.symbol, mark.mark_price, mark.next_funding_at) == ("BTCUSDT", Decimal("96000.5"), None)
