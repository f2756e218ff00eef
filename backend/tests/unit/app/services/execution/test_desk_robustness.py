"""A desk goes on whatever breaks beside it: clocks that run apart, a full database, a bug in a step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from story import START, WHOLE, Story

from app.domain.errors import Refusal, StoreUnavailable
from app.domain.events import Event
from app.domain.ids import OrderRole
from app.domain.policy import AccountPolicy
from app.domain.reports import ExchangeOrderStatus, NeverSent, OrderReport, OrderRequest, Placement, Refused
from app.domain.trades import CloseReason, Trade
from app.services.execution import facts
from app.services.execution.desk import Desk
from app.services.execution.narration import Narrator
from app.services.execution.supervision import Supervisor
from support.patience import PATIENCE_S


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

        await asyncio.wait_for(look(), PATIENCE_S)

    def sent(self, role: OrderRole) -> list[OrderRequest]:
        letter = {OrderRole.STOP_LOSS: "s", OrderRole.TAKE_PROFIT: "t", OrderRole.CLOSE: "c"}[role]
        return [request for request in self.placed if request.client_order_id.split(".")[2].startswith(letter)]


def ignore(*_: Any) -> None:
    """Nobody listens."""


def with_its_fill(story: Story) -> Trade:
    """The trade, whose entry's execution is known: only then can be told whether its position has changed since."""
    return replace(story.trade, fills=(story.fill(story.entry, WHOLE),))


@asynccontextmanager
async def bench(
    trade: Trade,
    *,
    on_change: Callable[[Trade], None] = ignore,
    answer: Callable[[OrderRequest], Placement] = lambda _: NeverSent(reason="no connection"),
    order: Callable[[object], Awaitable[OrderReport]] | None = None,
    record_events: Callable[[tuple[Event, ...]], None] = ignore,
) -> AsyncIterator[Bench]:
    clock = EarlyClock()
    failures: list[Exception] = []
    placed: list[OrderRequest] = []

    async def place_order(request: OrderRequest, _stamp: object = None) -> Placement:
        placed.append(request)
        return answer(request)

    async def position_then_orders(trade: Trade, *_: object) -> list[facts.Fact]:
        """The position is as our executions left it, and no order is found."""
        shown = facts.PositionShown(
            at=START,
            quantity=trade.exposure * trade.side.sign,
            entered_before=trade.entered_quantity,
            transmissions_before=trade.transmissions,
            changed_at=max((fill.time for fill in trade.fills), default=None),
        )
        return [shown]

    async def resolve(*_: object) -> facts.Fact:
        await asyncio.Event().wait()
        raise AssertionError

    background = Supervisor(clock, failures.append)
    tools: Any = SimpleNamespace(
        policy=AccountPolicy(account_id="default", is_paper=True),
        client=SimpleNamespace(place_order=place_order),
        trades=SimpleNamespace(record_progress=ignore, record_events=record_events),
        market=SimpleNamespace(instrument=lambda _: None),
        evidence=SimpleNamespace(position_then_orders=position_then_orders, order=order, resolve=resolve, clock=clock),
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=clock.now),
        clock=clock,
        randomness=SimpleNamespace(uniform=lambda low, high: high),
        is_flattened=lambda: False,
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


async def test_an_illegal_pair_changes_nothing_is_recorded_as_an_alert_and_the_desk_goes_on() -> None:
    """An order that was never on the book can't have its cancel refused; whoever says so contradicts the record."""
    told: list[Event] = []
    story = Story()
    refused = Refused(family=Refusal.ORDER_NOT_FOUND, code=-2011, message="Unknown order sent.")
    entry_id = story.entry.client_order_id
    async with bench(story.trade, record_events=told.extend) as stage:
        stage.desk.learn(story.trade.id, facts.CancelAnswered(at=START, client_order_id=entry_id, placement=refused))
        await stage.until(lambda: told)
        assert stage.desk.trade(story.trade.id) == story.trade
        (alert,) = told
        assert (alert.data["code"], alert.data["severity"]) == ("contradiction", "critical")
        assert "can't take cancel_failed" in alert.data["message"]
        story.fill_entry()
        fill = story.report(story.entry, ExchangeOrderStatus.FILLED, WHOLE)
        stage.desk.learn(story.trade.id, facts.OrderQueried(at=START, report=fill))
        await stage.until(lambda: stage.sent(OrderRole.STOP_LOSS))
        assert stage.failures == []


async def test_a_timer_that_fires_a_moment_early_is_set_again() -> None:
    """P3: between two attempts to close, nothing but the timer brings the trade on."""
    story = Story().protect()
    story.ask_close(CloseReason.DECISION)
    story.refuse(story.close, Refusal.OTHER, -2010)
    async with bench(story.trade) as stage:
        stage.desk.learn(story.trade.id, facts.Ticked(at=START))
        await stage.until(lambda: len(stage.sent(OrderRole.CLOSE)) >= 3)


async def test_exits_are_sent_although_the_change_cannot_be_told() -> None:
    """C2: with a full database exits still work."""
    full = [StoreUnavailable("20000 records wait for the database already")]

    def refuse(_: Trade) -> None:
        if full:
            raise full.pop()

    story = Story()
    filled = facts.OrderQueried(at=START, report=story.report(story.entry, ExchangeOrderStatus.FILLED, WHOLE))
    async with bench(story.trade, on_change=refuse) as stage:
        stage.desk.learn(story.trade.id, filled)
        await stage.until(lambda: stage.sent(OrderRole.STOP_LOSS) and stage.sent(OrderRole.TAKE_PROFIT))


async def test_a_reply_that_a_bug_swallowed_leaves_the_order_in_doubt_not_in_flight_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story().protect()
    story.ask_close(CloseReason.DECISION)
    async with bench(with_its_fill(story)) as stage:
        fold = stage.desk._fold
        bugs = [RuntimeError("a bug")]

        def break_once(trade: Trade, fact: facts.Fact) -> Trade:
            if bugs:
                raise bugs.pop()
            return fold(trade, fact)

        monkeypatch.setattr(stage.desk, "_fold", break_once)
        reply = facts.Placed(at=START, client_order_id=story.close.client_order_id, placement=NeverSent(reason="no"))
        stage.desk.learn(story.trade.id, reply)
        await stage.until(lambda: stage.sent(OrderRole.CLOSE))
        assert len(stage.failures) == 1


async def test_replies_lost_in_an_overflow_leave_their_orders_in_doubt() -> None:
    """W8."""
    story = Story().protect()
    story.ask_close(CloseReason.DECISION)
    async with bench(with_its_fill(story)) as stage:
        stage.desk._mailbox.has_overflowed = True
        stage.desk.learn(story.trade.id, facts.Ticked(at=START))
        await stage.until(lambda: stage.sent(OrderRole.CLOSE))


async def test_a_position_that_nobody_explains_may_be_an_entry_given_up() -> None:
    """U10: the fill turned up after the fence, and the stream did not tell of it."""
    story = Story()
    story.lose(story.entry)
    story.absent(story.entry)
    report = story.report(story.entry, ExchangeOrderStatus.FILLED, WHOLE)

    async def order(_: object) -> OrderReport:
        return report

    async with bench(story.trade, order=order) as stage:
        assert stage.desk.active == ()
        stage.desk.question_given_up()
        await stage.until(lambda: stage.sent(OrderRole.STOP_LOSS) and stage.sent(OrderRole.TAKE_PROFIT))
        assert stage.desk.active
