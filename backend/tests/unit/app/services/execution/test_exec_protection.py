"""Protection: a deadline, not an attempt; never a moment without a covering or an older stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from story import WHOLE, Story, submitted

from app.domain.errors import ErrorCode, Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.policy import ProtectionFailurePolicy, ProtectionPolicy
from app.domain.reports import Accepted, ExchangeOrderStatus, OrderType
from app.domain.trades import CloseReason, TradeStatus
from app.services.execution import facts
from app.services.execution.commands import Query, Resolve, WakeAt

X = ExchangeOrderStatus
STOP, TARGET = OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT
PATIENT = ProtectionPolicy(deadline_s=1000)
ALERTING = ProtectionPolicy(on_failure=ProtectionFailurePolicy.ALERT)


def test_protected_means_that_the_exchange_showed_both() -> None:
    """Scenario P5."""
    story = Story().fill_entry()
    stop, target = story.sent()
    story.accept(target)
    assert story.trade.status is TradeStatus.PROTECTING
    story.accept(stop)
    assert (story.trade.status, story.trade.deadline_at) == (TradeStatus.OPEN, None)
    assert story.trade.protected_at is not None


def test_without_wished_exits_a_fill_is_open_at_once() -> None:
    story = Story(submitted(sl_price=None, tp_price=None)).fill_entry()
    assert story.trade.status is TradeStatus.OPEN
    assert story.asked == ()


@pytest.mark.parametrize("missing", ["sl_price", "tp_price"])
def test_one_wished_exit_is_enough_when_only_one_was_wished(missing: str) -> None:
    story = Story(submitted(**{missing: None})).fill_entry()
    (only,) = story.sent()
    story.accept(only)
    assert story.trade.status is TradeStatus.OPEN


# --- parts ------------------------------------------------------------------------------------------------------------


def test_a_slow_fill_is_protected_from_its_first_part_and_resized_new_before_old() -> None:
    """Scenarios Z2, P10: the old order is canceled only once the new one is confirmed."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    first = {order.role: order for order in story.sent()}
    assert {role: order.quantity for role, order in first.items()} == {STOP: Decimal("0.004"), TARGET: Decimal("0.004")}
    for order in first.values():
        story.accept(order)
    assert story.trade.status is TradeStatus.OPEN
    story.stream(story.entry, X.FILLED, WHOLE, part="0.006")
    second = {order.role: order for order in story.sent()}
    assert {role: order.quantity for role, order in second.items()} == {STOP: WHOLE, TARGET: WHOLE}
    assert story.canceled == []
    assert story.trade.status is TradeStatus.PROTECTING
    story.accept(second[STOP])
    assert story.canceled == [first[STOP].client_order_id]
    story.accept(second[TARGET])
    assert story.canceled == [first[TARGET].client_order_id]
    assert story.trade.status is TradeStatus.OPEN


def test_a_part_that_arrives_while_the_resize_is_in_flight_is_covered_next() -> None:
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.002", part="0.002")
    first = story.sent(STOP)[0]
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.005", part="0.003")
    assert story.sent() == []  # one placement of a leg in flight at a time
    story.accept(first)
    (second,) = story.sent(STOP)
    assert second.quantity == Decimal("0.005")
    story.stream(story.entry, X.FILLED, WHOLE, part="0.005")
    story.accept(second)
    (third,) = story.sent(STOP)
    assert (third.quantity, story.canceled) == (WHOLE, [])
    story.accept(third)
    assert story.canceled == [first.client_order_id, second.client_order_id]


def test_resizing_is_no_attempt() -> None:
    """Contract, section 9: attempts are placements that failed, not sizes."""
    story = Story(policy=PATIENT)
    for step in range(1, 10):
        story.stream(story.entry, X.PARTIALLY_FILLED, f"0.00{step}", part="0.001")
        for order in story.sent():
            story.accept(order)
    leg = story.trade.leg(STOP)
    assert leg is not None
    assert leg.attempts == 1
    assert story.stop.key.attempt == 9


def test_a_position_reduced_by_hand_keeps_a_stop_of_the_new_size() -> None:
    """Scenarios P10, H1."""
    story = Story().protect()
    old = story.stop
    story.show_position("0.007")
    assert {order.quantity for order in story.sent()} == {Decimal("0.007")}
    assert story.canceled == []
    story.accept(story.stop)
    assert story.canceled == [old.client_order_id]
    assert story.trade.close_reason is None


