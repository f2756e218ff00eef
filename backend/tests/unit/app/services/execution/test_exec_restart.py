"""A restart is nothing special: load the facts, decide. What was in flight is unknown (scenario C1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from story import WHOLE, Story, submitted

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.reports import ExchangeOrderStatus
from app.domain.trades import CloseReason, TradeStatus
from app.services.execution import facts
from app.services.execution.commands import Account, CheckPosition, Query, Resolve, Send
from app.services.execution.exits import unrecorded_exits
from app.services.execution.folding import fold
from app.services.execution.protection import LOOK_FIRST

X = ExchangeOrderStatus
STOP, TARGET, CLOSE = OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.CLOSE
TRAILING = OrderRole.TRAILING_STOP


def restart(story: Story, down_s: float = 2, *, looks: bool = False) -> Story:
    """The process dies; another one takes the trade up as it is on record, and ``looks`` at the exchange first."""
    reborn = Story(story.trade, story.policy, story.now + timedelta(seconds=down_s), story.chance, fills=story.fills)
    reborn._numbers = story._numbers
    reborn.looks_until = reborn.now + LOOK_FIRST if looks else None
    reborn.learn(facts.Restarted(at=reborn.now))
    return reborn


def test_an_entry_in_flight_is_unknown_and_resolved_never_resent() -> None:
    story = restart(Story())
    assert story.entry.state is OrderState.UNKNOWN
    assert [one.client_order_id for one in story.all(Resolve)] == [story.entry.client_order_id]
    assert story.all(Send) == []
    story.query(story.entry, X.FILLED, WHOLE)
    assert [order.role for order in story.sent()] == [STOP, TARGET]
    assert story.entry.transmissions == 1


def test_an_entry_found_nowhere_fails() -> None:
    story = restart(Story())
    story.absent(story.entry)
    assert story.trade.status is TradeStatus.FAILED


def test_legs_in_flight_are_sent_again_under_their_ids() -> None:
    before = Story().fill_entry()
    ids = [order.client_order_id for order in before.sent()]
    story = restart(before)
    assert [order.client_order_id for order in story.sent()] == ids
    story.refuse(story.stop, Refusal.DUPLICATE_ID, -4116)  # it had arrived
    story.query(story.stop)
    story.accept(story.target)
    assert story.trade.status is TradeStatus.OPEN
    assert len(story.trade.orders) == 3


def test_exits_on_the_book_are_left_alone_however_long_an_outage_lasts() -> None:
    """H4: what the exchange showed counts until it shows otherwise; reconciliation asks as soon as it can."""
    story = restart(Story().protect(), down_s=3600)
    story.wait(60)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)
    assert story.told == []
    story.query(story.stop, X.CANCELED)
    assert [order.role for order in story.sent()] == [STOP]


def test_a_stop_that_executed_meanwhile_is_found_and_the_trade_closed() -> None:
    story = restart(Story().protect(), down_s=3600)
    story.query(story.stop, X.FILLED, WHOLE)
    assert story.canceled == [story.target.client_order_id]
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.STOP_LOSS)


def test_a_cancel_whose_answer_nobody_waits_for_is_asked_about_and_repeated() -> None:
    before = Story().protect()
    before.query(before.target, X.FILLED, WHOLE)
    assert before.stop.state is OrderState.CANCELING
    story = restart(before)
    assert [query.client_order_id for query in story.all(Query)] == [story.stop.client_order_id]
    story.query(story.stop)
    assert story.canceled == [story.stop.client_order_id]


def test_a_close_in_flight_is_not_repeated_before_the_position_was_read() -> None:
    before = Story().protect()
    before.ask_close()
    story = restart(before)
    assert story.close.state is OrderState.UNKNOWN
    assert story.all(CheckPosition) == [CheckPosition()]
    assert story.sent() == []
    story.query(story.close, X.FILLED, WHOLE)
    assert story.sent() == []
    assert story.trade.exposure == 0


def test_a_close_that_left_and_was_never_recorded_is_found_and_counts() -> None:
    """C1: exits leave before their record. Taken for somebody else's, what others hold would be closed too."""
    before = Story().protect()
    recorded = before.trade
    before.ask_close()
    sent = before.close
    story = restart(replace(before, trade=recorded))
    assert sent.client_order_id in unrecorded_exits(recorded)
    assert sent.client_order_id in unrecorded_exits(story.trade)
    story.query(sent, X.FILLED, WHOLE)
    assert (story.trade.exposure, story.trade.externally_reduced) == (0, 0)
    assert story.trade.status is TradeStatus.CLOSING
    assert story.close.key == sent.key
    assert story.close.state is OrderState.FILLED


