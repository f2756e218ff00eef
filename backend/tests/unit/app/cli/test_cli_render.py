"""What the tables of the command line tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from app.cli.common import print_json
from app.cli.ready import _words
from app.cli.render import (
    EventLine,
    closes,
    console,
    findings,
    halted,
    positions_table,
    reconciliation,
    result_table,
)

KEYS = ("kind", "asset", "detail")
NOW = "2026-01-02T03:04:05.000000Z"


@pytest.mark.parametrize(("took_ms", "told"), [(2.5, "8.5"), (None, "–")])
def test_the_time_to_protection_is_told_of_what_was_protected(took_ms: float | None, told: str) -> None:
    """An entry that was closed in an emergency was sent and filled, and never protected."""
    timings = {"received_to_sent": 1.0, "sent_to_filled": 5.0, "filled_to_protected": took_ms}
    item: dict[str, Any] = {"asset": "BTCUSDT", "action": "buy", "status": "emergency_closed", "timings_ms": timings}
    console = Console(width=200)
    with console.capture() as shown:
        console.print(result_table({"decision_id": "d-1", "status": "failed", "is_paper": True, "results": [item]}))
    header, _, row = [line for line in shown.get().splitlines() if line.strip()][1:4]
    assert header.split()[-1] == "protected"
    assert row.split()[-1] == told


HOSTILE = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e[/][red]flat[link=http://x]:bomb:"


@pytest.mark.parametrize(
    "view",
    [
        lambda text: halted({"accounts": [{"account_id": text, "halt": {"reason": text}}]}, is_flattened=False),
        lambda text: closes([{"account_id": "a", "asset": text, "status": text, "error": {"message": text}}]),
        lambda text: reconciliation(
            {"account_id": text, "positions": 0, "open_orders": 0, "differences": [dict.fromkeys(KEYS, text)]}
        ),
        lambda text: EventLine({"seq": 1, "time": NOW, "type": text, "asset": text, "summary": text}),
        lambda text: findings([{"verdict": "OK", "check": text, "message": text, "fix": text}]),
        lambda text: text,
    ],
    ids=["halted", "closes", "reconciliation", "event", "findings", "line"],
)
def test_what_others_wrote_is_shown_and_does_nothing(view: Callable[[str], Any]) -> None:
    """No colour, no title, no move of the cursor, no turned text, and no markup of ours either."""
    shown = console()
    shown.width = 1000
    with shown.capture() as written:
        shown.print(view(HOSTILE))
    assert not set("\x1b\x07\r\x9b\u202e") & set(written.get())
    assert "[red]flat" in written.get()
    assert ":bomb:" in written.get()


def test_json_for_a_terminal_escapes_what_it_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reason": HOSTILE}, is_line=True)
    written = capsys.readouterr().out
    assert not set("\x1b\x07\r\x9b\u202e") & set(written)
    assert json.loads(written) == {"reason": HOSTILE}


def printed(view: Any) -> str:
    """What a table or a line looks like where there is room."""
    shown = console()
    shown.width = 200
    with shown.capture() as written:
        shown.print(view)
    return written.get()


def test_a_price_keeps_its_digits_however_small_it_is() -> None:
    position = {
        "account_id": "a",
        "asset": "1000XUSDT",
        "side": "long",
        "quantity": "7",
        "trade_id": "t",
        "status": "open",
        "entry_price": "0.000012345678901234",
        "mark_price": "0.000012",
        "leverage": 5,
        "unrealised_pnl": "0",
    }
    assert " 0.0000123456789 " in printed(positions_table([position]))
    assert " 96012.33333 " in printed(positions_table([{**position, "entry_price": "96012.3333333333333333"}]))


@pytest.mark.parametrize(
    ("trade_id", "status", "told"),
    [("t", "protecting", "unprotected"), ("t", "open", "open"), ("t", "closing", "closing"), (None, None, "external")],
)
def test_a_position_is_told_with_what_its_exits_are_like(trade_id: str | None, status: str | None, told: str) -> None:
    position = {
        "account_id": "a",
        "asset": "BTCUSDT",
        "side": "long",
        "quantity": "7",
        "mark_price": "1",
        "leverage": 5,
        "entry_price": "1",
        "unrealised_pnl": "0",
        "trade_id": trade_id,
        "status": status,
    }
    assert f" {told} " in printed(positions_table([position]))


def test_a_halted_service_is_not_called_ready() -> None:
    assert _words({"accounts": ["a"], "halted": []}) == "ready: a"
    assert _words({"accounts": ["a"], "halted": ["a"]}).startswith("HALTED: a: ")
    assert _words({"accounts": ["a", "b"], "halted": ["b"]}).startswith("ready: a; HALTED: b: ")
