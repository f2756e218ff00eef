"""Changes to a trade: each has an order of its own, and no window without a stop."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from story import STOP, TARGET, WHOLE, Story, submitted

from app.domain.errors import ErrorCode, Refusal
from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState
from app.domain.reports import ExchangeOrderStatus, NeverSent, Side
from app.domain.trades import Adjustment, AdjustmentKind, CloseReason, TradeError, TradeStatus
from app.schemas.decision import Action
from app.schemas.result import AssetStatus
from app.services.execution import facts, results
from app.services.execution.commands import Account, Query, ReadCover, Resolve
from app.services.execution.foreign_cover import ForeignCover

FILLED = ExchangeOrderStatus.FILLED
SL, TP, TRAILING = OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.TRAILING_STOP
K = AdjustmentKind


def told(story: Story, number: int = 0) -> Adjustment:
    return story.trade.adjustments[number]


def result(story: Story, number: int = 0) -> AssetStatus:
    return results.of_adjustment(story.trade, told(story, number), Action.ADJUST_POSITION).status


def give_up_increase(story: Story) -> Order:
    """0.005 more, of which nobody said what became, and which was proven absent."""
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.lose(more)
    story.absent(more)
    return more


def settle(story: Story) -> None:
    """Everything sent is accepted, every cancellation confirmed, until nothing is asked."""
    for _ in range(5):
        for order in story.trade.orders:
            if order.state is OrderState.SUBMITTING and order.role in (SL, TP):
                story.accept(order)
        story.clean()


def test_a_moved_stop_is_shown_before_the_old_one_goes() -> None:
    """P10."""
    story = Story().protect()
    old = story.stop
    story.adjust(K.EXITS, legs=(story.moved(SL, "95000"),))
    assert [order.request.stop_price for order in story.sent()] == [Decimal(95000)]
    assert story.canceled == []
    assert result(story) is AssetStatus.PENDING
    story.accept(story.stop)
    assert story.canceled == [old.client_order_id]
    assert result(story) is AssetStatus.PENDING, "until exactly one is left"
    story.clean()
    assert result(story) is AssetStatus.ADJUSTED
    assert story.trade.status is TradeStatus.OPEN
    assert story.alerts == []


def test_a_trailing_stop_that_can_not_be_replaced_keeps_its_rate() -> None:
    """It was asked for with the new rate for ever, and then the position was closed (the simulation's seed 49)."""
    story = Story(trade=submitted(trailing_stop={"callback_rate": 1})).fill_entry()
    for order in story.sent():
        story.accept(order)
    old, leg = story.latest(TRAILING), story.trade.leg(TRAILING)
    assert leg is not None
    story.adjust(K.EXITS, legs=(replace(leg, callback_rate=Decimal(2)),))
    for _ in range(story.policy.maximum_attempts):
        story.refuse(story.latest(TRAILING), Refusal.FILTER, -4014)
        if told(story).ended_at is None:
            story.wake()
    story.wait(0)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)
    kept = story.trade.leg(TRAILING)
    assert kept is not None
    assert kept.callback_rate == 1
    assert story.trade.order(old.client_order_id) == old


def test_a_stop_that_can_not_be_moved_stays_where_it_is() -> None:
    """The position was protected all along, so nothing is closed; the decision is told the truth."""
    story = Story().protect()
    old = story.stop
    story.adjust(K.EXITS, legs=(story.moved(SL, "95000"),))
    for _ in range(story.policy.maximum_attempts):
        story.refuse(story.stop, Refusal.FILTER, -4014)
        if told(story).ended_at is None:
            story.wake()
    error = told(story).error
    assert error is not None
    assert error.code is ErrorCode.EXCHANGE_REJECTED
    assert "94000 stays" in error.message
    story.wait(0)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)
    assert story.trade.order(old.client_order_id) == old
    leg = story.trade.leg(SL)
    assert leg is not None
    assert leg.trigger_price == STOP
    assert result(story) is AssetStatus.FAILED


def test_a_stop_that_was_never_there_and_is_refused_is_given_up_without_closing() -> None:
    story = Story(trade=submitted(sl_price=None, tp_price=None))
    story.fill_entry()
    assert story.trade.status is TradeStatus.OPEN
    leg = Story().trade.leg(SL)
    assert leg is not None
    story.adjust(K.EXITS, legs=(leg,))
    for _ in range(story.policy.maximum_attempts):
        story.refuse(story.stop, Refusal.FILTER, -4014)
        if told(story).ended_at is None:
            story.wake()
    story.wait(0)
    assert (story.trade.legs, story.trade.close_reason, story.trade.status) == ((), None, TradeStatus.OPEN)
    assert result(story) is AssetStatus.FAILED


