"""The way out: sibling gone, no dust, the money from the exchange's books, the reason told right."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from story import BITCOIN, DEEP_BOOK, MARK, WHOLE, Story, submitted

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState
from app.domain.policy import ForeignOrdersPolicy as Foreign
from app.domain.policy import ProtectionPolicy
from app.domain.reports import (
    Accepted,
    ExchangeOrderStatus,
    OrderType,
    PositionSide,
    Refused,
    Side,
    TimeInForce,
    Unknown,
)
from app.domain.reports import RequestStamp as Stamp
from app.domain.trades import AdjustmentKind, CloseReason, TradeStatus
from app.services.execution import facts
from app.services.execution.commands import (
    Account,
    Alert,
    Cancel,
    CancelForeign,
    CheckPosition,
    Query,
    ReadBook,
    ReadCover,
    Resolve,
    Severity,
    WakeAt,
)
from app.services.execution.foreign_cover import ForeignCover, covering_orders

X = ExchangeOrderStatus
STOP, TARGET, CLOSE = OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.CLOSE
BACK = OrderRole.TAKE_BACK
SIBLING = {STOP: TARGET, TARGET: STOP}
REASON = {STOP: CloseReason.STOP_LOSS, TARGET: CloseReason.TAKE_PROFIT}


def triggered(story: Story, order: Order) -> None:
    """The exit triggers and fills, as the stream tells it."""
    story.stream(order, X.EXPIRED)
    story.stream(order, X.NEW, is_triggered=True)
    story.stream(order, X.FILLED, WHOLE, part=WHOLE, is_triggered=True)


def closing(reason: CloseReason = CloseReason.DECISION) -> Story:
    """Protected, then asked to close; the close is in flight."""
    story = Story().protect()
    story.ask_close(reason)
    assert [order.role for order in story.sent()] == [CLOSE]
    return story


# --- exits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [STOP, TARGET])
def test_after_an_exit_the_sibling_is_canceled_confirmed_and_the_trade_accounted(role: OrderRole) -> None:
    """Scenarios O1, H5."""
    story = Story().protect()
    triggered(story, story.latest(role))
    sibling = story.latest(SIBLING[role])
    assert story.canceled == [sibling.client_order_id]
    assert story.trade.status is TradeStatus.CLOSING
    story.confirm_cancel(sibling)
    assert story.all(Account) == [Account()]
    assert story.trade.status is TradeStatus.CLOSING
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, REASON[role])
    assert story.trade.closed_at == story.now
    assert story.trade.funding == Decimal("-0.5")
    assert story.sent() == []


def test_an_exit_that_a_query_found_filled_closes_too() -> None:
    story = Story().protect()
    story.query(story.target, X.FILLED, WHOLE)
    assert story.canceled == [story.stop.client_order_id]


def test_a_sibling_whose_cancel_is_refused_is_queried_before_anything_is_concluded() -> None:
    """Scenario O3."""
    story = Story().protect()
    triggered(story, story.target)
    story.cancel_answer(story.stop, Refused(family=Refusal.ORDER_NOT_FOUND, code=-2011, message="unknown order"))
    assert [query.client_order_id for query in story.all(Query)] == [story.stop.client_order_id]
    assert story.all(Account) == []
    story.query(story.stop, X.EXPIRED)
    assert story.all(Account) == [Account()]


def test_a_sibling_whose_cancel_got_no_answer_is_queried_and_canceled_again() -> None:
    story = Story().protect()
    triggered(story, story.target)
    stamp = Stamp(value=1, dead_after=story.now)
    story.cancel_answer(story.stop, Unknown(reason="timeout", stamp=stamp))
    assert story.all(Query)
    story.query(story.stop)
    assert story.canceled == [story.stop.client_order_id]
    story.stream(story.stop, X.CANCELED)
    assert story.all(Account) == [Account()]


def test_a_sibling_still_in_flight_is_canceled_when_it_lands() -> None:
    story = Story().fill_entry()
    story.accept(story.target)
    triggered(story, story.target)
    assert story.canceled == []
    assert story.trade.status is TradeStatus.CLOSING
    story.accept(story.stop)
    assert story.canceled == [story.stop.client_order_id]


def test_a_sibling_of_unknown_fate_is_resolved_before_the_end() -> None:
    story = Story().fill_entry()
    story.accept(story.target)
    story.lose(story.stop)
    story.lose(story.stop)
    triggered(story, story.target)
    assert [one.client_order_id for one in story.all(Resolve)] == [story.stop.client_order_id]
    story.absent(story.stop)
    assert story.all(Account) == [Account()]


def test_an_exit_that_never_left_the_plan_is_not_canceled_at_the_exchange() -> None:
    """An entry whose fill and its undoing are seen together: the planned exits are simply not placed."""
    story = Story()
    story.ask_close()
    story.fill_entry()
    story.accept(story.close, X.FILLED, WHOLE)
    assert story.canceled == []
    assert {story.stop.state, story.target.state} == {OrderState.NOT_PLACED}
    story.account()
    assert story.trade.status is TradeStatus.CLOSED


def test_the_trade_waits_until_every_fill_is_known() -> None:
    """Scenario H5: the exchange's history may lag behind its orders."""
    story = Story().protect()
    triggered(story, story.stop)
    story.clean()
    part = story.fill(story.entry, "0.004")
    known = next(fill for fill in story.fills.values() if fill.order_id == story.order_id(story.stop))
    story.learn(facts.Accounted(at=story.now, fills=(part, known), funding=ZERO))
    assert story.trade.status is TradeStatus.CLOSING
    assert story.all(Account) == [Account()]
    story.account()
    assert story.trade.status is TradeStatus.CLOSED
    assert sum(fill.quantity for fill in story.trade.fills) == 2 * WHOLE


