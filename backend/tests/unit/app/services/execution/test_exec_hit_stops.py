"""A stop that was triggered closes the position within moments, or the service does (P11)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from story import WHOLE, Story, submitted

from app.domain.ids import OrderRole
from app.domain.policy import ProtectionPolicy
from app.domain.reports import ExchangeOrderStatus, OrderType
from app.domain.trades import CloseReason, TradeStatus
from app.services.execution.commands import Alert, WakeAt

X = ExchangeOrderStatus
LIMITS = ProtectionPolicy(stop_loss_type=OrderType.STOP, take_profit_type=OrderType.TAKE_PROFIT)


def protected(policy: ProtectionPolicy = LIMITS) -> Story:
    return Story(submitted(policy), policy=policy).protect()


def test_a_triggered_limit_stop_is_no_protection() -> None:
    story = protected()
    story.stream(story.stop, is_triggered=True)
    assert story.trade.status is TradeStatus.PROTECTING
    assert story.sent() == []
    assert [command.at for command in story.all(WakeAt)]


def test_unfilled_for_two_seconds_it_goes_and_a_close_leaves() -> None:
    story = protected()
    stop = story.stop
    story.stream(stop, is_triggered=True)
    story.wait(1.9)
    assert (story.sent(), story.canceled) == ([], [])
    story.wait(0.1)
    (close,) = story.sent()
    assert (close.role, close.quantity) == (OrderRole.CLOSE, WHOLE)
    assert story.canceled == [stop.client_order_id]
    assert story.trade.close_reason is CloseReason.STOP_LOSS
    assert [alert.code for alert in story.all(Alert)] == ["stop_not_filled"]


def test_what_it_filled_is_not_closed_twice() -> None:
    story = protected()
    story.stream(story.stop, X.PARTIALLY_FILLED, "0.004", part="0.004", is_triggered=True)
    story.wait(2)
    (close,) = story.sent()
    assert close.quantity == Decimal("0.006")


def test_filled_in_time_nothing_else_is_sent() -> None:
    story = protected()
    story.stream(story.stop, is_triggered=True)
    story.stream(story.stop, X.FILLED, WHOLE, part=WHOLE, is_triggered=True)
    story.wait(3)
    assert story.trade.latest(OrderRole.CLOSE) is None
    assert story.trade.close_reason is None or story.trade.close_reason is CloseReason.STOP_LOSS


@pytest.mark.parametrize("executed", ["0", "0.004"])
def test_a_triggered_stop_that_expired_short_closes_at_once(executed: str) -> None:
    """The book was too thin for a stop at market; waiting for the price to come back is no option."""
    story = protected(ProtectionPolicy())
    story.stream(story.stop, is_triggered=True)
    story.stream(story.stop, X.EXPIRED, executed, is_triggered=True)
    (close,) = story.sent()
    assert close.role is OrderRole.CLOSE
    assert story.trade.close_reason is CloseReason.STOP_LOSS


def test_a_stop_at_market_counts_while_it_executes() -> None:
    story = protected(ProtectionPolicy())
    story.stream(story.stop, is_triggered=True)
    assert story.trade.status is TradeStatus.OPEN
    story.wait(2)
    assert story.trade.close_reason is CloseReason.STOP_LOSS


def test_a_target_that_was_triggered_rests_beside_the_stop() -> None:
    """It takes its gain when the price is there again; the stop stands."""
    story = protected()
    story.stream(story.target, is_triggered=True)
    story.wait(60)
    assert (story.trade.status, story.sent()) == (TradeStatus.OPEN, [])


def test_a_stop_placed_again_under_its_id_is_a_new_one() -> None:
    """U5: the exchange's number tells; what the first one lived through is not the second one's."""
    story = protected()
    stop = story.stop
    story.stream(stop, is_triggered=True)
    again = story.report(stop)
    seen = story.stop.seen(replace(again, order_id=again.order_id + 1), story.now)
    assert seen.triggered_at is None