def test_a_stop_that_left_and_was_never_recorded_takes_the_place_of_the_older_one() -> None:
    before = Story().protect()
    recorded = before.trade
    before.query(before.stop, X.CANCELED)
    before.wait(5)
    sent = before.stop
    story = restart(replace(before, trade=recorded))
    story.stream(sent)
    assert [order.key.attempt for order in story.trade.orders_of(STOP)] == [1, 2]
    assert story.stop.state is OrderState.NEW


def test_a_trailing_stop_that_left_and_was_never_recorded_is_the_one_that_was_wished() -> None:
    """A report does not say what it follows by; another one was placed beside it (the simulation's seed 7619)."""
    before = Story(trade=submitted(trailing_stop={"callback_rate": 1})).fill_entry()
    for order in before.sent():
        before.accept(order)
    recorded = before.trade
    before.query(before.latest(TRAILING), X.CANCELED)
    before.wait(5)
    sent = before.latest(TRAILING)
    assert sent.key.attempt == 2
    story = restart(replace(before, trade=recorded))
    story.query(story.latest(TRAILING), X.CANCELED)
    story.query(sent)
    story.wait(1)
    assert [order.key.attempt for order in story.trade.orders_of(TRAILING)] == [1, 2]
    assert story.trade.status is TradeStatus.OPEN


def test_the_next_attempts_are_what_may_have_left_unrecorded() -> None:
    story = Story().protect()
    assert [name[-2:] for name in unrecorded_exits(story.trade)] == ["s2", "s3", "t2", "t3", "c1", "c2"]
    for _ in range(2):
        story = restart(story)
    assert [name[-2:] for name in unrecorded_exits(story.trade)] == ["s2", "s3", "t2", "t3", "c1", "c2", "c3", "c4"]


def test_what_many_restarts_ago_may_have_left_is_still_looked_for() -> None:
    """Their looks may never have come to an end (the simulation's seed 1804)."""
    story = Story().protect()
    for _ in range(8):
        story = restart(story)
    assert str(replace(story.entry.key, role=CLOSE, attempt=1)) in unrecorded_exits(story.trade)


def test_planned_exits_are_what_may_have_left_unrecorded_first() -> None:
    """They are on record with the intent; whether they left is not (the simulation's seed 2347)."""
    assert [name[-2:] for name in unrecorded_exits(Story().trade)] == ["s1", "s2", "t1", "t2", "c1", "c2"]


def test_a_close_after_a_restart_waits_for_what_the_dead_process_may_have_sent() -> None:
    """C1: a second one would take a part of what somebody else holds (the simulation's seeds 354 and 1035)."""
    story = restart(Story().protect())
    story.looks_until = story.now + LOOK_FIRST
    story.ask_close()
    assert story.trade.latest(OrderRole.CLOSE) is None
    story.looks_until = None  # what was looked for is known
    story.wait(0.1)
    assert story.close.state is OrderState.SUBMITTING


def test_a_close_that_may_have_been_sent_waits_as_long_as_a_stop_stands() -> None:
    """C1: orders could not be read for long, and a second close took what somebody else held (seed 8612)."""
    story = restart(Story().protect())
    story.looks_until = story.now + LOOK_FIRST
    story.ask_close()
    story.wait(60)
    assert story.trade.latest(CLOSE) is None
    story.query(story.stop, X.CANCELED)
    assert story.close.state is OrderState.SUBMITTING


