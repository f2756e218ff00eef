"""Trace ids: the sender's own where it has one, else the same one everywhere."""

from __future__ import annotations

import pytest

from app.domain.tracing import trace_id_of
from app.schemas.decision import TradingDecision, parse_decision

THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{THEIRS}-00f067aa0ba902b7-01"


def test_a_traceparent_names_the_trace() -> None:
    assert trace_id_of("d-1", PARENT) == THEIRS


@pytest.mark.parametrize(
    "unreadable",
    [
        None,
        7,
        "",
        PARENT.upper(),
        f"{PARENT} ",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{THEIRS}-{'0' * 16}-01",
        f"00-{THEIRS[:-1]}-00f067aa0ba902b7-01",
        "x\nforged=1",
    ],
)
def test_without_a_readable_one_the_id_alone_decides(unreadable: object) -> None:
    own = trace_id_of("d-1", unreadable)
    assert own == trace_id_of("d-1")
    assert len(own) == 32
    assert int(own, 16)
    assert own != trace_id_of("d-2")


def decision(**fields: object) -> TradingDecision:
    return TradingDecision.model_validate({"decisions": [{"asset": "BTCUSDT", "action": "hold"}], **fields})


def test_the_same_decision_in_another_trace_is_the_same_decision() -> None:
    traced = decision().traced(PARENT)
    assert traced.fingerprint() == decision().fingerprint() == decision(traceparent="nonsense").fingerprint()
    assert traced.trace_id("d-1") == THEIRS
    assert traced.body()["traceparent"] == PARENT
    assert parse_decision(traced.model_dump_json()).trace_id("d-1") == THEIRS


def test_a_header_wins_over_the_body_and_nothing_is_refused_for_its_trace() -> None:
    other = f"00-{'a' * 32}-00f067aa0ba902b7-01"
    assert decision(traceparent=other).trace_id("d-1") == "a" * 32
    assert decision(traceparent=other).traced(PARENT).trace_id("d-1") == THEIRS
    assert decision(traceparent=["no", "text"]).trace_id("d-1") == trace_id_of("d-1")
