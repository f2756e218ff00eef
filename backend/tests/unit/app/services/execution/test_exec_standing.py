"""Protection that stands: what disappears is restored, what is there is never doubled, what is old goes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from story import WHOLE, Story

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.reports import ExchangeOrderStatus, NeverSent, Refused
from app.domain.trades import TradeStatus
from app.services.execution.commands import Query

X = ExchangeOrderStatus
STOP = OrderRole.STOP_LOSS


def test_an_expiry_with_nothing_executed_is_not_the_end_until_a_query_says_so() -> None:
    """Scenario P8."""
    story = Story().protect()
    story.stream(story.stop, X.EXPIRED)
    assert (story.stop.state, story.stop.needs_query) == (OrderState.NEW, True)
    (query,) = story.all(Query)
    assert query.delay_s > 0
    assert story.sent() == []


def test_the_burst_of_a_trigger_leads_to_the_fill() -> None:
    """Scenario P8: EXPIRED, NEW as a market order, then the fill, under one id."""
    story = Story().protect()
    story.stream(story.stop, X.EXPIRED)
    story.stream(story.stop, X.NEW, is_triggered=True)
    assert not story.stop.needs_query
    story.stream(story.stop, X.FILLED, WHOLE, part=WHOLE, is_triggered=True)
    assert story.trade.status is TradeStatus.CLOSING
    assert story.alerts == []
    assert len(story.trade.orders_of(STOP)) == 1


def test_an_expiry_that_the_query_confirms_is_restored() -> None:
    story = Story().protect()
    gone = story.stop
    story.stream(gone, X.EXPIRED)
    story.query(gone, X.EXPIRED)
    if not story.sent():
        story.wake()
    (again,) = story.sent()
    assert (again.role, again.key.attempt, again.quantity) == (STOP, 2, WHOLE)
    assert story.target.state is OrderState.NEW


@pytest.mark.parametrize("rested_s", [2, 60])
def test_a_stop_canceled_by_hand_is_restored_with_an_alert(rested_s: float) -> None:
    """Scenario P5, however long it had rested."""
    story = Story().protect()
    story.wait(rested_s)
    story.stream(story.stop, X.CANCELED)
    assert story.alerts == ["protection_disappeared"]
    assert story.trade.status is TradeStatus.PROTECTING
    if not story.sent():
        story.wake()
    assert [order.key.attempt for order in story.sent(STOP)] == [2]
    story.accept(story.stop)
    assert story.trade.status is TradeStatus.OPEN
    assert story.alerts == ["protection_disappeared"]


def test_a_stop_that_vanished_from_the_exchange_is_restored() -> None:
    """Scenario U8: absent where it was known to rest."""
    story = Story().protect()
    story.wait(60)
    story.stream(story.stop, X.EXPIRED)
    story.absent(story.stop)
    assert [order.key.attempt for order in story.sent(STOP)] == [2]


def test_a_restored_stop_has_a_new_deadline() -> None:
    story = Story().protect()
    story.wait(600)
    story.stream(story.stop, X.CANCELED)
    assert story.trade.deadline_at == story.now + timedelta(seconds=10)
    assert story.trade.close_reason is None


# --- never twice ------------------------------------------------------------------------------------------------------


def test_deciding_again_piles_nothing_up() -> None:
    """Scenario O6."""
    story = Story().fill_entry()
    for _ in range(20):
        story.decide()
        assert story.sent() == []
    story.accept(story.stop)
    story.accept(story.target)
    for _ in range(20):
        assert story.decide() == ()
    assert len(story.trade.orders) == 3


@pytest.mark.parametrize(
    "placement",
    [
        Refused(family=Refusal.ORDER_NOT_FOUND, code=-2011, message="unknown order"),
        NeverSent(reason="no connection"),
    ],
)
def test_an_old_size_whose_cancel_failed_is_asked_about_and_canceled_again(placement: Refused | NeverSent) -> None:
    """Scenario O3."""
    story = Story().protect()
    old = story.stop
    story.show_position("0.007")
    story.accept(story.stop)
    story.cancel_answer(old, placement)
    assert [query.client_order_id for query in story.all(Query)] == [old.client_order_id]
    story.query(old)
    assert story.canceled == [old.client_order_id]
    story.confirm_cancel(old)
    order = story.trade.order(old.client_order_id)
    assert order is not None
    assert order.state is OrderState.CANCELED


def test_an_old_size_that_filled_instead_of_being_canceled_shrinks_the_position() -> None:
    """Scenario O3: the race between cancel and fill."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    for order in story.sent():
        story.accept(order)
    old = story.stop
    story.stream(story.entry, X.FILLED, WHOLE, part="0.006")
    story.accept(story.stop)
    assert story.canceled == [old.client_order_id]
    story.stream(old, X.FILLED, "0.004", part="0.004", is_triggered=True)
    assert story.trade.exposure == Decimal("0.006")
    assert [order.quantity for order in story.sent(STOP)] == [Decimal("0.006")]