def test_the_books_replace_what_the_stream_said_of_a_fill() -> None:
    """The history knows the fee; one execution stays one."""
    story = Story()
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    (streamed,) = story.trade.fills
    story.learn(facts.Accounted(at=story.now, fills=(streamed,), funding=ZERO))
    assert len(story.trade.fills) == 1


# --- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [CloseReason.MANUAL, CloseReason.DECISION, CloseReason.HALT])
def test_a_wish_to_close_sends_one_reduce_only_market_order_and_tells_its_reason(reason: CloseReason) -> None:
    story = closing(reason)
    request = story.close.request
    assert (request.type, request.quantity, request.reduce_only) == (OrderType.MARKET, WHOLE, True)
    story.accept(story.close, X.FILLED, WHOLE)
    assert set(story.canceled) == {story.stop.client_order_id, story.target.client_order_id}
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, reason)


def test_a_close_in_hedge_mode_names_the_side_and_is_not_reduce_only() -> None:
    story = Story(submitted(position_side=PositionSide.LONG)).protect()
    story.ask_close()
    request = story.close.request
    assert (request.position_side, request.reduce_only) == (PositionSide.LONG, False)


def test_the_exits_stand_until_the_close_is_filled() -> None:
    """No window without a stop on the way out either."""
    story = closing()
    assert story.canceled == []
    assert (story.stop.state, story.target.state) == (OrderState.NEW, OrderState.NEW)


def test_asking_again_does_not_close_twice_and_the_first_reason_stays() -> None:
    story = closing(CloseReason.DECISION)
    for _ in range(5):
        story.ask_close(CloseReason.HALT)
        assert story.sent() == []
    assert story.trade.close_reason is CloseReason.DECISION


def test_a_wish_to_close_before_the_fill_closes_what_then_fills() -> None:
    story = Story()
    story.ask_close()
    assert story.sent() == []
    story.fill_entry()
    assert [order.role for order in story.sent()] == [CLOSE]


def test_a_close_that_races_a_stop_closes_once_and_the_executions_tell_the_reason() -> None:
    story = closing()
    triggered(story, story.stop)
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.STOP_LOSS)
    assert story.trade.exposure == ZERO


def test_a_close_refused_for_a_resting_target_frees_it_rereads_and_tries_again() -> None:
    """Scenarios O4, U9, P13: the stop stays."""
    story = closing()
    first = story.close
    story.refuse(first, Refusal.REDUCE_ONLY, -2022)
    assert story.canceled == [story.target.client_order_id]
    assert story.all(CheckPosition) == [CheckPosition()]
    assert story.all(ReadCover) == [ReadCover(side=Side.SELL)]
    assert story.sent() == []
    story.clean()
    story.cover = replace(covered(story), orders=())
    story.wake()
    (again,) = story.sent()
    assert (again.role, again.key.attempt, again.quantity) == (CLOSE, 2, WHOLE)


