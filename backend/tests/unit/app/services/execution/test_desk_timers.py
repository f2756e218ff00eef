"""Timers of a desk: they wake trades that are being handled, and nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from story import START, submitted

from app.domain.trades import TradeStatus
from app.services.execution import commands, facts
from app.services.execution.desk import Desk


class Gate:
    """Time stands still; every sleep ends when the gate opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    @staticmethod
    def now() -> Any:
        return START

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        await self.opened.wait()


@pytest.mark.parametrize(("is_ended", "ticks"), [(False, 1), (True, 0)])
async def test_only_a_trade_that_has_not_ended_is_woken(
    monkeypatch: pytest.MonkeyPatch, is_ended: bool, ticks: int
) -> None:
    gate = Gate()
    jobs: list[asyncio.Task[None]] = []

    def start(job: Any, _then: Any = None) -> asyncio.Task[None]:
        jobs.append(asyncio.create_task(job))
        return jobs[-1]

    tools: Any = SimpleNamespace(
        clock=gate, background=SimpleNamespace(start=start), trades=None, narrator=None, on_change=None
    )
    desk = Desk("BTCUSDT", tools, None)
    learned: list[facts.Fact] = []
    monkeypatch.setattr(desk, "learn", lambda _trade_id, fact: learned.append(fact))
    trade = submitted()
    desk._keep(trade)
    desk.jobs.run(trade, commands.WakeAt(START + timedelta(seconds=10)))
    if is_ended:
        desk._keep(replace(trade, status=TradeStatus.CLOSED))
    gate.opened.set()
    await asyncio.gather(*jobs)
    assert learned == [facts.Ticked(at=START)] * ticks
