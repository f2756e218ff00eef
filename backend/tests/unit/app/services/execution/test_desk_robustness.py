"""A desk goes on whatever breaks beside it: clocks that run apart, a full database, a bug in a step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from story import START, Story, submitted

from app.domain.errors import Refusal, StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.policy import AccountPolicy
from app.domain.reports import Accepted, NeverSent, OrderRequest, Placement
from app.domain.trades import CloseReason, Trade
from app.services.execution import facts
from app.services.execution.desk import Desk
from app.services.execution.narration import Narrator
from app.services.execution.supervision import Supervisor


class EarlyClock:
    """Its sleeps end a microsecond before the wall clock says so, as when the wall clock is being slewed."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        early = timedelta(microseconds=1) if seconds > 1e-6 else timedelta(0)
        self.time += timedelta(seconds=seconds) - early
        await asyncio.sleep(0)


@dataclass
class Bench:
    """A desk whose exchange is a list of requests."""

    desk: Desk
    failures: list[Exception]
    placed: list[OrderRequest] = field(default_factory=list)

    async def until(self, condition: Callable[[], object]) -> None:
        async def look() -> None:
            while not condition():
                await asyncio.sleep(0)

        await asyncio.wait_for(look(), 5)

    def sent(self, role: OrderRole) -> list[OrderRequest]:
        letter = {OrderRole.STOP_LOSS: "s", OrderRole.TAKE_PROFIT: "t", OrderRole.CLOSE: "c"}[role]
        return [request for request in self.placed if request.client_order_id.split(".")[2].startswith(letter)]


def ignore(*_: Any) -> None:
    """Nobody listens."""


@asynccontextmanager
async def bench(
    trade: Trade,
    *,
    on_change: Callable[[Trade], None] = ignore,
    answer: Callable[[OrderRequest], Placement] = lambda _: NeverSent(reason="no connection"),
) -> AsyncIterator[Bench]:
    clock = EarlyClock()
    failures: list[Exception] = []
    placed: list[OrderRequest] = []

    async def place_order(request: OrderRequest, _stamp: object = None) -> Placement:
        placed.append(request)
        return answer(request)

    async def position_then_orders(_trade: Trade) -> list[facts.Fact]:
        return []

    background = Supervisor(clock, failures.append)
    tools: Any = SimpleNamespace(
        policy=AccountPolicy(account_id="default", is_paper=True),
        client=SimpleNamespace(place_order=place_order),
        trades=SimpleNamespace(record_progress=ignore, record_events=ignore),
        evidence=SimpleNamespace(position_then_orders=position_then_orders),
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=clock.now),
        clock=clock,
        randomness=SimpleNamespace(uniform=lambda low, high: high),
        on_change=on_change,
        background=background,
    )
    desk = Desk("BTCUSDT", tools, None)
    desk._keep(trade)
    background.keep_running(desk.run)
    try:
        yield Bench(desk, failures, placed)
    finally:
        await background.stop()


async def test_a_timer_that_fires_a_moment_early_is_set_again() -> None:
    """P3: between two attempts to close, nothing but the timer brings the trade on."""
    story = Story().protect()
    story.ask_close(CloseReason.DECISION)
    story.refuse(story.close, Refusal.OTHER, -2010)
    async with bench(story.trade) as stage:
        stage.desk.learn(story.trade.id, facts.Ticked(at=START))
        await stage.until(lambda: len(stage.sent(OrderRole.CLOSE)) >= 3)