def test_other_refusals_of_a_close_leave_the_exits_standing() -> None:
    story = closing()
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    assert story.canceled == []
    story.wake()
    assert [order.role for order in story.sent()] == [CLOSE]


def covered(story: Story, held: Decimal = WHOLE, limit: str = "0.010") -> ForeignCover:
    """A person's limit that covers what is held, seen among the open orders."""
    ours = story.report(story.target)
    theirs = replace(ours, client_order_id="web_1", type_text="LIMIT", original_quantity=Decimal(limit), order_id=77)
    rising = replace(theirs, client_order_id="web_2", side=story.trade.side.entry_side)
    waiting = replace(theirs, client_order_id="web_3", type_text="STOP_MARKET")
    side = story.trade.side.exit_side
    orders = covering_orders(story.trade, side, (ours, theirs, rising, waiting))
    return ForeignCover(side=side, held=held, orders=orders, at=story.now)


def test_a_close_that_a_foreign_order_covers_is_plain_and_the_stop_stays() -> None:
    """Scenarios O8, P13: not more than what is held, whoever holds more; and the order is named."""
    story = closing()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.cover = covered(story, held=Decimal("0.008"))
    story.wake()
    (again,) = story.sent(CLOSE)
    assert (again.request.reduce_only, again.request.type, again.quantity) == (
        False,
        OrderType.MARKET,
        Decimal("0.008"),
    )
    (alert,) = story.all(Alert)
    assert (alert.code, "77 (SELL 0.01" in alert.message) == ("close_blocked", True)
    assert story.stop.state is OrderState.NEW


def test_a_plain_close_in_doubt_is_resolved_and_never_repeated() -> None:
    """Scenario O8: it could open the other side."""
    story = closing()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.cover = covered(story)
    story.wake()
    story.lose(story.close)
    assert story.all(Resolve) == [Resolve(story.close.client_order_id)]
    for _ in range(5):
        story.wait(10)
        assert story.sent(CLOSE) == []
    story.absent(story.close)
    story.wake()
    assert story.sent(CLOSE)[0].request.reduce_only


@pytest.mark.parametrize("side", [PositionSide.BOTH, PositionSide.LONG])
def test_without_leave_for_a_plain_close_it_is_told_and_tried_on(side: PositionSide) -> None:
    """Scenario O8: by policy, and in hedge mode, where no order can be plainer; what was freed comes back."""
    policy = ProtectionPolicy() if side is PositionSide.LONG else ProtectionPolicy(foreign_orders=Foreign.ALERT)
    story = Story(submitted(position_side=side), policy=policy).protect()
    story.ask_close()
    freed = story.target
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.clean()
    for _ in range(7):
        story.cover = None
        story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
        story.cover = covered(story)
        story.wake()
        assert story.sent(CLOSE)[0].request.reduce_only is (side is PositionSide.BOTH)
    assert story.alerts.count("close_blocked") == 2
    assert (story.stop.state, story.target.key.attempt) == (OrderState.NEW, freed.key.attempt + 1)
    assert sum(command == Cancel(freed.client_order_id) for command in story.told) == 1


def test_by_policy_the_foreign_orders_are_canceled_and_then_it_is_closed() -> None:
    """Scenario O8."""
    story = Story(policy=ProtectionPolicy(foreign_orders=Foreign.CANCEL)).protect()
    story.ask_close()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.cover = covered(story)
    story.decide()
    (command,) = story.all(CancelForeign)
    assert "77 (SELL" in command.alert.message
    story.cover = replace(story.cover, orders=())
    story.decide()
    story.wake()
    assert story.sent(CLOSE)[0].request.reduce_only


def test_a_close_refused_without_a_reason_to_be_seen_stays_reduce_only() -> None:
    """Scenarios O8, P13: -2022 may mean that the position is gone; our exits come back, and the stop never left."""
    story = closing()
    story.cover = replace(covered(story), orders=())
    for _ in range(4):
        story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
        story.clean()
        story.wake()
        assert story.sent(CLOSE)[0].request.reduce_only
        assert story.stop.key.attempt == 1
    assert story.target.key.attempt > 1


