"""The words of an alert: what, how bad, where, when, how often, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.domain.events import Event, EventType
from app.events.alerts.digest import Item, Message
from app.events.alerts.letters import LINES, compose, notice_of

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def item(times: int = 1, since_s: float | None = None, severity: str = "critical", **fields: Any) -> Item:
    data = {"severity": severity, "code": "late_fill", "message": "an order was executed after all"}
    about: dict[str, Any] = {"account_id": "main", "asset": "BTCUSDT"} | fields
    event = Event(id="1", type=EventType.ALERT_RAISED, time=NOW, is_paper=False, data=data, **about)
    return Item(notice_of(event), times, since_s)


def test_the_title_says_where_the_money_is_how_bad_it_is_and_what_it_is_about() -> None:
    assert compose(Message(True, (item(),)), "LIVE").title == "TES LIVE CRITICAL main BTCUSDT"
    about_the_account = Message(False, (item(severity="warning", asset=None),))
    assert compose(about_the_account, "paper").title == "TES paper WARNING main"


def test_the_text_begins_with_the_sentence_and_ends_with_what_to_do() -> None:
    lines = compose(Message(True, (item(trade_id="t1", decision_id="d1"),)), "LIVE").body.split("\n")
    assert lines[0] == "an order was executed after all"
    assert lines[2:6] == ["code: late_fill", "time: 2026-11-22T10:15:00+00:00", "trade: t1", "decision: d1"]
    assert lines[-1].startswith("What to do (docs/operations.md#late_fill): An order that had been given up")


def test_repetitions_are_counted() -> None:
    body = compose(Message(True, (item(3, 300.0),)), "LIVE").body
    assert "(3 more times in the last 5 min; this is the newest)" in body
    assert "(1 more time in the last 30 s; " in compose(Message(True, (item(1, 30.0),)), "LIVE").body
    assert "(4 times; this is the newest)" in compose(Message(True, (item(4),)), "LIVE").body


def test_a_gathered_message_names_each_alert() -> None:
    letter = compose(Message(True, (item(asset="ETHUSDT"), item(2, 60.0)), 7), "testnet")
    assert letter.title == "TES testnet CRITICAL: 10 alerts"
    assert letter.body.split("\n") == [
        "- 10:15:00 main ETHUSDT late_fill: an order was executed after all",
        "- 10:15:00 main BTCUSDT late_fill: an order was executed after all (2 more times in the last 60 s)",
        "- and 7 more, which 'tes events' shows",
        "",
        "What to do: docs/operations.md, late_fill",
    ]


def test_many_warnings_are_shortened_and_critical_alerts_never() -> None:
    many = tuple(item(asset=f"A{number}") for number in range(LINES + 5))
    assert "- and 5 more" in compose(Message(False, many), "LIVE").body
    critical = compose(Message(True, many), "LIVE").body
    assert all(f" A{number} " in critical for number in range(LINES + 5))
    assert "more" not in critical
