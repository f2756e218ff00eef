"""Documents of other engines: read where they are named, recognised where they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.errors import DecisionRefused
from app.domain.formats import DecisionFormat
from app.schemas.decision import parse_decision

OURS = {"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": 700, "sl_price": 93000}]}
NOFX = [
    {
        "symbol": "BTCUSDT",
        "action": "open_long",
        "leverage": 4,
        "position_size_usd": 700,
        "stop_loss": 93000,
        "take_profit": 98000,
        "confidence": 80,
        "risk_usd": 15,
        "reasoning": "breakout",
    },
    {"symbol": "ETHUSDT", "action": "wait", "leverage": 0, "position_size_usd": 0, "stop_loss": 0, "risk_usd": 0},
]
NOCTURNE = {
    "reasoning": "trend",
    "trade_decisions": [
        {"asset": "BTC", "action": "sell", "allocation_usd": 250.5, "tp_price": 93000.0, "sl_price": 97000.0},
        {"asset": "ETH", "action": "hold", "allocation_usd": 0, "tp_price": None, "exit_plan": "", "rationale": "r"},
    ],
}
NOF1 = {"BTC": {"trade_signal_args": {"coin": "BTC", "signal": "buy_to_enter", "quantity": 0.02, "stop_loss": 93000}}}
ROMA = [{"action": "close_short", "symbol": "ETHUSDT", "close_quantity_pct": 0.5}]


def read(document: Any, shape: str | None = None) -> dict[str, Any]:
    decision = parse_decision(json.dumps(document), None if shape is None else DecisionFormat(shape))
    assert not decision.unreadable
    return decision.body()


def refusal(document: Any, shape: str | None = None) -> str:
    with pytest.raises(DecisionRefused) as caught:
        read(document, shape)
    return caught.value.message


def test_the_decision_in_a_result_is_read_and_the_rest_kept() -> None:
    around = {"context": {"account_id": 1}, "validation_passed": True, "validation_errors": [], "model_used": "m"}
    body = read({"decision": OURS, "api_cost": 0.02, **around})
    assert body["decisions"] == read(OURS)["decisions"]
    assert (body["model_used"], body["api_cost"]) == ("m", "0.02")
    assert "account_id" not in body, "the context is the engine's own"


def test_an_id_around_the_decision_counts_where_it_has_none() -> None:
    around = {"validation_passed": True, "decision_id": "outer"}
    assert read({"decision": {**OURS, "decision_id": None}, **around})["decision_id"] == "outer"
    assert read({"decision": {**OURS, "decision_id": "inner"}, **around})["decision_id"] == "inner"


@pytest.mark.parametrize("passed", [False, None, "true", 1])
def test_what_its_engine_refused_is_refused_with_the_engines_words(passed: Any) -> None:
    errors = ["allocation exceeds balance", "no stop"]
    message = refusal({"decision": OURS, "validation_passed": passed, "validation_errors": errors})
    assert "allocation exceeds balance; no stop" in message
    assert "validation_passed" in refusal({"decision": None, "validation_passed": passed})


def test_a_result_without_a_decision_is_refused() -> None:
    assert "decision" in refusal({"decision": None, "validation_passed": True})


def test_nofx_is_read_by_its_name() -> None:
    body = read(NOFX, "nofx")
    entry, wait = body["decisions"]
    assert entry == {
        "asset": "BTCUSDT",
        "action": "buy",
        "allocation_usd": "700",
        "leverage": "4",
        "sl_price": "93000",
        "tp_price": "98000",
        "confidence": "80",
        "rationale": "breakout",
    }
    assert (wait["asset"], wait["action"]) == ("ETHUSDT", "hold")
    assert body["said"][0]["risk_usd"] == 15


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ({"action": "open_short", "position_size_usd": 9}, {"action": "sell", "allocation_usd": "9"}),
        ({"action": "close_long"}, {"action": "close_position", "expected_position": "long"}),
        ({"action": "close_short", "leverage": 0}, {"action": "close_position", "expected_position": "short"}),
        (
            {"action": "update_stop_loss", "new_stop_loss": 9, "new_take_profit": 0},
            {"action": "adjust_orders", "order_adjustment": {"new_sl_price": "9"}},
        ),
        (
            {"action": "update_take_profit", "new_take_profit": 9},
            {"action": "adjust_orders", "order_adjustment": {"new_tp_price": "9"}},
        ),
        (
            {"action": "partial_close", "close_percentage": 40},
            {
                "action": "adjust_position",
                "position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": "40"},
            },
        ),
    ],
)
def test_each_action_of_nofx_has_its_place(said: dict[str, Any], ours: dict[str, Any]) -> None:
    assert read([{"symbol": "B", **said}], "nofx")["decisions"] == [{"asset": "B", **ours}]


@pytest.mark.parametrize(
    "wrong", [{"stoploss": 1}, {"stop_loss": 0}, {"action": "open"}, {"new_stop_loss": 1}, {"x": 1}]
)
def test_what_nofx_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    assert "decisions[0]" in refusal([{**NOFX[0], **wrong}], "nofx")


def test_nocturne_is_read_by_its_name() -> None:
    body = read(NOCTURNE, "nocturne")
    assert [(item["asset"], item["action"]) for item in body["decisions"]] == [("BTC", "sell"), ("ETH", "hold")]
    assert body["decisions"][0]["sl_price"] == "97000"
    assert body["reasoning"] == "trend"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (NOFX, ["NOFX", "format=nofx", "--format nofx"]),
        (NOCTURNE, ["Nocturne", "format=nocturne"]),
        (NOF1, ["nof1", "trade_signal_args", '"decisions"']),
        (ROMA, ["ROMA", "close_quantity_pct", '"decisions"']),
        (OURS["decisions"], ["list of decisions", '"decisions"']),
        (OURS["decisions"][0], ["one asset", '"decisions"']),
        ({}, ["a JSON object with a field 'decisions'"]),
        ([], ["a JSON object with a field 'decisions'"]),
        (7, ["a JSON object with a field 'decisions'"]),
    ],
    ids=["nofx", "nocturne", "nof1", "roma", "list", "one", "empty", "none", "number"],
)
def test_another_shape_is_recognised(document: Any, words: list[str]) -> None:
    message = refusal(document)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"asset": "ETHUSDT"}, "asset"),
        ({"sl_price": 93001}, "sl_price"),
        ({"tp_price": 1}, "tp_price"),
        ({"allocation_usd": 1}, "allocation_usd"),
        ({"action": "close_long", "expected_position": "short"}, "expected_position"),
        ({"action": "partial_close", "close_percentage": 5, "position_adjustment": {}}, "position_adjustment"),
    ],
)
def test_one_thing_by_two_names_of_nofx_says_one_thing(said: dict[str, Any], name: str) -> None:
    """Of two values the last one won, unseen."""
    assert f"decisions[0].{name}: said by two names" in refusal([{**NOFX[0], **said}], "nofx")
    same = {"asset": "BTCUSDT", "sl_price": 93000, "tp_price": None}
    assert read([{**NOFX[0], **same}], "nofx")["decisions"] == read(NOFX[:1], "nofx")["decisions"]


@pytest.mark.parametrize("shape", ["nofx", "nocturne"])
def test_our_shape_under_another_name_is_refused(shape: str) -> None:
    assert f"format={shape}" in refusal(OURS, shape)
