"""The reconciler between its reads and the desks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from story import START, Story

from app.domain.errors import StoreUnavailable
from app.domain.orders import OrderTrigger
from app.domain.policy import AccountPolicy
from app.domain.reports import OrderReport
from app.domain.trades import Trade
from app.services.execution import facts
from app.services.execution.exit_places import ForeignConditionals
from app.services.execution.hearing import Hearing
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciler import Reconciler
from app.services.execution.reconciliation import Difference, DifferenceKind

ORPHAN_ID = "tes.06ex5tn9g0000000zzzz.s1"


@dataclass
class Run:
    """What came of a run."""

    told: list[facts.Fact] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    questioned: list[bool] = field(default_factory=list)
    differences: tuple[Difference, ...] = ()


async def reconciled(before: Trade, after: Trade, open_orders: list[OrderReport]) -> Run:
    """A run of a trade that was ``before`` at its beginning and ``after`` behind the reads; it knows no other trade."""
    run = Run()
    trades = [before]

    async def read_orders(**_: Any) -> list[OrderReport]:
        trades[0] = after
        return open_orders

    async def read_nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    async def get(_trade_id: str) -> None:
        raise StoreUnavailable("the disk is full")

    def learn(_trade_id: str, fact: facts.Fact) -> None:
        run.told.append(fact)

    anything: Any = SimpleNamespace
    reconciler = Reconciler(
        policy=AccountPolicy(account_id="default", is_paper=True),
        client=anything(
            positions=read_nothing, open_orders=read_orders, balances=read_nothing, exchange_time=lambda: START
        ),
        market=anything(
            learn_positions=lambda *_: None,
            config_changes=0,
            read_position_mode=read_nothing,
            foreign_conditionals=ForeignConditionals(),
        ),
        projection=Projection(),
        trades=anything(record_events=lambda _: None, get=get),
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=lambda: START),
        clock=anything(now=lambda: START, monotonic=lambda: 0.0),
        active_trades=lambda: list(trades),
        desk=lambda _: anything(
            learn=learn,
            verify=run.verified.append,
            question_given_up=lambda: run.questioned.append(True),
            compared=lambda *_, **__: None,
        ),
        external=anything(),
        hearing=Hearing(),
        doubt_stream=lambda _: None,
        tell=lambda *_: None,
    )
    try:
        run.differences = (await reconciler.run()).differences
    except StoreUnavailable as error:
        pytest.fail(f"the run ended: {error}")
    return run


async def test_each_run_makes_every_trade_decide_anew() -> None:
    """A lost timer or a failed step is made up for, even where nothing differs."""
    trade = Story().trade
    assert (await reconciled(trade, trade, [])).told == [facts.Ticked(at=START)]


async def test_open_orders_are_told_to_their_trades() -> None:
    story = Story().protect()
    report = story.report(story.stop)
    assert facts.OrderQueried(at=START, report=report) in (await reconciled(story.trade, story.trade, [report])).told


async def test_an_order_that_changed_during_the_reads_is_not_told_its_old_state() -> None:
    """W4: the snapshot is older than what the stream said meanwhile."""
    story = Story().protect()
    canceling = story.trade.with_order(story.stop.after(OrderTrigger.CANCEL_SENT, START))
    run = await reconciled(story.trade, canceling, [story.report(story.stop)])
    assert run.told == [facts.Ticked(at=START)]


async def test_a_difference_that_can_not_be_put_right_keeps_nobody_from_the_rest() -> None:
    """C2: the record can't say whose the orphan is; the trade whose position is gone is looked after all the same."""
    story = Story().protect()
    orphan = replace(story.report(story.stop), client_order_id=ORPHAN_ID, order_id=99)
    run = await reconciled(story.trade, story.trade, [orphan])
    kinds = {difference.kind: difference.action for difference in run.differences}
    assert kinds[DifferenceKind.ORDER_ORPHANED] == "not done yet: the disk is full"
    assert DifferenceKind.POSITION_GONE in kinds
    assert run.verified
    assert facts.Ticked(at=START) in run.told


async def test_for_a_position_that_is_gone_entries_that_were_given_up_are_asked_for() -> None:
    """U10: one of ours on the other side may have taken it, where no frame told of it (the simulation's seed 1736)."""
    trade = Story().protect().trade
    run = await reconciled(trade, trade, [])
    assert DifferenceKind.POSITION_GONE in {difference.kind for difference in run.differences}
    assert run.questioned