def test_a_stop_taken_away_while_closes_fail_comes_back() -> None:
    """Scenario P13."""
    story = closing()
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    story.wake()
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    story.stream(story.stop, X.CANCELED)
    assert [order.role for order in story.sent()] == [STOP]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_plain_close_that_went_too_far_is_taken_back_once(side: str) -> None:
    """Scenario O8: a race; what the executions show to be opened on the other side goes, and no more."""
    story = Story(submitted(action=side)).protect()
    story.ask_close()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.cover = covered(story)
    story.wake()
    story.accept(story.close, X.FILLED, WHOLE)
    assert story.all(Account)
    story.clean()
    story.account(overshoot="0.004")
    (back,) = story.sent()
    assert (back.role, back.quantity, back.request.side) == (BACK, Decimal("0.004"), story.trade.side.entry_side)
    assert back.request.reduce_only
    assert "close_overshot" in story.alerts
    story.account(overshoot="0.004")
    assert story.sent() == []
    story.accept(back, X.FILLED, "0.004")
    story.account(overshoot="0.004")
    assert story.trade.status is TradeStatus.CLOSED
    assert (story.trade.exposure, story.trade.overshoot) == (ZERO, Decimal("0.004"))


def test_what_is_left_of_an_overshoot_is_looked_at_before_it_is_taken_back() -> None:
    """Scenario O8: somebody may have closed it meanwhile."""
    story = closing()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.cover = covered(story)
    story.wake()
    story.accept(story.close, X.FILLED, WHOLE)
    story.clean()
    story.account(overshoot="0.004")
    story.refuse(story.latest(BACK), Refusal.REDUCE_ONLY, -2022)
    assert story.sent() == []
    story.account(overshoot="0")
    assert story.sent() == []
    assert story.trade.status is TradeStatus.CLOSED


def held(quantity: str) -> Story:
    """A position as large as two market orders and more, protected."""
    story = Story(submitted(allocation_usd=MARK * 119)).protect()
    story.learn(facts.OrderQueried(at=story.now, report=story.report(story.entry, X.FILLED, quantity)))
    return story


def test_a_position_above_the_market_maximum_is_closed_in_parts_at_once() -> None:
    """Scenario O7: no part above the maximum, none too small, no pause between them."""
    story = held("119")
    more = story.adjust(AdjustmentKind.INCREASE, "119")
    assert more is not None
    story.accept(more, X.FILLED, "119")
    story.ask_close()
    sent: list[Decimal] = []
    while orders := story.sent(CLOSE):
        sent.append(orders[0].quantity)
        story.accept(orders[0], X.FILLED, orders[0].quantity)
    assert sent == [Decimal(120), Decimal(118)]
    assert story.trade.exposure == ZERO


def test_a_close_above_a_maximum_that_we_do_not_know_is_halved_until_it_fits() -> None:
    """Scenario O7: -4005 means parts."""
    story = held("119")
    story.ask_close()
    for _ in range(2):
        story.refuse(story.close, Refusal.FILTER, -4005)
        story.wake()
    assert story.close.quantity == Decimal("29.75")
    story.accept(story.close, X.FILLED, "29.75")
    assert [order.quantity for order in story.sent(CLOSE)] == [Decimal("29.75")]


def test_a_close_refused_because_the_position_is_gone_is_success() -> None:
    """Scenario U9: flat is success."""
    story = closing()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.taken_by_hand(WHOLE)
    story.show_position(0)
    assert story.sent() == []
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.DECISION)


def test_the_close_is_tried_until_flat_with_growing_pauses_and_alerts_that_go_on() -> None:
    """Scenario P3."""
    story = closing(CloseReason.EMERGENCY)
    pauses: list[timedelta] = []
    for attempt in range(1, 31):
        assert story.close.key.attempt == attempt
        story.refuse(story.close, Refusal.LIQUIDITY, -4131)
        (wake,) = story.all(WakeAt)
        pauses.append(wake.at - story.now)
        story.wake()
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=0.2)
    assert pauses[-1] == timedelta(seconds=5)
    assert story.alerts == ["close_failing"] * 7
    severities = [alert.severity for alert in story.told if isinstance(alert, Alert)]
    assert severities == [Severity.WARNING, *[Severity.CRITICAL] * 6]
    story.accept(story.close, X.FILLED, WHOLE)
    story.clean()
    story.account()
    assert story.trade.status is TradeStatus.CLOSED