def test_an_exit_at_market_that_is_executing_is_left_to_end() -> None:
    story = Story().protect()
    story.stream(story.stop, X.PARTIALLY_FILLED, "0.004", part="0.004", is_triggered=True)
    assert story.sent() == []
    assert story.canceled == []
    story.stream(story.stop, X.FILLED, WHOLE, part="0.006", is_triggered=True)
    assert story.trade.status is TradeStatus.CLOSING


def test_a_resting_limit_target_filled_in_part_resizes_the_stop_and_is_no_failure() -> None:
    """Scenario P10: it may rest like that for hours; that is no reason to close."""
    policy = ProtectionPolicy(take_profit_type=OrderType.LIMIT)
    story = Story(submitted(policy), policy).protect()
    old = story.stop
    story.stream(story.target, X.PARTIALLY_FILLED, "0.004", part="0.004")
    (smaller,) = story.sent()
    assert (smaller.role, smaller.quantity, story.canceled) == (STOP, Decimal("0.006"), [])
    story.accept(smaller)
    assert story.canceled == [old.client_order_id]
    story.confirm_cancel(old)
    story.wait(3600)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)
    assert story.asked == ()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_refused_leg_is_tried_again_with_the_contracts_backoff(chance: float) -> None:
    """Contract, section 3: attempt n waits base * 2**n * U(0.5, 1), n from 0; the other leg is placed all the same."""
    story = Story(policy=PATIENT, chance=chance).fill_entry()
    story.accept(story.target)
    for n in range(5):
        order = story.stop
        story.refuse(order, Refusal.FILTER, -4014)
        assert story.sent() == []
        wake = min(command.at for command in story.all(WakeAt))
        assert wake == story.now + timedelta(seconds=0.2 * 2**n * (0.5 + chance / 2))
        story.now = wake - timedelta(milliseconds=1)
        story.decide()
        assert story.sent() == []
        story.wait(0.001)
        (again,) = story.sent()
        assert (again.role, again.key.attempt) == (STOP, order.key.attempt + 1)
    story.accept(story.stop)
    assert story.trade.status is TradeStatus.OPEN
    assert story.alerts == []


@pytest.mark.parametrize("family", [Refusal.REDUCE_ONLY, Refusal.TOO_MANY_ORDERS, Refusal.RATE_LIMIT, Refusal.FORMAT])
def test_every_other_refusal_is_retried_too(family: Refusal) -> None:
    """Scenario P2: -2022 and -4045 included."""
    story = Story().fill_entry()
    story.refuse(story.stop, family)
    assert story.trade.close_reason is None
    story.wake()
    assert [order.role for order in story.sent()] == [STOP]


def test_six_attempts_and_no_more_then_the_position_is_closed() -> None:
    """Contract, section 9: 6 means at most 6 placements of one leg."""
    story = Story(policy=PATIENT).fill_entry()
    story.accept(story.target)
    placements = 0
    while story.trade.close_reason is None:
        placements += 1
        story.refuse(story.stop, Refusal.FILTER)
        if story.trade.close_reason is None:
            story.wake()
    assert placements == 6
    assert story.trade.status is TradeStatus.CLOSING
    assert story.trade.close_reason is CloseReason.EMERGENCY
    assert story.alerts == ["protection_failed"]
    (close,) = story.sent(OrderRole.CLOSE)
    assert (close.quantity, close.request.type, close.request.reduce_only) == (WHOLE, OrderType.MARKET, True)
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.PROTECTION_FAILED
    assert "stop loss" in story.trade.error.message


def test_the_deadline_ends_it_even_with_attempts_left() -> None:
    story = Story().fill_entry()
    assert story.trade.deadline_at == story.now + timedelta(seconds=10)
    story.accept(story.target)
    story.wait(9.999)
    assert story.trade.close_reason is None
    story.wait(0.001)
    assert story.trade.close_reason is CloseReason.EMERGENCY
    assert [order.role for order in story.sent()] == [OrderRole.CLOSE]
    assert story.trade.error is not None
    assert "no stop loss on the book" in story.trade.error.message


