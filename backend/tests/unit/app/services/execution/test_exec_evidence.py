"""What is read for evidence, and from when on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from story import WHOLE, Story

from app.domain.errors import Unavailable
from app.domain.reports import FillReport, OrderReport, PositionReport
from app.services.execution import facts
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


async def test_a_history_that_can_not_be_read_keeps_nobody_from_what_was_read_before_it() -> None:
    """H5, U1: what the position and the orders say is told; the executions are found missing by the next look."""
    story = Story().fill_entry()
    story.trade = replace(story.trade, fills=())

    async def rows(_symbol: str) -> list[PositionReport]:
        return []

    async def query_order(_symbol: str, _client_order_id: str) -> OrderReport | None:
        return story.report(story.stop)

    async def user_trades(_symbol: str, _since: datetime) -> list[FillReport]:
        raise Unavailable("the exchange answers 503")

    client: Any = SimpleNamespace(
        positions=rows, query_order=query_order, user_trades=user_trades, exchange_time=lambda: story.now
    )
    clock: Any = SimpleNamespace(now=lambda: story.now, sleep=None)
    assert not story.trade.is_every_fill_known
    try:
        learned = await Evidence(client, clock).position_then_orders(story.trade)
    except Unavailable as error:
        pytest.fail(f"nothing was learned: {error}")
    assert [fact for fact in learned if isinstance(fact, facts.PositionShown)]
    assert not [fact for fact in learned if isinstance(fact, facts.FillsBooked)]