def test_a_close_filled_in_part_is_followed_by_one_for_the_rest() -> None:
    """Scenario Z5: no dust stays."""
    story = closing()
    story.accept(story.close, X.EXPIRED, "0.007")
    story.wake()
    (rest,) = story.sent()
    assert (rest.role, rest.quantity) == (CLOSE, Decimal("0.003"))
    story.accept(rest, X.FILLED, "0.003")
    assert story.trade.exposure == ZERO


def test_a_market_close_without_counterparty_goes_on_in_slices_of_what_the_book_shows() -> None:
    """Scenario O5: the price takes the last level needed and keeps the percent-price filter."""
    story = closing(CloseReason.EMERGENCY)
    bids = tuple((Decimal(price), Decimal("0.003")) for price in (95990, 95980, 90000))
    story.book = replace(DEEP_BOOK, bids=bids)
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    assert story.all(ReadBook)
    assert story.all(CheckPosition)
    story.wake()
    (part,) = story.sent()
    request = part.request
    assert (request.type, request.time_in_force, request.reduce_only) == (OrderType.LIMIT, TimeInForce.IOC, True)
    assert request.quantity == Decimal("0.006")
    assert request.price is not None
    assert MARK * BITCOIN.percent_down <= request.price <= Decimal(95980)
    story.accept(part, X.FILLED, "0.006")
    story.wake()
    (rest,) = story.sent()
    assert (rest.request.type, rest.quantity) == (OrderType.LIMIT, Decimal("0.004"))


def test_an_empty_book_is_tried_at_the_filters_bound() -> None:
    """Scenario O5."""
    story = closing(CloseReason.EMERGENCY)
    story.book = replace(DEEP_BOOK, bids=())
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    story.wake()
    (part,) = story.sent()
    assert (part.request.price, part.quantity) == (MARK * BITCOIN.percent_down, WHOLE)


def test_a_book_that_cant_be_read_does_not_hold_the_close_up() -> None:
    """Scenario P3."""
    story = closing(CloseReason.EMERGENCY)
    story.book = None
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    story.wake()
    assert story.sent() == []
    story.wait(3)
    (again,) = story.sent()
    assert again.request.type is OrderType.MARKET


def test_a_slice_that_the_filters_refuse_leads_back_to_a_market_order() -> None:
    story = closing(CloseReason.EMERGENCY)
    story.refuse(story.close, Refusal.LIQUIDITY, -4131)
    story.wake()
    story.refuse(story.close, Refusal.FILTER, -4024)
    story.wake()
    (again,) = story.sent()
    assert again.request.type is OrderType.MARKET


def test_a_lost_close_rereads_the_position_before_another_one_is_sent() -> None:
    """Scenario U9: a close is reduce-only, so the second can't overshoot."""
    story = closing()
    story.lose(story.close)
    assert story.sent() == []
    assert story.all(CheckPosition) == [CheckPosition()]
    story.show_position(WHOLE)
    assert story.sent() == []
    story.wake()
    (again,) = story.sent()
    assert again.key.attempt == 2


def test_a_lost_close_that_the_position_shows_done_is_not_repeated() -> None:
    story = closing()
    lost = story.close
    story.lose(lost)
    story.query(lost, X.FILLED, WHOLE)
    story.show_position(0)
    story.clean()
    for _ in range(3):
        story.wait(10)
        assert story.sent() == []
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.DECISION)
    assert story.trade.externally_reduced == ZERO


def test_a_close_accepted_without_a_fill_is_asked_about() -> None:
    """Scenario U6."""
    story = closing()
    story.accept(story.close)
    assert [query.client_order_id for query in story.all(Query)] == [story.close.client_order_id]


# --- the hand of man --------------------------------------------------------------------------------------------------


def test_a_position_closed_by_hand_is_adopted_as_manual_and_its_exits_canceled() -> None:
    """Scenario H1: never reopened."""
    story = Story().protect()
    story.taken_by_hand(WHOLE)
    story.show_position(0)
    assert set(story.canceled) == {story.stop.client_order_id, story.target.client_order_id}
    assert story.sent() == []
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.MANUAL)


def test_a_position_that_went_without_a_trace_is_closed_as_reconciled() -> None:
    """Contract, section 9: the exchange no longer tells how."""
    story = Story().protect()
    story.show_position(0)
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.RECONCILED)


