"""What is larger than one market order may be goes in parts, each in its turn (scenario O7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from story import BITCOIN, MARK, START, Story, market, submitted, wish
from test_exec_projection import ROW

from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.parts import executed_before, opening, orders_for, quantity_to_come
from app.domain.policy import AccountPolicy
from app.domain.reports import ExchangeOrderStatus, PositionSide, RequestStamp
from app.domain.trades import AdjustmentKind, Trade, TradeTrigger
from app.services.execution import facts
from app.services.execution.planning import new_trade, plan_entry
from app.services.execution.slices import cut
from app.services.execution.unexplained import surplus

FILLED = ExchangeOrderStatus.FILLED
SMALL = replace(BITCOIN, market_lot=replace(BITCOIN.market_lot, maximum=Decimal("0.010")))


def in_parts(allocation_usd: str = "2400") -> Trade:
    """A long of 0.025 in three parts, the first of which was just handed to the network."""
    plan = plan_entry(
        wish(allocation_usd=allocation_usd), market(SMALL), 10, AccountPolicy(account_id="default", is_paper=True)
    )
    trade = new_trade(plan, trade_id=submitted().id, account_id="default", position_side=PositionSide.BOTH, now=START)
    stamp = RequestStamp(value=1, dead_after=START + timedelta(seconds=65))
    first = replace(trade.entry.after(OrderTrigger.SUBMIT, START), stamp=stamp)
    return trade.with_order(first).after(TradeTrigger.SUBMIT)


def part(story: Story, number: int) -> Order:
    return story.trade.entries[number - 1]


def protected(story: Story, number: int) -> Story:
    """A part is filled, and the exits cover all of it."""
    story.accept(part(story, number), FILLED, part(story, number).quantity)
    story.accept(story.stop)
    story.accept(story.target)
    return story


def states(story: Story) -> list[str]:
    return [order.state.value for order in story.trade.entries]


def test_the_next_part_leaves_when_what_is_held_has_its_exits() -> None:
    story = Story(in_parts())
    assert [str(order.quantity) for order in story.trade.entries] == ["0.010", "0.010", "0.005"]
    story.accept(part(story, 1), FILLED, "0.010")
    assert story.sent(OrderRole.ENTRY) == []
    story.accept(story.target)
    assert story.sent(OrderRole.ENTRY) == []
    story.accept(story.stop)
    assert [order.key.attempt for order in story.sent(OrderRole.ENTRY)] == [2]
    assert executed_before(story.trade, part(story, 2)) == Decimal("0.010")
    assert quantity_to_come(story.trade, part(story, 2)) == Decimal("0.015")


@pytest.mark.parametrize("executed", ["0", "0.004"])
def test_a_part_that_ended_short_is_the_last_one(executed: str) -> None:
    story = protected(Story(in_parts()), 1)
    story.accept(part(story, 2), ExchangeOrderStatus.EXPIRED, executed)
    for order in (story.stop, story.target):
        if not order.is_final and order.state is not OrderState.NEW:
            story.accept(order)
    assert states(story) == ["FILLED", "EXPIRED", "NOT_PLACED"]
    assert story.trade.filled_at is not None


def test_a_part_in_doubt_holds_the_others_back() -> None:
    """U1."""
    story = protected(Story(in_parts()), 1)
    story.lose(part(story, 2))
    story.wait(5)
    assert states(story) == ["FILLED", "UNKNOWN", "PLANNED"]
    story.absent(part(story, 2))
    assert states(story) == ["FILLED", "NOT_PLACED", "NOT_PLACED"]


def test_a_part_in_doubt_is_explained_by_the_position_although_others_are_planned() -> None:
    """U11."""
    story = protected(Story(in_parts()), 1)
    story.lose(part(story, 2))
    row = replace(ROW, quantity=Decimal("0.020"), updated_at=START)
    assert surplus(story.trade, part(story, 2), [story.trade], [row]) == Decimal("0.010")


def test_parts_of_the_opening_and_of_an_addition_are_told_apart() -> None:
    story = protected(Story(in_parts("960")), 1)
    story.adjust(AdjustmentKind.ADD, "0.004")
    (added,) = story.trade.adjustments
    assert [order.key.attempt for order in opening(story.trade)] == [1]
    assert [order.key.attempt for order in orders_for(story.trade, added)] == [2]


@pytest.mark.parametrize(
    ("quantity", "parts"),
    [
        ("0.010", ["0.010"]),
        ("0.020", ["0.010", "0.010"]),
        ("0.0100", ["0.0100"]),
        ("0.011", ["0.010", "0.001"]),
    ],
)
def test_parts_are_as_large_as_may_be(quantity: str, parts: list[str]) -> None:
    assert [str(one) for one in cut(Decimal(quantity), SMALL, MARK)] == parts


def test_no_part_is_worth_less_than_the_exchange_takes() -> None:
    """Z1, Z5: an entry is not exempt from the minimum notional, nor is a close in hedge mode."""
    dear = replace(SMALL, minimum_notional=Decimal(200))
    assert cut(Decimal("0.011"), dear, MARK) == (Decimal("0.006"), Decimal("0.005"))
    assert cut(Decimal("0.024"), dear, MARK) == (Decimal("0.010"), Decimal("0.009"), Decimal("0.005"))


def test_a_restart_drops_what_had_not_left() -> None:
    """C1."""
    story = protected(Story(in_parts()), 1)
    story.accept(part(story, 2), FILLED, "0.010")
    story.learn(facts.Restarted(at=story.now))
    assert states(story) == ["FILLED", "FILLED", "NOT_PLACED"]
