"""Every type of event has a sentence, whatever its data holds or lacks."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from app.cli.render import EventLine
from app.domain.events import Event, EventType, RecordedEvent
from app.schemas.event_data import EVENT_DATA
from app.schemas.event_summary import summary_of
from app.schemas.events import EventDocument, event_document

ORDER: dict[str, Any] = {
    "client_order_id": "tes.1.s1", "order_id": 7, "role": "stop_loss", "side": "SELL", "type": "STOP_MARKET",
    "status": "NEW", "quantity": "0.010", "price": None, "stop_price": "94000", "executed_quantity": "0",
    "average_price": "0", "reason": None, "exchange_code": None,
}  # fmt: skip
TRADE: dict[str, Any] = {
    "status": "open", "side": "long", "quantity": "0.01", "filled_quantity": "0.01", "exposure": "0.01",
    "entry_price": "96001.23809523809523", "leverage": 10, "deadline_at": None,
}  # fmt: skip
CLOSED = TRADE | {
    "status": "closed", "close_reason": "take_profit", "exit_price": "99000", "realised_pnl": "29.98", "funding": "0",
    "commission": "0.78", "commission_asset": "USDT", "commissions": [{"asset": "USDT", "amount": "0.78"}],
}  # fmt: skip
RESULT: dict[str, Any] = {"asset": "BTCUSDT", "action": "buy", "status": "partially_protected", "success": False}
DECISION: dict[str, Any] = {"status": "partial", "success": False, "results": [RESULT]}
HALT: dict[str, Any] = {
    "reason": "news", "since": "2026-12-01T00:00:00+00:00", "is_automatic": False, "flatten": True,
}  # fmt: skip
DRIFT: dict[str, Any] = {
    "kind": "order_unrecorded", "asset": "BTCUSDT", "detail": "open on the exchange, recorded as REJECTED",
    "action": "taken over by its trade", "trade_id": "1", "client_order_id": "tes.1.r1",
}  # fmt: skip
SAID: dict[EventType, tuple[dict[str, Any], str]] = {
    EventType.DECISION_RECEIVED: ({"assets": ["BTCUSDT", "ETHUSDT"]}, "on record, for BTCUSDT, ETHUSDT"),
    EventType.DECISION_REJECTED: (DECISION, "partial: BTCUSDT partially protected"),
    EventType.DECISION_COMPLETED: (DECISION, "partial: BTCUSDT partially protected"),
    EventType.ORDER_PLACED: (ORDER, "stop loss SELL STOP_MARKET 0.01 at 94000 new"),
    EventType.ORDER_UPDATED: (
        ORDER | {"status": "UNKNOWN", "unknown_seconds": 2.5},
        "stop loss SELL STOP_MARKET 0.01 at 94000 unknown after 2.5 s of doubt",
    ),
    EventType.ORDER_FILLED: (
        ORDER | {"role": "entry", "type": "MARKET", "stop_price": None, "average_price": "96000.5", "status": "FILLED"},
        "entry SELL MARKET 0.01 filled at 96000.5",
    ),
    EventType.ORDER_REJECTED: (
        ORDER | {"status": "REJECTED", "reason": "no", "quantity": None},
        "stop loss SELL STOP_MARKET the whole position at 94000 rejected (no)",
    ),
    EventType.ORDER_CANCELED: (ORDER | {"status": "CANCELED"}, "stop loss SELL STOP_MARKET 0.01 at 94000 canceled"),
    EventType.POSITION_UPDATED: (
        {
            "quantity": "-0.5",
            "entry_price": "3500",
            "unrealised_pnl": "-1.2",
            "position_side": "BOTH",
            "reason": "ORDER",
        },
        "-0.5 held at 3500 unrealised PnL -1.2 (ORDER)",
    ),
    EventType.TRADE_OPENED: (TRADE, "long 0.01 at 96001.23809524 10x open"),
    EventType.TRADE_PROTECTED: (TRADE, "long 0.01 at 96001.23809524 10x open"),
    EventType.PROTECTION_FAILED: (
        TRADE | {"status": "closing", "error": {"code": "protection_failed", "message": "no stop"}},
        "long 0.01 at 96001.23809524 10x closing (no stop)",
    ),
    EventType.TRADE_CLOSED: (CLOSED, "long 0.01 at 96001.23809524 10x closed by take profit at 99000 PnL 29.98"),
    EventType.EMERGENCY_CLOSE: (TRADE | {"status": "closing"}, "long 0.01 at 96001.23809524 10x closing"),
    EventType.RECONCILIATION_COMPLETED: (
        {"differences": 1, "positions": 2},
        "1 difference from the exchange, 2 open there",
    ),
    EventType.DRIFT_FOUND: (
        DRIFT,
        "order unrecorded: open on the exchange, recorded as REJECTED; taken over by its trade",
    ),
    EventType.ALERT_RAISED: (
        {"severity": "critical", "code": "halted", "message": "look into it"},
        "critical: look into it",
    ),
    EventType.HALTED: (HALT, "entries are stopped, and everything is closed: news"),
    EventType.RESUMED: ({"was": HALT}, "entries are accepted again; it was: news"),
    EventType.STREAM_CONNECTED: ({"had_gap": True}, "the account stream is up; what it missed is being compared"),
    EventType.STREAM_LOST: ({"reason": "timed out"}, "the account stream is down: timed out"),
    EventType.WEBHOOK_REFUSED: (
        {"status": 422, "code": "validation_error", "reason": "no price", "ticker": "BTCUSDT"},
        "an alert for BTCUSDT was refused with validation_error: no price",
    ),
}


def document(type_: EventType, data: dict[str, Any]) -> dict[str, Any]:
    event = Event(
        id="e", type=type_, time=datetime(2026, 12, 1, tzinfo=UTC), account_id="default", is_paper=True, data=data
    )
    return event_document(RecordedEvent(1, event))


@pytest.mark.parametrize("type_", EventType)
def test_each_event_is_told_in_a_sentence(type_: EventType) -> None:
    data, sentence = SAID[type_]
    EVENT_DATA[type_].model_validate(data)
    shown = document(type_, data)
    assert EventDocument.model_validate(shown).summary == sentence
    console = Console(file=io.StringIO(), width=200)
    console.print(EventLine(shown))
    assert isinstance(console.file, io.StringIO)
    assert sentence in " ".join(console.file.getvalue().split())


@pytest.mark.parametrize("type_", EventType)
def test_an_event_of_another_version_that_lacks_everything_is_told_too(type_: EventType) -> None:
    assert summary_of(type_, {}) is not None
    assert summary_of(type_, dict.fromkeys(SAID[type_][0])) is not None
