"""The reconciler between its reads and the desks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from story import START, Story

from app.domain.orders import OrderTrigger
from app.domain.policy import AccountPolicy
from app.domain.reports import OrderReport
from app.domain.trades import Trade
from app.services.execution import facts
from app.services.execution.hearing import Hearing
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciler import Reconciler


async def reconciled(before: Trade, after: Trade, open_orders: list[OrderReport]) -> list[facts.Fact]:
    """What a trade learns from a run, when it was ``before`` at its beginning and ``after`` behind the reads."""
    told: list[facts.Fact] = []
    trades = [before]

    async def read_orders() -> list[OrderReport]:
        trades[0] = after
        return open_orders

    async def read_nothing() -> list[Any]:
        return []

    def learn(_trade_id: str, fact: facts.Fact) -> None:
        told.append(fact)

    anything: Any = SimpleNamespace
    reconciler = Reconciler(
        policy=AccountPolicy(account_id="default", is_paper=True),
        client=anything(
            positions=read_nothing, open_orders=read_orders, balances=read_nothing, exchange_time=lambda: START
        ),
        market=anything(learn_positions=lambda *_: None, config_changes=0),
        projection=Projection(),
        trades=anything(record_events=lambda _: None),
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=lambda: START),
        clock=anything(now=lambda: START, monotonic=lambda: 0.0),
        active_trades=lambda: list(trades),
        desk=lambda _: anything(learn=learn, verify=lambda _: None),
        recall=anything,
        external=anything(),
        hearing=Hearing(),
        doubt_stream=lambda _: None,
        tell=lambda *_: None,
    )
    await reconciler.run()
    return told


async def test_each_run_makes_every_trade_decide_anew() -> None:
    """A lost timer or a failed step is made up for, even where nothing differs."""
    trade = Story().trade
    assert await reconciled(trade, trade, []) == [facts.Ticked(at=START)]


async def test_open_orders_are_told_to_their_trades() -> None:
    story = Story().protect()
    report = story.report(story.stop)
    assert facts.OrderQueried(at=START, report=report) in await reconciled(story.trade, story.trade, [report])


async def test_an_order_that_changed_during_the_reads_is_not_told_its_old_state() -> None:
    """W4: the snapshot is older than what the stream said meanwhile."""
    story = Story().protect()
    canceling = story.trade.with_order(story.stop.after(OrderTrigger.CANCEL_SENT, START))
    told = await reconciled(story.trade, canceling, [story.report(story.stop)])
    assert told == [facts.Ticked(at=START)]