def test_a_second_wish_for_a_first_stop_is_given_up_without_closing_as_well() -> None:
    """The first one, at another price, had never been on the book."""
    story = Story(trade=submitted(sl_price=None, tp_price=None)).fill_entry()
    leg = Story().trade.leg(SL)
    assert leg is not None
    for number, price in enumerate(("94000", "93000")):
        wished = replace(leg, trigger_price=Decimal(price))
        story.adjust(K.EXITS, legs=(wished,), decision_id=f"d-{number}")
        for _ in range(story.policy.maximum_attempts):
            story.refuse(story.stop, Refusal.FILTER, -4014)
            if told(story, number).ended_at is None:
                story.wake()
        story.wait(0)
        assert (story.trade.legs, story.trade.close_reason, story.trade.status) == ((), None, TradeStatus.OPEN)


def test_a_target_that_never_stood_is_not_done_without_because_a_later_wish_for_it_failed() -> None:
    """Its decision asked for it: told protected, it would be lied to (the simulation's seed 4393)."""
    story = Story().fill_entry()
    story.accept(story.stop)
    story.never_sent(story.target)
    story.adjust(K.EXITS, legs=(story.moved(TP, "98000"),))
    story.never_sent(story.target)
    story.wait(story.policy.deadline_s)
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.TAKE_PROFIT_MISSING


def test_a_moved_stop_that_the_price_has_passed_is_a_stop_that_was_hit() -> None:
    """P1."""
    story = Story().protect()
    story.adjust(K.EXITS, legs=(story.moved(SL, "95990"),))
    story.refuse(story.stop, Refusal.IMMEDIATE_TRIGGER, -2021)
    assert story.trade.close_reason is CloseReason.STOP_LOSS
    assert story.trade.status is TradeStatus.CLOSING


def test_a_target_that_is_given_up_goes_and_comes_not_back() -> None:
    story = Story().protect()
    target = story.target
    story.adjust(K.EXITS, drops=(TP,))
    assert story.canceled == [target.client_order_id]
    assert result(story) is AssetStatus.PENDING
    story.clean()
    assert result(story) is AssetStatus.ADJUSTED
    story.wait(60)
    assert story.sent() == []


def test_a_given_up_target_whose_cancel_races_its_fill_ends_the_trade() -> None:
    """O3."""
    story = Story().protect()
    story.adjust(K.EXITS, drops=(TP,))
    story.stream(story.target, FILLED, WHOLE, WHOLE, is_triggered=True)
    assert story.trade.status is TradeStatus.CLOSING
    story.clean()
    story.account()
    assert story.trade.close_reason is CloseReason.TAKE_PROFIT
    assert result(story) is AssetStatus.CLOSED


def test_an_increase_adds_and_the_exits_grow_new_before_old() -> None:
    story = Story().protect()
    old = (story.stop, story.target)
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    assert story.sent() == [], "exits wait for the fill"
    story.accept(more, FILLED, "0.005")
    assert [order.quantity for order in story.sent()] == [Decimal("0.015")] * 2
    assert all(one.client_order_id not in story.canceled for one in old)
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED
    assert (story.trade.entered_quantity, story.trade.exposure) == (Decimal("0.015"), Decimal("0.015"))


def test_a_lost_increase_is_resolved_never_resent_and_leaves_the_exits_alone() -> None:
    """U1, U3."""
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005", legs=(story.moved(SL, "95000"),))
    assert more is not None
    story.lose(more)
    assert story.all(Resolve) == [Resolve(more.client_order_id)]
    assert story.trade.has_unknown_order
    story.absent(more)
    error = told(story).error
    assert error is not None
    assert error.code is ErrorCode.OUTCOME_UNKNOWN
    assert result(story) is AssetStatus.FAILED
    assert story.trade.status is TradeStatus.OPEN
    assert [order.role for command in story.told if hasattr(command, "order") for order in [command.order]].count(
        OrderRole.ENTRY
    ) == 0
    leg = story.trade.leg(SL)
    assert leg is not None
    assert leg.trigger_price == STOP


def test_a_fill_of_an_increase_that_was_given_up_is_protected_and_told() -> None:
    """U10."""
    story = Story().protect()
    more = give_up_increase(story)
    story.query(more, FILLED, "0.005")
    assert "late_fill" in story.alerts
    assert [order.quantity for order in story.sent()] == [Decimal("0.015")] * 2
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED


