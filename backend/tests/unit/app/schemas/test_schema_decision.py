"""What a decision may say: each wrong field is named, money is exact, and nothing odd gets through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import DecisionRefused, ErrorCode
from app.schemas.decision import Action, TradingDecision, parse_decision

ITEM: dict[str, Any] = {"asset": "BTCUSDT", "action": "buy", "allocation_usd": 1000}


def body(*items: dict[str, Any], **outside: Any) -> str:
    return json.dumps({"decisions": list(items) or [ITEM], **outside})


def refusal(text: str | bytes) -> str:
    with pytest.raises(DecisionRefused) as caught:
        parse_decision(text)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    return caught.value.message


def test_the_contracts_example_is_read_exactly() -> None:
    text = """{"decision_id": "2026-11-22T10:15:00Z-btc-eth", "account_id": "default",
      "timestamp": "2026-11-22T10:15:00Z", "portfolio_rationale": "x", "portfolio_risk_level": "medium",
      "total_allocation_usd": 1500, "decisions": [
        {"asset": "BTCUSDT", "action": "buy", "allocation_usd": 1000.10, "leverage": 10, "tp_price": 99000,
         "sl_price": "94000.0", "exit_plan": "x", "rationale": "x", "confidence": 78, "risk_level": "medium"},
        {"asset": "ETHUSDT", "action": "hold", "allocation_usd": 0, "exit_plan": "", "rationale": "x",
         "confidence": 40, "risk_level": "low"}]}"""
    decision = parse_decision(text)
    first, second = decision.decisions
    assert (first.allocation_usd, first.sl_price, first.leverage) == (Decimal("1000.10"), 94000, 10)
    assert decision.timestamp == datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
    assert second.action is Action.HOLD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"asset": ""}, ["decisions[0].asset"]),
        ({"asset": None}, ["decisions[0].asset"]),
        ({"action": "bye"}, ["decisions[0].action", "buy"]),
        ({"allocation_usd": 0}, ["allocation_usd", "above 0", "buy"]),
        ({"allocation_usd": None}, ["allocation_usd", "above 0"]),
        ({"allocation_usd": -1}, ["decisions[0].allocation_usd"]),
        ({"allocation_usd": "lots"}, ["decisions[0].allocation_usd", "lots"]),
        ({"allocation_usd": True}, ["decisions[0].allocation_usd", "number"]),
        ({"allocation_usd": [1]}, ["decisions[0].allocation_usd", "number"]),
        ({"allocation_usd": "NaN"}, ["decisions[0].allocation_usd", "finite"]),
        ({"allocation_usd": "Infinity"}, ["decisions[0].allocation_usd", "finite"]),
        ({"allocation_usd": "1e19"}, ["decisions[0].allocation_usd", "out of range"]),
        ({"allocation_usd": "1.0000000000000001e18"}, ["decisions[0].allocation_usd", "out of range"]),
        ({"allocation_usd": "1e999999999999"}, ["decisions[0].allocation_usd", "out of range"]),
        ({"allocation_usd": "1e-19"}, ["decisions[0].allocation_usd", "out of range"]),
        ({"allocation_usd": "1." + "1" * 36}, ["decisions[0].allocation_usd", "digits"]),
        ({"leverage": 0}, ["decisions[0].leverage"]),
        ({"leverage": 2.5}, ["leverage", "whole number", "2.5"]),
        ({"sl_price": 0}, ["decisions[0].sl_price"]),
        ({"tp_price": "-5"}, ["decisions[0].tp_price"]),
        ({"stop_price": 1}, ["decisions[0].stop_price", "unknown field"]),
        ({"sl_prize": 1}, ["decisions[0].sl_prize", "unknown field"]),
        ({"confidence": 101}, ["decisions[0].confidence"]),
        ({"rationale": "x" * 20_001}, ["decisions[0].rationale"]),
        ({"trailing_stop": 1}, ["decisions[0].trailing_stop"]),
        ({"trailing_stop": {}}, ["decisions[0].trailing_stop.callback_rate"]),
        ({"trailing_stop": {"callback_rate": "0.05"}}, ["decisions[0].trailing_stop.callback_rate", "0.1"]),
        ({"trailing_stop": {"callback_rate": 5.1}}, ["decisions[0].trailing_stop.callback_rate", "5"]),
        ({"trailing_stop": {"callback_rate": 1.25}}, ["decisions[0].trailing_stop.callback_rate", "steps of 0.1"]),
        (
            {"trailing_stop": {"callback_rate": 1, "activation": 1}},
            ["decisions[0].trailing_stop.activation", "unknown field"],
        ),
        ({"action": "adjust_position"}, ["position_adjustment", "required"]),
        ({"action": "adjust_orders"}, ["order_adjustment", "required"]),
        (
            {"action": "adjust_position", "position_adjustment": {"adjustment_type": "more"}},
            ["decisions[0].position_adjustment.adjustment_type"],
        ),
        (
            {"action": "adjust_orders", "order_adjustment": {"cancel_stop": True}},
            ["decisions[0].order_adjustment.cancel_stop", "unknown field"],
        ),
    ],
)
def test_each_wrong_field_of_an_asset_is_named(change: dict[str, Any], words: list[str]) -> None:
    message = refusal(body(ITEM | change))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("outside", "word"),
    [
        ({"decision_id": ""}, "decision_id"),
        ({"decision_id": "a b"}, "decision_id"),
        ({"decision_id": "x" * 65}, "decision_id"),
        ({"decision_id": "ok\n"}, "decision_id"),
        ({"decision_id": 7.5}, "decision_id"),
        ({"decision_id": True}, "decision_id"),
        ({"account_id": ""}, "account_id"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"total_allocation_usd": -1}, "total_allocation_usd"),
        ({"decisions": []}, "decisions"),
        ({"decisions": "BTCUSDT"}, "decisions"),
        ({"decisions": [ITEM, ITEM]}, "BTCUSDT appears twice"),
        ({"decisions": [ITEM | {"asset": f"A{n}"} for n in range(201)]}, "decisions"),
    ],
)
def test_each_wrong_field_outside_is_named(outside: dict[str, Any], word: str) -> None:
    assert word in refusal(json.dumps({"decisions": [ITEM]} | outside))


def test_every_wrong_field_is_told_at_once() -> None:
    message = refusal(body(ITEM | {"sl_price": -1, "tp_prize": 5}, account_id=""))
    for word in ("account_id", "sl_price", "tp_prize"):
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"buy"',
        b"\xff\xfe",
        '{"decisions": NaN}',
        '{"x": Infinity, "decisions": []}',
        "[" * 100_000,
        '{"x": ' * 40 + "1" + "}" * 40,
        '{"x": 1e99999999999999999999}',
        '{"x": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_decision_at_all_is_refused_in_one_sentence(text: str | bytes) -> None:
    assert refusal(text)


def test_unknown_fields_outside_are_kept_with_the_record() -> None:
    decision = parse_decision(body(model="engine-7", note={"a": [1, None]}))
    assert decision.body()["model"] == "engine-7"
    assert decision.body()["note"] == {"a": [1, None]}


def test_what_was_recorded_reads_back_the_same() -> None:
    """A restart takes an unfinished decision up from its record."""
    item = ITEM | {"sl_price": 94000.5, "confidence": 78, "trailing_stop": {"callback_rate": 0.3}}
    decision = parse_decision(body(item, timestamp="2026-11-22T10:15:00"))
    again = TradingDecision.model_validate(decision.body())
    assert again == decision
    assert again.fingerprint() == decision.fingerprint()


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:15:00", "2026-11-22T10:15:00Z", "2026-11-22T12:15:00+02:00", "2026-11-22T10:15:00.000Z"]
)
def test_a_time_without_a_zone_is_utc_and_others_are_turned_into_it(text: str) -> None:
    decision = parse_decision(body(timestamp=text))
    assert decision.timestamp == datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
    assert decision.body()["timestamp"] == "2026-11-22T10:15:00.000000Z"


@given(st.decimals(min_value=Decimal("1e-15"), max_value=Decimal("1e15"), places=12))
def test_money_is_the_same_as_a_number_and_as_text(money: Decimal) -> None:
    as_text, as_number = (
        f'{{"decisions":[{{"asset":"B","action":"buy","allocation_usd":{spelt}}}]}}'
        for spelt in (f'"{money:f}"', f"{money:f}")
    )
    if money:
        first, second = parse_decision(as_text), parse_decision(as_number)
        assert first.decisions[0].allocation_usd == second.decisions[0].allocation_usd == money
        assert first.fingerprint() == second.fingerprint()


def test_the_fingerprint_sees_every_difference_that_matters() -> None:
    bodies = [
        body(),
        body(ITEM | {"action": "sell"}),
        body(ITEM | {"sl_price": 1}),
        body(ITEM | {"tp_price": 1}),
        body(ITEM | {"leverage": 1}),
        body(ITEM | {"trailing_stop": {"callback_rate": 1}}),
        body(ITEM | {"trailing_stop": {"callback_rate": 2}}),
        body(ITEM, ITEM | {"asset": "ETHUSDT"}),
        body(ITEM | {"asset": "ETHUSDT"}, ITEM),
        body(account_id="other"),
        body(timestamp="2026-11-22T10:15:00Z"),
        body(note=1),
    ]
    assert len({parse_decision(text).fingerprint() for text in bodies}) == len(bodies)


def test_null_absent_and_the_default_are_the_same() -> None:
    absent = parse_decision(body()).fingerprint()
    assert parse_decision(body(ITEM | {"sl_price": None}, account_id=None, timestamp=None)).fingerprint() == absent
    assert parse_decision(body(account_id="default")).fingerprint() == absent
