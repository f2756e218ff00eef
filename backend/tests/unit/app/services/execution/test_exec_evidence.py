"""What is read for evidence, and from when on."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from story import WHOLE, Story

from app.domain.reports import FillReport
from app.services.execution.evidence import Evidence


async def test_entry_found_long_after_it_was_executed_is_accounted_with_its_own_fill() -> None:
    """C1, H5: after an outage the first fill is learned hours late; the exchange booked it when it happened."""
    story = Story()
    executed = story.fill(story.entry, WHOLE)
    outage = timedelta(hours=3)
    story.now += outage
    story.fill_entry()
    assert story.trade.first_fill_at is not None
    assert story.trade.first_fill_at >= executed.time + outage

    async def user_trades(_symbol: str, since: datetime) -> list[FillReport]:
        return [executed] if since <= executed.time else []

    client: Any = SimpleNamespace(user_trades=user_trades, exchange_time=lambda: story.now)
    clock: Any = SimpleNamespace(now=lambda: story.now, sleep=None)
    accounted = await Evidence(client, clock).account_for(story.trade)
    assert accounted.fills == (executed,)
