"""What an action does not use is refused by name, with where it belongs; what says nothing is no matter."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import DecisionRefused
from app.schemas.decision import Action, AssetDecision, TradingDecision, parse_decision
from app.schemas.usage import PLANNED

WHOLE: dict[str, dict[str, Any]] = {
    "buy": {"allocation_usd": 1000},
    "sell": {"allocation_usd": 1000},
    "hold": {},
    "close_position": {},
    "adjust_position": {"position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": 50}},
    "adjust_orders": {"order_adjustment": {"new_sl_price": 94000}},
}
"""The least that each action needs."""

MEANS_SOMETHING: dict[str, Any] = {
    "allocation_usd": 500,
    "leverage": 5,
    "sl_price": "94000",
    "tp_price": 99000,
    "sl_percent": "2%",
    "tp_percent": 3,
    "trailing_stop": {"callback_rate": 1},
    "position_adjustment": {"new_sl_price": 95000},
    "order_adjustment": {"cancel_sl": True},
    "expected_position": "long",
}
ENTRY = MEANS_SOMETHING.keys() - {"position_adjustment", "order_adjustment"}
USED = {
    "buy": ENTRY,
    "sell": ENTRY,
    "close_position": {"expected_position"},
    "adjust_position": {"position_adjustment", "expected_position"},
    "adjust_orders": {"order_adjustment", "expected_position"},
}


def one(action: str, **fields: Any) -> AssetDecision:
    item = {"asset": "BTCUSDT", "action": action, **WHOLE[action], **fields}
    return parse_decision(json.dumps({"decisions": [item]})).decisions[0]


def refused(action: str, **fields: Any) -> DecisionRefused:
    with pytest.raises(DecisionRefused) as caught:
        one(action, **fields)
    return caught.value


def test_every_action_is_looked_at() -> None:
    assert set(WHOLE) == set(Action)


@pytest.mark.parametrize("action", WHOLE)
@pytest.mark.parametrize("name", MEANS_SOMETHING)
def test_a_field_is_used_or_refused_by_name(action: str, name: str) -> None:
    if name in USED.get(action, ()):
        assert getattr(one(action, **{name: MEANS_SOMETHING[name]}), name) is not None
        return
    refusal = refused(action, **{name: MEANS_SOMETHING[name]})
    assert (refusal.field or "").startswith(f"decisions[0].{name}")
    assert f"{action} does not use this field" in refusal.message


@pytest.mark.parametrize(
    ("action", "fields", "home"),
    [
        ("buy", {"order_adjustment": {"new_sl_price": 1}}, "belongs in sl_price"),
        ("sell", {"position_adjustment": {"new_tp_price": 1}}, "belongs in tp_price"),
        ("buy", {"position_adjustment": {"adjustment_amount_usd": 1}}, "belongs in allocation_usd"),
        ("adjust_position", {"sl_price": 1}, "belongs in position_adjustment.new_sl_price"),
        ("adjust_position", {"allocation_usd": 1}, "belongs in position_adjustment.adjustment_amount_usd"),
        ("adjust_position", {"order_adjustment": {"cancel_tp": True}}, "with the action adjust_orders"),
        ("adjust_orders", {"tp_price": 1}, "belongs in order_adjustment.new_tp_price"),
        (
            "adjust_orders",
            {"position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": 5}},
            "with the action adjust_position",
        ),
        ("close_position", {"sl_price": 1}, "use adjust_orders"),
        ("hold", {"trailing_stop": {"callback_rate": 1}}, "leave it out"),
    ],
)
def test_the_refusal_says_where_it_belongs(action: str, fields: dict[str, Any], home: str) -> None:
    assert home in refused(action, **fields).message


def test_every_misplaced_field_and_every_wrong_one_are_told_at_once() -> None:
    message = refused("buy", order_adjustment={"new_sl_price": 1, "new_tp_price": 2}, leverage=0.5, sl=3).message
    for word in ("new_sl_price", "new_tp_price", "leverage", "decisions[0].sl:"):
        assert word in message


@pytest.mark.parametrize("action", WHOLE)
def test_null_says_nothing_on_any_action(action: str) -> None:
    flags = {"adjust_tp": False, "adjust_sl": False, "new_tp_price": None, "cancel_tp": False, "cancel_sl": None}
    sizes = {"adjustment_type": None, "adjustment_amount_usd": None}
    empty = {
        **dict.fromkeys(MEANS_SOMETHING.keys() | PLANNED),
        "order_adjustment": flags,
        "position_adjustment": sizes,
        **WHOLE[action],
    }
    assert one(action, **empty) == one(action)


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0.00", "", None, False])
@pytest.mark.parametrize("name", ["leverage", "sl_price", "tp_price", "trailing_stop", "risk_usd"])
def test_zeros_on_a_hold_mean_absent(name: str, zero: Any) -> None:
    assert one("hold", **{name: zero}) == one("hold")


def test_a_hold_full_of_zeros_in_blocks_is_a_hold() -> None:
    blocks = {"order_adjustment": {"new_sl_price": 0, "adjust_sl": False}, "position_adjustment": {}}
    assert one("hold", allocation_usd=0, leverage=0, confidence=55, exit_plan="", **blocks).action is Action.HOLD
    assert refused("hold", order_adjustment={"adjust_sl": True}).field == "decisions[0].order_adjustment.adjust_sl"


@pytest.mark.parametrize("action", ["buy", "sell"])
@pytest.mark.parametrize("block", ["order_adjustment", "position_adjustment"])
def test_a_zero_in_a_block_that_an_entry_does_not_use_is_refused(action: str, block: str) -> None:
    assert refused(action, **{block: {"new_sl_price": 0}}).field == f"decisions[0].{block}.new_sl_price"


def test_leverage_is_used_by_an_increase_alone() -> None:
    increase = {"adjustment_type": "increase", "adjustment_amount_usd": 100}
    assert one("adjust_position", position_adjustment=increase, leverage=3).leverage == 3
    assert refused("adjust_position", leverage=3).field == "decisions[0].leverage"


@pytest.mark.parametrize("kind", ["increase", "decrease"])
def test_a_change_of_size_without_a_size_is_refused(kind: str) -> None:
    change = {"adjustment_type": kind, "new_sl_price": 95000}
    assert f"{kind} by how much" in refused("adjust_position", position_adjustment=change).message


@pytest.mark.parametrize("name", sorted(PLANNED))
@pytest.mark.parametrize("action", ["buy", "sell", "adjust_orders"])
def test_a_planned_field_is_refused_as_planned(action: str, name: str) -> None:
    refusal = refused(action, **{name: [{"fraction": 1}]})
    assert (refusal.field or "").startswith(f"decisions[0].{name}")
    assert "planned" in refusal.message


@pytest.mark.parametrize("leg", ["tp", "sl"])
def test_a_price_beside_a_false_flag_is_restated_not_moved(leg: str) -> None:
    other = {"tp": "sl", "sl": "tp"}[leg]
    orders = {f"adjust_{leg}": False, f"new_{leg}_price": 1, f"new_{other}_price": 2, f"cancel_{leg}": False}
    change = one("adjust_orders", order_adjustment=orders).order_adjustment
    assert change is not None
    moved = {"tp": change.moved_target, "sl": change.moved_stop}
    assert moved == {leg: None, other: 2}
    assert change.ignored == (f"order_adjustment.new_{leg}_price 1 was ignored: adjust_{leg} is false",)


def test_nothing_but_false_flags_is_nothing_to_do() -> None:
    orders = {"adjust_sl": False, "adjust_tp": False, "new_sl_price": 94000, "new_tp_price": 99000}
    assert "nothing to do" in refused("adjust_orders", order_adjustment=orders).message


AROUND = {
    **MEANS_SOMETHING,
    "asset": "BTCUSDT",
    "action": "buy",
    "new_sl_price": 94000,
    "cancel_sl": True,
    "callback_rate": 1,
    "stop_loss": 94000,
    "take_profit": 0,
    "risk_percent": 1,
    "take_profits": [1],
}


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["ours", "DecisionResult"])
def test_what_trades_does_not_stand_around_the_decisions(name: str, *, is_wrapped: bool) -> None:
    """P16: kept with the record and ignored, an exit there leaves the entry bare."""
    ours = {"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": 1000}]}
    around = {name: AROUND[name]}
    document = {"decision": ours, "validation_passed": True, **around} if is_wrapped else {**ours, **around}
    with pytest.raises(DecisionRefused, match=f"^{name}: ") as caught:
        parse_decision(json.dumps(document))
    assert caught.value.field == name
    body = {**ours, **around} if is_wrapped else document
    assert TradingDecision.from_record(body).decisions  # as it was accepted


def test_remarks_around_the_decisions_and_what_says_nothing_are_kept() -> None:
    remarks = {"confidence": 80, "rationale": "r", "tags": ["a"], "note": "n", "sl_price": None, "cancel_sl": False}
    document = {"decisions": [{"asset": "BTCUSDT", "action": "hold"}], **remarks}
    assert remarks.items() <= parse_decision(json.dumps(document)).body().items()


def test_a_record_is_read_as_it_was_accepted() -> None:
    """By looser rules, and with what could not be read as it was told then."""
    older = {"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": "5", "order_adjustment": {}}]}
    assert TradingDecision.from_record(older).decisions[0].order_adjustment is None
    said = [{"asset": "ETHUSDT", "action": "fly", "sl": 1.5}, {"asset": "B", "action": "hold"}, 7]
    decision = parse_decision(json.dumps({"decisions": said}))
    again = TradingDecision.from_record(json.loads(json.dumps(decision.body())))
    assert [item.asset for item in again.items] == ["ETHUSDT", "B", "decisions[2]"]
    assert [one.problem for one in again.unreadable] == [one.problem for one in decision.unreadable]


def test_of_a_document_that_can_be_read_in_part_the_rest_is_kept() -> None:
    said = [{"asset": "ETHUSDT", "action": "buy"}, {"asset": "B", "action": "close_position"}, {"action": "hold"}]
    decision = parse_decision(json.dumps({"decisions": said}))
    assert [item.asset for item in decision.decisions] == ["B"]
    assert [(one.place, one.asset, one.action) for one in decision.unreadable] == [
        (0, "ETHUSDT", Action.BUY),
        (2, "decisions[2]", Action.HOLD),
    ]
    assert "allocation_usd must be above 0" in decision.unreadable[0].problem


@pytest.mark.parametrize(
    "document",
    [
        {"decisions": [{"asset": "B", "action": "fly"}, {"asset": "C"}]},
        {"decisions": [{"asset": "B", "action": "fly"}, {"asset": "B", "action": "hold"}]},
        {"decisions": [{"asset": "B", "action": "fly"}, {"asset": "B", "action": "fly"}, {"asset": "C"}]},
        {"decisions": [{"asset": "B", "action": "fly"}, {"asset": "C", "action": "hold"}], "account_id": ""},
        {"decisions": [{"asset": "B", "action": "fly"}] + [{"asset": str(n), "action": "hold"} for n in range(200)]},
    ],
    ids=["nothing", "twice", "twice unread", "outside", "too many"],
)
def test_what_is_wrong_with_the_whole_document_refuses_it(document: dict[str, Any]) -> None:
    with pytest.raises(DecisionRefused):
        parse_decision(json.dumps(document))


def test_what_could_not_be_read_is_part_of_the_fingerprint() -> None:
    documents = [
        {"decisions": [{"asset": "B", "action": "hold"}]},
        {"decisions": [{"asset": "B", "action": "hold"}, {"asset": "C", "action": "fly"}]},
        {"decisions": [{"asset": "B", "action": "hold"}, {"asset": "C", "action": "run"}]},
    ]
    assert len({parse_decision(json.dumps(one)).fingerprint() for one in documents}) == len(documents)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("allocation_usd", "1,000", 1000),
        ("allocation_usd", "1,234,567.5", Decimal("1234567.5")),
        ("tp_price", " 99,000 ", 99000),
        ("leverage", "10x", 10),
        ("leverage", "10X", 10),
        ("confidence", "85%", 85),
    ],
)
def test_usual_spellings_of_numbers_are_understood(field: str, text: str, value: Any) -> None:
    assert getattr(one("buy", **{field: text}), field) == value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("allocation_usd", "1,00"),
        ("allocation_usd", "1.000,5"),
        ("allocation_usd", ",100"),
        ("allocation_usd", "1_000"),
        ("allocation_usd", "１０００"),
        ("allocation_usd", "$1000"),
        ("allocation_usd", "1000x"),
        ("allocation_usd", "50%"),
        ("sl_price", "~94000"),
        ("sl_price", "94k"),
        ("sl_price", "2%"),
        ("leverage", "x"),
        ("leverage", "10xx"),
        ("confidence", "%"),
        ("confidence", "high"),
    ],
)
def test_a_number_that_would_have_to_be_guessed_is_refused(field: str, text: str) -> None:
    assert refused("buy", **{field: text}).field == f"decisions[0].{field}"


@pytest.mark.parametrize(
    "around", ["{}", "\ufeff{}", "```json\n{}\n```", "\n```\r\n{}\r\n```\n", "\ufeff```JSON \n{}\n```"]
)
def test_a_fence_and_a_byte_order_mark_are_dropped(around: str) -> None:
    text = around.replace("{}", '{"decisions": [{"asset": "B", "action": "hold", "rationale": "```json\\n{}\\n```"}]}')
    assert parse_decision(text.encode()).decisions[0].rationale == "```json\n{}\n```"


@pytest.mark.parametrize(
    "text", ["here it is:\n```json\n{}\n```", "```json\n{}\n```\ndone", "```\n{}\n```\n```\n{}\n```"]
)
def test_anything_beside_a_fence_is_refused(text: str) -> None:
    with pytest.raises(DecisionRefused, match="not JSON"):
        parse_decision(text.replace("{}", '{"decisions": [{"asset": "B", "action": "hold"}]}'))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"decisions":[{"asset":"B","action":"hold","action":"buy"}]}', "action"),
        ('{"decisions":[{"asset":"B","action":"buy","trailing_stop":{"x":1,"x":1}}]}', "x"),
        ('{"decision_id":"a","decision_id":"b","decisions":[{"asset":"B","action":"hold"}]}', "decision_id"),
        ('{"note":{"\\ud800":1,"\\ud800":2},"decisions":[{"asset":"B","action":"hold"}]}', "?"),
    ],
)
def test_a_key_that_comes_twice_is_refused_by_name(text: str, name: str) -> None:
    with pytest.raises(DecisionRefused, match="comes twice") as caught:
        parse_decision(text)
    assert caught.value.field == name


def test_ids_may_be_whole_numbers() -> None:
    decision = parse_decision('{"account_id":1,"decision_id":12345,"decisions":[{"asset":"B","action":"hold"}]}')
    assert (decision.account_id, decision.decision_id) == ("1", "12345")


@pytest.mark.parametrize(("source", "is_right"), [("engine-7", True), ("x" * 64, True), ("", False), ("x" * 65, False)])
def test_the_source_is_a_name(source: str, is_right: bool) -> None:
    text = json.dumps({"source": source, "decisions": [{"asset": "B", "action": "hold"}]})
    if is_right:
        assert parse_decision(text).body()["source"] == source
    else:
        with pytest.raises(DecisionRefused, match="source"):
            parse_decision(text)


@pytest.mark.parametrize("leg", ["sl", "tp"])
def test_a_percentage_stands_for_a_price(leg: str) -> None:
    assert getattr(one("buy", **{f"{leg}_percent": "1.5%"}), f"{leg}_percent") == Decimal("1.5")
    for wrong in (0, 101, -1):
        assert refused("sell", **{f"{leg}_percent": wrong}).field == f"decisions[0].{leg}_percent"
    assert "one of the two" in refused("buy", **{f"{leg}_percent": 1, f"{leg}_price": 2}).message