def test_a_close_waits_for_late_lists_and_a_stop_does_not() -> None:
    """C1, O9: the close of the dead process may be all that changed a position that others share (seed 8)."""
    story = restart(Story().protect())
    story.is_behind = True
    story.ask_close()
    story.wait(1)
    assert story.trade.latest(CLOSE) is None
    story.is_behind = False
    story.wait(0.1)
    assert story.close.state is OrderState.SUBMITTING
    bare = restart(Story())
    bare.is_behind = True
    bare.query(bare.entry, X.FILLED, WHOLE)
    assert bare.stop.state is OrderState.SUBMITTING


def test_exits_after_a_restart_wait_but_not_for_ever() -> None:
    """P2: when nothing can be read, the exits go out, and their ids must do."""
    story = restart(Story())
    story.looks_until = story.now + LOOK_FIRST
    story.query(story.entry, X.FILLED, WHOLE)
    assert (story.trade.exposure, story.stop.state) == (WHOLE, OrderState.PLANNED)
    story.wait(LOOK_FIRST.total_seconds())
    assert story.stop.state is OrderState.SUBMITTING


def test_an_entry_whose_exit_has_filled_too_is_no_entry_that_failed() -> None:
    """Both happened while no process ran, and both are told at once (the simulation's seed 3920)."""
    story = restart(Story())
    stop = facts.OrderQueried(at=story.now, report=story.report(story.stop, X.FILLED, WHOLE))
    story.trade = fold(story.trade, stop)
    story.query(story.entry, X.FILLED, WHOLE)
    assert story.trade.status is TradeStatus.CLOSING


def closed_at_its_target() -> Story:
    story = Story().protect()
    story.stream(story.target, X.FILLED, WHOLE, WHOLE, is_triggered=True)
    story.clean()
    story.account()
    assert story.trade.status is TradeStatus.CLOSED
    return story


def test_an_exit_that_turns_up_after_the_end_is_taken_off_the_book() -> None:
    """One of a dead process, found a moment after its sibling's fill (the simulation's seed 8547)."""
    story = closed_at_its_target()
    late = replace(story.stop, key=replace(story.stop.key, attempt=2))
    late = replace(late, request=replace(late.request, client_order_id=str(late.key)))
    story.query(late)
    assert story.canceled == [late.client_order_id]


def test_what_an_exit_that_turns_up_after_the_end_has_executed_is_booked() -> None:
    """It took what somebody else held, and the record says so (the simulation's seed 8836)."""
    story = closed_at_its_target()
    late = replace(story.stop, key=replace(story.stop.key, attempt=2))
    late = replace(late, request=replace(late.request, client_order_id=str(late.key)))
    story.query(late, X.FILLED, WHOLE)
    assert story.all(Account) == [Account()]
    story.account()
    assert story.trade.is_every_fill_known
    assert (story.trade.status, story.asked) == (TradeStatus.CLOSED, ())


def test_a_planned_order_that_the_exchange_has_was_sent() -> None:
    """Or its fate would not be asked for when the position is gone (the simulation's seed 4111)."""
    story = restart(Story())
    story.query(story.stop, X.NEW)
    assert story.stop.transmissions == 1


def test_an_order_of_another_trade_or_an_entry_is_never_taken_in() -> None:
    story = Story().protect()
    entry = replace(story.entry, key=replace(story.entry.key, attempt=2))
    for stranger in ("tes.06ex5tn9g0000000zzzz.c1", str(entry.key), "my-own-order"):
        report = replace(story.report(story.stop), client_order_id=stranger)
        story.learn(facts.OrderQueried(at=story.now, report=report))
    assert len(story.trade.orders) == 3