def test_a_fill_of_an_increase_that_turns_up_after_the_trade_ended_is_closed_and_told() -> None:
    """U10: the trade goes straight out again, and so the increase was told failed (the simulation's seed 650)."""
    story = Story().protect()
    more = give_up_increase(story)
    story.ask_close()
    story.accept(story.close, FILLED, WHOLE)
    story.clean()
    story.account()
    assert (story.trade.status, result(story)) == (TradeStatus.CLOSED, AssetStatus.FAILED)
    story.query(more, FILLED, "0.005")
    assert [order.quantity for order in story.sent(OrderRole.CLOSE)] == [Decimal("0.005")]
    story.accept(story.close, FILLED, "0.005")
    story.clean()
    story.account()
    assert (story.trade.status, result(story), told(story).error) == (TradeStatus.CLOSED, AssetStatus.CLOSED, None)


def test_an_executed_increase_whose_new_stop_is_refused_keeps_the_old_one_and_has_not_failed() -> None:
    """What was executed is told so, and why the stop is another one (the simulation's seed 3446)."""
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005", legs=(story.moved(SL, "95000"),))
    assert more is not None
    story.accept(more, FILLED, "0.005")
    story.accept(story.target)
    for attempt in range(story.policy.maximum_attempts):
        if attempt:
            story.wake()
        story.refuse(story.stop, Refusal.FILTER, -4014)
    story.wait(0)
    assert (story.stop.request.stop_price, story.stop.quantity) == (STOP, Decimal("0.015"))
    assert result(story) is AssetStatus.PENDING
    settle(story)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)
    outcome = results.of_adjustment(story.trade, told(story), Action.ADJUST_POSITION)
    assert (outcome.status, outcome.success, outcome.filled_quantity) == (AssetStatus.ADJUSTED, True, Decimal("0.005"))
    assert outcome.error is not None
    assert "94000 stays" in outcome.error.message
    assert story.alerts == ["adjustment_failed"]
    story.wait(60)
    assert result(story) is AssetStatus.ADJUSTED


def test_an_executed_increase_whose_first_stop_is_refused_is_closed_rather_than_left_naked() -> None:
    """P3: the position did well without a stop; what was added to it was wished with one."""
    story = Story(trade=submitted(sl_price=None, tp_price=None))
    story.fill_entry()
    leg = Story().trade.leg(SL)
    assert leg is not None
    more = story.adjust(K.INCREASE, "0.005", legs=(leg,))
    assert more is not None
    story.accept(more, FILLED, "0.005")
    for attempt in range(story.policy.maximum_attempts):
        if attempt:
            story.wake()
        story.refuse(story.stop, Refusal.FILTER, -4014)
    assert story.trade.close_reason is CloseReason.EMERGENCY
    assert [order.quantity for order in story.sent(OrderRole.CLOSE)] == [Decimal("0.015")]
    assert story.alerts[-1] == "protection_failed"


def test_an_increase_shown_expired_and_empty_is_not_believed_before_the_trades_agree() -> None:
    """U7."""
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.accept(more, ExchangeOrderStatus.EXPIRED)
    assert Account() in story.asked
    story.account()
    assert result(story) is AssetStatus.FAILED


@pytest.mark.parametrize("refusal", [Refusal.MARGIN, Refusal.OTHER])
def test_a_refused_increase_fails_with_the_exchanges_words(refusal: Refusal) -> None:
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.refuse(more, refusal, -2019)
    error = told(story).error
    assert error is not None
    assert error.exchange_code == -2019
    assert result(story) is AssetStatus.FAILED
    assert story.trade.last_entry_at == story.trade.entry.submitted_at, "its reservation is free"


def test_an_increase_that_fills_after_its_position_is_gone_is_closed() -> None:
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.stream(story.stop, FILLED, WHOLE, WHOLE, is_triggered=True)
    assert story.trade.status is TradeStatus.CLOSING
    story.accept(more, FILLED, "0.005")
    assert [order.quantity for order in story.sent(OrderRole.CLOSE)] == [Decimal("0.005")]


def test_a_decrease_shrinks_the_exits_once_it_is_executed() -> None:
    story = Story().protect()
    less = story.adjust(K.DECREASE, "0.004")
    assert less is not None
    assert less.request.reduce_only
    story.accept(less, FILLED, "0.004")
    assert [order.quantity for order in story.sent()] == [Decimal("0.006")] * 2
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED
    assert story.trade.status is TradeStatus.OPEN


