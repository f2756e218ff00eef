"""What the tables of the command line tell."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from app.cli.render import result_table


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