def test_further_parts_do_not_move_the_deadline() -> None:
    """It runs from the first fill."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.002", part="0.002")
    deadline = story.trade.deadline_at
    story.wait(5)
    story.stream(story.entry, X.FILLED, WHOLE, part="0.008")
    assert story.trade.deadline_at == deadline


def test_the_desk_is_asked_to_wake_at_the_deadline() -> None:
    story = Story().fill_entry()
    assert WakeAt(story.now + timedelta(seconds=10)) in story.asked


def test_a_target_refused_for_good_closes_where_the_operator_wants_it() -> None:
    """Contract, section 9: TES_PROTECTION_ON_TP_FAILURE."""
    policy = replace(PATIENT, on_take_profit_failure=ProtectionFailurePolicy.CLOSE)
    story = Story(policy=policy).fill_entry()
    story.accept(story.stop)
    for _ in range(5):
        story.refuse(story.target, Refusal.FILTER)
        story.wake()
    story.refuse(story.target, Refusal.FILTER)
    assert story.trade.close_reason is CloseReason.EMERGENCY
    assert story.trade.error is not None
    assert "take profit" in story.trade.error.message
    assert story.stop.state is OrderState.NEW  # it stands until the position is flat


def test_a_missing_target_keeps_the_position_to_its_stop() -> None:
    """P14."""
    story = Story(policy=PATIENT).fill_entry()
    story.accept(story.stop)
    for _ in range(5):
        story.refuse(story.target, Refusal.FILTER)
        story.wake()
    story.refuse(story.target, Refusal.FILTER)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.PROTECTING, None)
    assert story.trade.protection_failed
    assert story.alerts == ["take_profit_missing"]
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.TAKE_PROFIT_MISSING
    story.wait(3600)
    assert story.trade.close_reason is None


def test_a_target_refused_while_the_stop_is_on_its_way_decides_nothing() -> None:
    story = Story(policy=PATIENT).fill_entry()
    for _ in range(8):
        story.refuse(story.target, Refusal.FILTER)
        story.wake()
    assert (story.trade.close_reason, story.alerts) == (None, [])
    story.accept(story.stop)
    story.refuse(story.target, Refusal.FILTER)
    assert story.alerts == ["take_profit_missing"]


def test_a_stop_that_came_at_last_leaves_a_missing_target() -> None:
    story = Story(policy=ALERTING).fill_entry()
    story.wait(10)
    assert story.alerts == ["protection_failed"]
    story.accept(story.stop)
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.TAKE_PROFIT_MISSING


def test_a_stop_that_vanishes_beside_a_missing_target_is_given_up_at_its_deadline() -> None:
    story = Story().fill_entry()
    story.accept(story.stop)
    story.wait(10)
    assert story.alerts == ["take_profit_missing"]
    story.stream(story.stop, X.CANCELED)
    assert not story.trade.protection_failed
    for _ in range(6):
        story.refuse(story.stop, Refusal.FILTER)
        if story.trade.close_reason is None:
            story.wait(2)
    assert story.trade.close_reason is CloseReason.EMERGENCY


def test_on_failure_alert_goes_on_at_the_longest_delay_and_ends_protected() -> None:
    """Contract, section 9."""
    story = Story(policy=ALERTING).fill_entry()
    story.accept(story.stop)
    story.wait(10)
    assert story.alerts == ["take_profit_missing"]
    for _ in range(20):
        story.refuse(story.target, Refusal.FILTER)
        if not story.sent():
            story.wake()
    before = story.now
    story.refuse(story.target, Refusal.FILTER)
    assert story.sent() == []
    story.wake()
    assert story.now - before == timedelta(seconds=0.2 * 2**5)
    story.accept(story.target)
    assert (story.trade.status, story.trade.error) == (TradeStatus.OPEN, None)
    assert not story.trade.protection_failed
    assert story.alerts == ["take_profit_missing"]


@pytest.mark.parametrize(
    ("role", "reason"), [(STOP, CloseReason.STOP_LOSS), (TARGET, CloseReason.TAKE_PROFIT)], ids=["stop", "target"]
)
def test_a_leg_that_would_trigger_at_once_closes_now(role: OrderRole, reason: CloseReason) -> None:
    """Scenario P1: without waiting for the deadline, whatever the failure policy says, and it is no failure."""
    story = Story(policy=ALERTING).fill_entry()
    story.refuse(story.latest(role), Refusal.IMMEDIATE_TRIGGER, -2021)
    assert [order.role for order in story.sent()] == [OrderRole.CLOSE]
    assert story.trade.close_reason is reason
    assert story.alerts == []
    story.accept(story.close, X.FILLED, WHOLE)
    sibling = story.latest(TARGET if role is STOP else STOP)
    story.accept(sibling)
    assert story.canceled == [sibling.client_order_id]
    story.confirm_cancel(sibling)
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, reason)


@pytest.mark.parametrize(
    ("action", "code", "is_reached"), [("buy", -4024, True), ("buy", -4016, False), ("sell", -4016, True)]
)
def test_a_target_at_a_limit_that_the_market_has_left_far_behind_is_reached(
    action: str, code: int, is_reached: bool
) -> None:
    """P1, seed 942: the exchange takes no sale far below the mark; one that is too far above it is only refused."""
    policy = replace(ALERTING, take_profit_type=OrderType.LIMIT)
    story = Story(trade=submitted(policy, action=action), policy=policy).fill_entry()
    story.refuse(story.target, Refusal.FILTER, code)
    assert story.trade.close_reason is (CloseReason.TAKE_PROFIT if is_reached else None)


def test_an_exit_that_was_held_back_leaves_under_the_id_it_had() -> None:
    """C1, seed 3182: the process before may have sent it and died before that was recorded."""
    story = Story().fill_entry()
    held_back = story.stop
    story.never_sent(held_back)
    story.wait(60)
    again = story.stop
    assert again.client_order_id == held_back.client_order_id
    assert again.transmissions == held_back.transmissions + 1


# --- unknown legs -----------------------------------------------------------------------------------------------------


def test_a_trailing_stop_whose_wait_is_over_follows_at_once() -> None:
    """-2021 on an activation price means that it is reached; nothing was hit."""
    wish = {"callback_rate": 1, "activation_price": 97000}
    story = Story(trade=submitted(trailing_stop=wish)).fill_entry()
    (order,) = story.sent(OrderRole.TRAILING_STOP)
    assert (order.request.activation_price, order.request.callback_rate) == (97000, 1)
    story.refuse(order, Refusal.IMMEDIATE_TRIGGER, -2021)
    (again,) = story.sent(OrderRole.TRAILING_STOP)
    assert (again.key.attempt, again.request.activation_price, again.request.callback_rate) == (2, None, 1)
    assert story.trade.close_reason is None


def test_the_stops_leave_before_the_target() -> None:
    """P4: whatever follows the market is a stop as well."""
    story = Story(trade=submitted(trailing_stop={"callback_rate": 1})).fill_entry()
    roles = [order.role for order in story.sent()]
    assert roles == [OrderRole.STOP_LOSS, OrderRole.TRAILING_STOP, OrderRole.TAKE_PROFIT]


def test_a_lost_leg_is_sent_again_at_once_under_the_same_id_with_the_same_parameters() -> None:
    """Design: UNKNOWN; an id is sent again only for the same unresolved placement."""
    story = Story().fill_entry()
    lost = story.stop
    story.lose(lost)
    (again,) = story.sent()
    assert again.request == lost.request
    assert (again.state, again.transmissions) == (OrderState.RESUBMITTING, 2)
    assert story.trade.status is TradeStatus.PROTECTING


def test_a_leg_lost_again_waits_and_keeps_its_id() -> None:
    story = Story(policy=PATIENT).fill_entry()
    lost = story.stop
    story.lose(lost)
    for _ in range(4):
        story.lose(story.stop)
        assert story.sent() == []
        story.wake()
        assert [order.client_order_id for order in story.sent()] == [lost.client_order_id]
    story.accept(story.stop)
    assert len(story.trade.orders_of(STOP)) == 1


def test_a_duplicate_id_means_that_the_leg_is_there_a_query_tells() -> None:
    """Scenario U2."""
    story = Story().fill_entry()
    story.accept(story.target)
    story.lose(story.stop)
    story.refuse(story.stop, Refusal.DUPLICATE_ID, -4116)
    assert [query.client_order_id for query in story.all(Query)] == [story.stop.client_order_id]
    assert story.sent() == []
    assert story.trade.status is TradeStatus.PROTECTING
    story.query(story.stop)
    assert story.trade.status is TradeStatus.OPEN
    assert len(story.trade.orders_of(STOP)) == 1


def test_a_leg_proven_absent_is_placed_under_the_next_id() -> None:
    story = Story().fill_entry()
    story.refuse(story.stop, Refusal.DUPLICATE_ID, -4116)
    story.absent(story.stop)
    if not story.sent():
        story.wake()
    (again,) = story.sent()
    assert again.key.attempt == 2


def test_a_refusal_of_the_second_transmission_proves_nothing_about_the_first() -> None:
    story = Story().fill_entry()
    story.lose(story.stop)
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    assert story.stop.state is OrderState.UNKNOWN
    story.stream(story.stop)
    assert story.stop.state is OrderState.NEW


def test_a_lost_leg_is_not_sent_again_for_another_size_under_the_same_id() -> None:
    story = Story(policy=PATIENT)
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    first = story.stop
    story.stream(story.entry, X.FILLED, WHOLE, part="0.006")
    story.lose(first)
    (second,) = story.sent(STOP)
    assert (second.key.attempt, second.quantity) == (2, WHOLE)
    story.accept(second)
    assert [one.client_order_id for one in story.all(Resolve)] == [first.client_order_id]
    story.query(first)  # it had arrived: away with it
    assert story.canceled == [first.client_order_id]


def test_a_leg_that_never_left_is_tried_again() -> None:
    story = Story().fill_entry()
    story.never_sent(story.stop)
    story.wake()
    assert [order.role for order in story.sent()] == [STOP]


def test_what_the_exchange_booked_counts() -> None:
    """Should an earlier transmission have asked for another quantity, it is resized."""
    story = Story().fill_entry()
    stop = story.stop
    booked = replace(story.report(stop), original_quantity=Decimal("0.004"))
    story.answer(stop, Accepted(report=booked))
    (resized,) = story.sent()
    assert resized.quantity == WHOLE
    assert story.canceled == []


# --- what is not in the way stays (P4), and clocks that are set (P12) -------------------------------------------------


def test_a_target_in_the_way_of_the_stop_goes_and_comes_back_behind_it() -> None:
    story = Story().fill_entry()
    stop, target = story.sent()
    story.accept(target)
    story.refuse(stop, Refusal.REDUCE_ONLY, -2022)
    assert story.canceled == [target.client_order_id]
    assert story.sent() == []
    story.now += timedelta(milliseconds=20)
    story.confirm_cancel(target)
    (again,) = story.sent()  # at once, and the target stands back until it is there
    assert again.role is STOP
    story.accept(again)
    assert [order.role for order in story.sent()] == [TARGET]


def test_a_target_that_was_not_in_the_way_stays_beside_the_missing_stop() -> None:
    """Refused without a target as well: somebody else's order covers the position."""
    story = Story(policy=PATIENT).fill_entry()
    stop, target = story.sent()
    story.accept(target)
    story.refuse(stop, Refusal.REDUCE_ONLY, -2022)
    story.now += timedelta(milliseconds=20)
    story.confirm_cancel(target)
    (again,) = story.sent()
    story.now += timedelta(milliseconds=20)
    story.refuse(again, Refusal.REDUCE_ONLY, -2022)
    (target,) = story.sent()
    assert target.role is TARGET
    story.accept(target)
    for _ in range(3):
        story.wake()
        (again,) = story.sent()
        story.refuse(again, Refusal.REDUCE_ONLY, -2022)
        assert story.canceled == []


def test_a_deadline_from_another_clock_is_no_longer_than_a_new_one() -> None:
    story = Story().fill_entry()
    story.trade = replace(story.trade, deadline_at=story.now + timedelta(hours=1))
    story.decide()
    assert story.trade.deadline_at == story.now + timedelta(seconds=10)


def test_times_that_lie_ahead_are_now_after_a_restart() -> None:
    story = Story().fill_entry()
    stop, _ = story.sent()
    story.refuse(stop, Refusal.TOO_MANY_ORDERS, -4045)
    story.now -= timedelta(hours=1)  # the host's clock was set back while nobody was there
    story.learn(facts.Restarted(at=story.now))
    leg = story.trade.leg(STOP)
    assert leg is not None
    assert leg.retry_at is None or leg.retry_at <= story.now + timedelta(seconds=5)
    assert all(order.submitted_at is None or order.submitted_at <= story.now for order in story.trade.orders)
