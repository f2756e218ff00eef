"""What the tables of the command line tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from app.cli.common import print_json
from app.cli.render import EventLine, closes, console, findings, halted, reconciliation, result_table

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