def test_a_reversal_by_hand_closes_our_trade_and_leaves_the_new_position_alone() -> None:
    """Contract, section 9."""
    story = Story().protect()
    story.taken_by_hand(WHOLE)
    story.show_position("-0.010")
    assert story.sent() == []
    story.clean()
    story.account()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.CLOSED, CloseReason.MANUAL)


def test_an_increase_by_hand_is_not_ours() -> None:
    story = Story().protect()
    assert story.show_position("0.025") == ()
    assert story.trade.exposure == WHOLE


def test_a_short_is_read_with_its_own_sign() -> None:
    story = Story(submitted(action="sell")).protect()
    assert story.show_position("-0.010") == ()
    story.show_position("-0.004")
    assert {order.quantity for order in story.sent()} == {Decimal("0.004")}


def test_an_exit_filled_behind_the_read_is_not_counted_twice() -> None:
    """The position is read before the orders are; what they then explain was not taken by anybody else."""
    story = Story().protect()
    triggered(story, story.stop)
    story.show_position(WHOLE)
    assert (story.trade.externally_reduced, story.trade.exposure) == (ZERO, ZERO)


def test_an_entry_that_filled_behind_the_read_was_not_reduced_by_anybody() -> None:
    """Otherwise the part that filled in between would stay without a stop for good."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    read = facts.PositionShown(
        at=story.now,
        quantity=Decimal("0.004"),
        entered_before=story.trade.entered_quantity,
        transmissions_before=story.trade.transmissions,
    )
    story.stream(story.entry, X.FILLED, WHOLE, part="0.006")
    story.learn(read)
    assert (story.trade.exposure, story.trade.externally_reduced) == (WHOLE, ZERO)


def test_a_close_sent_behind_the_read_was_nobody_elses_reduction() -> None:
    """Otherwise its executions count twice, and the rest of the position is forgotten."""
    story = Story().protect()
    known = story.trade
    story.ask_close()
    read = facts.PositionShown(
        at=story.now,
        quantity=Decimal("0.005"),
        entered_before=known.entered_quantity,
        transmissions_before=known.transmissions,
    )
    story.learn(read)
    story.accept(story.close, X.EXPIRED, "0.005")
    assert story.trade.exposure == Decimal("0.005")
    story.wake()
    assert [order.quantity for order in story.sent(CLOSE)] == [Decimal("0.005")]


def test_a_flat_position_proves_nothing_about_an_entry_on_its_way() -> None:
    """Scenario U3."""
    story = Story()
    story.lose(story.entry)
    story.show_position(0)
    assert story.trade.status is TradeStatus.ENTERING
    assert story.trade.close_reason is None


def test_on_the_way_out_an_increase_in_doubt_is_asked_about_or_the_end_never_comes() -> None:
    """U1, U9: until its fate is known, a position that is gone is not believed (the simulation's seed 462)."""
    story = Story().protect()
    more = story.adjust(AdjustmentKind.INCREASE, "0.005")
    assert more is not None
    story.ask_close()
    story.refuse(story.close, Refusal.REDUCE_ONLY, -2022)
    story.clean()
    story.learn(facts.Restarted(at=story.now))
    assert story.all(Resolve) == [Resolve(more.client_order_id)]
    story.show_position("0")
    assert story.trade.status is TradeStatus.CLOSING
    story.absent(more)
    story.show_position("0")
    story.clean()
    story.account()
    assert story.trade.status is TradeStatus.CLOSED


def test_what_reduced_the_position_most_is_the_reason() -> None:
    story = Story().protect()
    story.show_position("0.008")
    for order in story.sent():
        story.accept(order)
    story.stream(story.stop, X.FILLED, "0.008", part="0.008", is_triggered=True)
    story.clean()
    story.account()
    assert story.trade.close_reason is CloseReason.STOP_LOSS


# --- whatever comes, once flat ----------------------------------------------------------------------------------------


def test_a_close_confirmed_twice_and_late_news_of_the_dead_change_nothing() -> None:
    story = closing()
    story.accept(story.close, X.FILLED, WHOLE)
    story.clean()
    story.account()
    ended = story.trade
    story.answer(story.close, Accepted(report=story.report(story.close, X.FILLED, WHOLE)))
    story.stream(story.stop, X.CANCELED)
    story.stream(story.stop, X.NEW)
    story.show_position(0)
    story.ask_close(CloseReason.HALT)
    story.wait(100)
    assert story.trade == ended
