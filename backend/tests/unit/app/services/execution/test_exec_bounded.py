"""A stop for more than is held bounds the loss: giving up on a smaller one closes nothing (P14)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from story import WHOLE, Story, submitted

from app.domain.errors import ErrorCode, Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.policy import ProtectionPolicy
from app.domain.reports import ExchangeOrderStatus, OrderType, PositionSide
from app.domain.trades import CloseReason, TradeStatus
from app.services.execution.covering import is_bounded, is_secured, is_stopped

X = ExchangeOrderStatus
PATIENT = ProtectionPolicy(deadline_s=1000, take_profit_type=OrderType.LIMIT)


def refuse_stop(story: Story) -> None:
    """Every attempt at the newest stop is refused, until it is given up."""
    for _ in range(story.policy.maximum_attempts):
        story.refuse(story.stop, Refusal.FILTER)
        if story.trade.close_reason is None and not story.sent(OrderRole.STOP_LOSS):
            story.wake()


def shrunk(side: PositionSide = PositionSide.BOTH) -> tuple[Story, Decimal]:
    """A position of which a part of the target took 0.003 away, and its stop of the old size."""
    story = Story(submitted(PATIENT, side), policy=PATIENT).protect()
    story.stream(story.target, X.PARTIALLY_FILLED, "0.003", part="0.003")
    return story, WHOLE - Decimal("0.003")


@pytest.mark.parametrize("side", [PositionSide.BOTH, PositionSide.LONG])
def test_a_target_filled_in_part_leaves_the_larger_stop_and_closes_nothing(side: PositionSide) -> None:
    story, left = shrunk(side)
    assert story.stop.quantity == left
    assert (is_stopped(story.trade), is_bounded(story.trade)) == (False, True)
    refuse_stop(story)
    assert (story.trade.close_reason, story.trade.status) == (None, TradeStatus.PROTECTING)
    assert story.alerts == ["exit_for_too_much"]
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.EXCHANGE_REJECTED
    assert not is_secured(story.trade)
    story.wait(3600)
    assert (story.trade.close_reason, story.alerts) == (None, ["exit_for_too_much"])


def test_a_stop_for_less_than_is_held_is_not_enough() -> None:
    story = Story(policy=PATIENT)
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    for order in story.sent():
        story.accept(order)
    story.stream(story.entry, X.FILLED, WHOLE, part="0.006")
    assert not is_bounded(story.trade)
    refuse_stop(story)
    assert story.trade.close_reason is CloseReason.EMERGENCY


def test_a_larger_stop_that_is_being_canceled_is_not_enough() -> None:
    """O4: the exchange has no room for a second one beside it."""
    story, _ = shrunk()
    first = next(order for order in story.trade.orders_of(OrderRole.STOP_LOSS) if order.state is OrderState.NEW)
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    story.clean()
    story.wait(10)
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    current = story.trade.order(first.client_order_id)
    assert current is not None
    assert current.state is not OrderState.NEW
    assert not is_bounded(story.trade)


def test_what_goes_missing_beside_a_stop_for_too_much_is_told_too() -> None:
    story, _ = shrunk()
    refuse_stop(story)
    story.stream(story.target, X.CANCELED, "0.003")
    assert not story.trade.protection_failed
    story.wait(PATIENT.deadline_s)
    assert story.trade.close_reason is None
    assert "take_profit_missing" in story.alerts


def test_a_smaller_stop_that_comes_at_last_makes_it_protected() -> None:
    story, _ = shrunk()
    refuse_stop(story)
    if not story.sent(OrderRole.STOP_LOSS):
        story.wake()
    story.accept(story.stop)
    assert (story.trade.status, story.trade.error, story.trade.protection_failed) == (TradeStatus.OPEN, None, False)