def test_a_close_whose_pause_was_going_on_goes_on() -> None:
    before = Story().protect()
    before.ask_close()
    before.refuse(before.close, Refusal.LIQUIDITY)
    story = restart(before, down_s=30)
    (again,) = story.sent()
    assert again.role is CLOSE
    assert again.key.attempt > 1


def test_a_part_filled_entry_is_asked_about_and_its_exits_restored() -> None:
    before = Story()
    before.stream(before.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    story = restart(before)
    assert story.entry.client_order_id in {query.client_order_id for query in story.all(Query)}
    story.query(story.entry, X.FILLED, WHOLE)
    story.lose(story.stop)
    story.wake()
    assert [(order.key.attempt, order.quantity) for order in story.sent(STOP)] == [(2, WHOLE)]


def test_a_deadline_that_has_not_passed_survives_the_restart() -> None:
    """Design: it runs from the first fill, whichever process sees its end."""
    story = restart(Story().fill_entry(), down_s=8)
    story.wait(2.1)
    assert story.trade.close_reason is CloseReason.EMERGENCY
    assert [order.role for order in story.sent()][-1] is CLOSE


def test_a_flat_trade_that_was_not_accounted_is_accounted() -> None:
    before = Story().protect()
    before.query(before.target, X.FILLED, WHOLE)
    before.clean()
    story = restart(before)
    assert story.asked == (Account(),)
    story.account()
    assert story.trade.status is TradeStatus.CLOSED


@pytest.mark.parametrize("restarts", [2, 5])
def test_restarting_again_and_again_changes_nothing(restarts: int) -> None:
    story = Story().fill_entry()
    for _ in range(restarts):
        story = restart(story, down_s=0.5)
    assert len(story.trade.orders) == 3
    assert {order.state for order in story.trade.orders[1:]} <= {OrderState.RESUBMITTING, OrderState.UNKNOWN}
    story.stream(story.stop)
    story.stream(story.target)
    assert story.trade.status is TradeStatus.OPEN


@pytest.mark.parametrize("family", [Refusal.MARGIN, Refusal.FILTER])
def test_an_ended_trade_stays_ended(family: Refusal) -> None:
    before = Story()
    before.refuse(before.entry, family)
    story = restart(before)
    assert (story.trade.status, story.asked) == (TradeStatus.FAILED, ())


def test_a_deadline_that_passed_while_nobody_was_there_leaves_one_attempt() -> None:
    """C1: the exits are as fast as a close would be; only should they fail is it closed."""
    story = restart(Story().fill_entry(), down_s=3600, looks=True)
    assert story.sent() == []
    story.wait(LOOK_FIRST.total_seconds())
    assert [order.role for order in story.sent()] == [STOP, TARGET]
    story.accept(story.stop)
    story.accept(story.target)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)


def test_the_one_attempt_after_a_long_outage_is_all_there_is() -> None:
    story = restart(Story().fill_entry(), down_s=3600, looks=True)
    story.wait(LOOK_FIRST.total_seconds() + 3.1)
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSING, CloseReason.EMERGENCY)


def test_a_deadline_that_would_pass_while_we_look_leaves_time_for_one_attempt() -> None:
    """The simulation's seed 4393: the exits went out in the moment in which they were given up."""
    story = restart(Story().fill_entry(), down_s=8)
    story.looks_until = story.now + LOOK_FIRST
    story.decide()
    story.wake()
    story.wake()
    assert (story.now, story.trade.close_reason) == (story.looks_until, None)
    story.wait(2.9)
    assert story.trade.close_reason is None
    story.wait(0.2)
    assert story.trade.close_reason is CloseReason.EMERGENCY


def test_what_was_given_up_before_the_process_died_gets_no_other_chance() -> None:
    before = Story().fill_entry()
    before.wait(10.1)
    assert before.trade.close_reason is CloseReason.EMERGENCY
    story = restart(before, down_s=3600)
    assert story.trade.status is TradeStatus.CLOSING