def test_a_decrease_refused_because_exits_cover_makes_room_and_is_sent_once_more() -> None:
    """O4: targets make room, stops stay."""
    story = Story().protect()
    stop, target = story.stop, story.target
    less = story.adjust(K.DECREASE, "0.004")
    assert less is not None
    story.refuse(less, Refusal.REDUCE_ONLY, -2022)
    assert (story.canceled, story.all(ReadCover)) == ([], [ReadCover(side=Side.SELL)])
    story.cover = ForeignCover(side=Side.SELL, held=WHOLE, orders=(), at=story.now)
    story.wake()
    assert story.canceled == [target.client_order_id]
    story.confirm_cancel(target)
    again = story.latest(OrderRole.REDUCE)
    assert (again.key.attempt, again.quantity) == (2, Decimal("0.004"))
    assert story.sent(OrderRole.REDUCE) == [again]
    assert story.trade.order(stop.client_order_id) == stop
    story.accept(again, FILLED, "0.004")
    settle(story)
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED
    assert "protection_disappeared" not in story.alerts


def test_a_decrease_refused_twice_fails_and_the_target_is_back() -> None:
    story = Story().protect()
    less = story.adjust(K.DECREASE, "0.004")
    assert less is not None
    story.refuse(less, Refusal.REDUCE_ONLY, -2022)
    story.wait(4)  # what can't be read does not hold it up
    story.clean()
    story.refuse(story.latest(OrderRole.REDUCE), Refusal.REDUCE_ONLY, -2022)
    story.wait(4)
    settle(story)
    assert result(story) is AssetStatus.FAILED
    assert story.trade.status is TradeStatus.OPEN
    assert story.target.quantity == WHOLE


def test_a_lost_decrease_is_asked_about_and_never_sent_again() -> None:
    story = Story().protect()
    less = story.adjust(K.DECREASE, "0.004")
    assert less is not None
    story.lose(less)
    assert Resolve(less.client_order_id) in story.asked
    story.wait(1)
    assert story.sent(OrderRole.REDUCE) == []
    story.query(less, FILLED, "0.004")
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED


def test_a_restart_in_the_middle_goes_on() -> None:
    """C1."""
    story = Story().protect()
    less = story.adjust(K.DECREASE, "0.004")
    assert less is not None
    story.learn(facts.Restarted(at=story.now))
    assert Resolve(less.client_order_id) in story.asked
    story.query(less, FILLED, "0.004")
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED


def test_two_changes_at_once_both_end() -> None:
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.adjust(K.EXITS, legs=(story.moved(TP, "98000"),), decision_id="d-3")
    settle(story)
    assert result(story, 1) is AssetStatus.ADJUSTED
    story.accept(more, FILLED, "0.005")
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED
    assert (story.target.request.stop_price, story.target.quantity) == (Decimal(98000), Decimal("0.015"))
    assert Decimal(98000) != TARGET


def test_a_part_filled_increase_is_covered_from_its_first_part() -> None:
    """Z2."""
    story = Story().protect()
    more = story.adjust(K.INCREASE, "0.005")
    assert more is not None
    story.accept(more, ExchangeOrderStatus.PARTIALLY_FILLED, "0.002")
    assert [order.quantity for order in story.sent()] == [Decimal("0.012")] * 2
    assert any(isinstance(command, Query) for command in story.asked)
    story.query(more, FILLED, "0.005")
    settle(story)
    settle(story)
    assert result(story) is AssetStatus.ADJUSTED
    assert {order.quantity for order in (story.stop, story.target)} == {Decimal("0.015")}


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_decision_sent_again_adjusts_anew_only_what_was_held_back(is_settled: bool) -> None:
    """C5: its first attempt could not be recorded; while that is open there is no second one (seed 269)."""
    story = Story().protect()
    first = story.adjust(K.ADD, WHOLE)
    assert first is not None
    if is_settled:
        error = TradeError(code=ErrorCode.NOT_READY, message="the decision could not be recorded")
        placement = NeverSent(reason=error.message)
        story.learn(facts.Placed(at=story.now, client_order_id=first.client_order_id, placement=placement, error=error))
        assert result(story) is AssetStatus.REJECTED
    second = story.adjust(K.ADD, WHOLE)
    assert second is not None
    (adjustment,) = story.trade.adjustments
    wanted = second if is_settled else first
    assert (adjustment.client_order_id, adjustment.error) == (wanted.client_order_id, None)
    assert (story.trade.order(second.client_order_id) is None) is not is_settled
