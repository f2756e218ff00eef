"""What the client tells of its troubles, and what is kept of it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from story import START

from app.domain.troubles import SilenceAsked
from app.schemas.fields import iso
from app.services.execution.commands import Alert
from app.services.execution.troubles import TroubleDesk


@pytest.mark.parametrize(("silent_for_s", "kept_s"), [(0.0, 10), (100.0, 100)], ids=["first", "while silent"])
def test_a_silence_on_record_is_never_shortened(silent_for_s: float, kept_s: int) -> None:
    """L1: another account of the address was told to wait for longer."""
    kept: dict[str, dict[str, object]] = {}
    told: list[Alert] = []
    client: Any = SimpleNamespace(silent_for_s=silent_for_s)
    anything: Any = SimpleNamespace
    flags = anything(raise_flag=kept.__setitem__)
    desk = TroubleDesk(client, flags, anything(now=lambda: START), anything(), told.append, "host https://exchange")
    desk.take(SilenceAsked(wait_s=10.0, is_ban=False))
    assert kept == {
        "silence:host https://exchange": {"until": iso(START + timedelta(seconds=kept_s)), "seconds": kept_s}
    }
    assert [alert.code for alert in told] == ["rate_limited"]
