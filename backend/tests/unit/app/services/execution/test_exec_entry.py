"""The entry: whoever tells of the fill first, it is protected; whatever goes wrong, it is never sent again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from story import MARK, START, WHOLE, Story, submitted

from app.domain.errors import ErrorCode, Refusal
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import OrderState
from app.domain.policy import ProtectionPolicy
from app.domain.reports import ExchangeOrderStatus, OrderType, PositionSide, Side, WorkingType
from app.domain.trades import CloseReason, TradeError, TradeStatus
from app.services.execution.commands import Account, Query, Resolve, Send

X = ExchangeOrderStatus
BOTH_EXITS = [OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT]


def fill_by_reply(story: Story) -> None:
    story.accept(story.entry, X.FILLED, WHOLE)


def fill_by_stream(story: Story) -> None:
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)


@pytest.mark.parametrize("told", [fill_by_reply, fill_by_stream])
def test_whoever_tells_first_starts_the_protection_stop_first(told: object) -> None:
    story = Story()
    told(story)  # type: ignore[operator]
    assert [order.role for order in story.sent()] == BOTH_EXITS
    assert story.trade.status is TradeStatus.PROTECTING
    for order in story.sent():
        request = order.request
        assert (request.side, request.quantity, request.reduce_only) == (Side.SELL, WHOLE, True)
        assert request.working_type is WorkingType.MARK_PRICE


@pytest.mark.parametrize(("first", "second"), [(fill_by_reply, fill_by_stream), (fill_by_stream, fill_by_reply)])
def test_the_second_source_changes_nothing(first: object, second: object) -> None:
    """Scenario W4: no second pair of exits, no double quantity."""
    story = Story()
    first(story)  # type: ignore[operator]
    second(story)  # type: ignore[operator]
    assert story.sent() == []
    assert story.trade.exposure == WHOLE
    assert len(story.trade.orders) == 3


def test_a_short_is_the_mirror_image() -> None:
    story = Story(submitted(action="sell"))
    assert story.entry.request.side is Side.SELL
    story.fill_entry()
    stop, target = story.sent()
    assert (stop.request.side, stop.request.stop_price) == (Side.BUY, 99000)
    assert (target.request.side, target.request.stop_price) == (Side.BUY, 94000)


def test_in_hedge_mode_the_side_is_named_and_reduce_only_left_out() -> None:
    """Scenario L4; reduceOnly is refused there (fact sheet, section 7)."""
    story = Story(submitted(position_side=PositionSide.LONG)).fill_entry()
    assert {(order.request.position_side, order.request.reduce_only) for order in story.sent()} == {
        (PositionSide.LONG, False)
    }


def test_limit_exits_rest_beyond_their_trigger_or_at_their_price() -> None:
    policy = ProtectionPolicy(stop_loss_type=OrderType.STOP, take_profit_type=OrderType.LIMIT)
    stop, target = Story(submitted(policy), policy).fill_entry().sent()
    assert (stop.request.stop_price, stop.request.price) == (94000, Decimal("93530.0"))
    assert (target.request.stop_price, target.request.price, target.request.working_type) == (None, 99000, None)


def test_an_accepted_entry_without_a_fill_is_asked_about() -> None:
    """Scenario U6: an ACK says NEW for a market order that filled."""
    story = Story()
    story.accept(story.entry)
    assert [query.client_order_id for query in story.all(Query)] == [story.entry.client_order_id]
    story.query(story.entry, X.FILLED, WHOLE)
    assert [order.role for order in story.sent()] == BOTH_EXITS


@pytest.mark.parametrize(
    ("family", "code"),
    [
        (Refusal.MARGIN, ErrorCode.INSUFFICIENT_MARGIN),
        (Refusal.LEVERAGE, ErrorCode.LEVERAGE_EXCEEDED),
        (Refusal.RATE_LIMIT, ErrorCode.EXCHANGE_UNAVAILABLE),
        (Refusal.FILTER, ErrorCode.EXCHANGE_REJECTED),
        (Refusal.AUTH, ErrorCode.EXCHANGE_REJECTED),
    ],
)
def test_a_refused_entry_fails_with_the_exchanges_reason(family: Refusal, code: ErrorCode) -> None:
    story = Story()
    story.refuse(story.entry, family, -2019)
    error = story.trade.error
    assert story.trade.status is TradeStatus.FAILED
    assert error is not None
    assert (error.code, error.exchange_code) == (code, -2019)
    assert story.asked == ()


def test_an_entry_that_never_left_is_rejected_and_not_tried_again() -> None:
    story = Story()
    story.never_sent(story.entry)
    assert story.trade.status is TradeStatus.REJECTED
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.EXCHANGE_UNAVAILABLE
    assert story.asked == ()


def test_an_obstacle_of_our_own_is_the_error_and_nothing_counts_as_sent() -> None:
    """Scenario Z6."""
    story = Story()
    obstacle = TradeError(code=ErrorCode.LEVERAGE_EXCEEDED, message="BTCUSDT is at 20x although 10x was set")
    story.never_sent(story.entry, obstacle)
    assert (story.trade.status, story.trade.error, story.trade.entry_sent_at) == (TradeStatus.REJECTED, obstacle, None)


def test_a_lost_entry_stays_unknown_and_is_resolved_never_resent() -> None:
    """Scenario U1."""
    story = Story()
    story.lose(story.entry)
    assert story.trade.status is TradeStatus.ENTERING
    assert story.entry.state is OrderState.UNKNOWN
    assert story.trade.has_unknown_order
    for _ in range(50):
        story.wait(10)
        assert story.all(Send) == []
        assert [one.client_order_id for one in story.all(Resolve)] == [story.entry.client_order_id]
    assert story.entry.transmissions == 1


def test_a_lost_entry_that_is_absent_after_the_fence_fails_as_unknown() -> None:
    """Contract, section 9: a lost entry."""
    story = Story()
    story.lose(story.entry)
    story.absent(story.entry)
    assert story.trade.status is TradeStatus.FAILED
    assert story.trade.error is not None
    assert story.trade.error.code is ErrorCode.OUTCOME_UNKNOWN
    assert story.all(Send) == []


@pytest.mark.parametrize("by", ["query", "stream"])
def test_a_lost_entry_that_is_found_filled_is_protected(by: str) -> None:
    story = Story()
    story.lose(story.entry)
    if by == "query":
        story.query(story.entry, X.FILLED, WHOLE)
    else:
        story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    assert [order.role for order in story.sent()] == BOTH_EXITS
    assert not story.trade.has_unknown_order


def test_a_reply_that_is_lost_after_the_stream_told_changes_nothing() -> None:
    """Scenario U2."""
    story = Story()
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    story.lose(story.entry)
    assert story.entry.state is OrderState.FILLED
    assert story.trade.exposure == WHOLE
    assert story.all(Resolve) == []


def test_a_refusal_that_comes_after_the_stream_told_of_the_fill_is_not_believed() -> None:
    story = Story()
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    story.refuse(story.entry, Refusal.MARGIN)
    assert (story.entry.state, story.trade.exposure) == (OrderState.FILLED, WHOLE)


def test_a_duplicate_id_means_that_the_entry_exists() -> None:
    """Scenario U2."""
    story = Story()
    story.refuse(story.entry, Refusal.DUPLICATE_ID, -4116)
    assert story.entry.state is OrderState.UNKNOWN
    assert story.trade.status is TradeStatus.ENTERING
    story.query(story.entry, X.FILLED, WHOLE)
    assert [order.role for order in story.sent()] == BOTH_EXITS


def test_a_duplicate_that_turns_out_absent_ends_the_trade_and_asks_no_more() -> None:
    """An order once proven absent must not be queried for ever."""
    story = Story()
    story.refuse(story.entry, Refusal.DUPLICATE_ID, -4116)
    story.absent(story.entry)
    assert (story.trade.status, story.asked) == (TradeStatus.FAILED, ())


def test_an_entry_that_ended_with_nothing_executed_fails_once_the_books_agree() -> None:
    """Scenario U7."""
    story = Story()
    story.accept(story.entry, X.EXPIRED)
    assert (story.trade.status, story.asked) == (TradeStatus.ENTERING, (Account(),))
    story.account()
    assert story.trade.status is TradeStatus.FAILED
    assert story.trade.error is not None
    assert "EXPIRED" in story.trade.error.message


def test_the_remainder_that_expired_is_final_and_the_rest_is_held() -> None:
    """Scenario Z2."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    for order in story.sent():
        story.accept(order)
    story.stream(story.entry, X.EXPIRED, "0.004")
    assert (story.trade.status, story.trade.exposure) == (TradeStatus.OPEN, Decimal("0.004"))
    assert story.trade.filled_at is not None
    assert story.asked == ()


def test_fills_that_come_twice_and_in_any_order_count_once() -> None:
    """Scenario W4."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.006", part="0.002")
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    before = story.trade
    again = story.trade.fills[0]
    story.fills = {again.exchange_trade_id: again}
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004")
    assert story.trade.fills == before.fills
    assert story.trade.exposure == Decimal("0.006")


# --- after the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["query", "stream"])
def test_a_fill_that_turns_up_after_failed_is_protected_and_told(by: str) -> None:
    """Scenario U10."""
    story = Story()
    story.lose(story.entry)
    story.absent(story.entry)
    assert story.trade.is_ended
    if by == "query":
        story.query(story.entry, X.FILLED, WHOLE)
    else:
        story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    assert story.alerts == ["late_fill"]
    assert [order.role for order in story.sent()] == BOTH_EXITS
    for order in story.sent():
        story.accept(order)
    assert (story.trade.status, story.trade.error, story.trade.closed_at) == (TradeStatus.OPEN, None, None)


def test_a_fill_that_turns_up_after_rejected_is_protected_as_well() -> None:
    story = Story()
    story.never_sent(story.entry)
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    assert story.alerts == ["late_fill"]
    assert [order.role for order in story.sent()] == BOTH_EXITS


def test_a_late_fill_of_a_trade_that_was_to_be_closed_is_closed() -> None:
    story = Story()
    story.lose(story.entry)
    story.ask_close(CloseReason.HALT)
    story.absent(story.entry)
    story.stream(story.entry, X.FILLED, WHOLE, part=WHOLE)
    assert [order.role for order in story.sent()] == [OrderRole.CLOSE]
    assert story.trade.status is TradeStatus.CLOSING


def test_a_fill_after_closed_is_closed_again_and_accounted_again() -> None:
    """Scenario U10: a remainder that was executed after all."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    for order in story.sent():
        story.accept(order)
    story.stream(story.entry, X.EXPIRED, "0.004")
    story.stream(story.stop, X.FILLED, "0.004", part="0.004", is_triggered=True)
    story.clean()
    story.account()
    assert story.trade.status is TradeStatus.CLOSED
    story.stream(story.entry, X.EXPIRED, "0.006", part="0.002")
    assert story.alerts == ["late_fill"]
    (close,) = story.sent(OrderRole.CLOSE)
    assert close.quantity == Decimal("0.002")
    story.accept(close, X.FILLED, "0.002")
    story.account()
    assert (story.trade.status, story.trade.exposure) == (TradeStatus.CLOSED, ZERO)
    assert story.trade.is_accounted


def test_nothing_is_asked_for_once_a_trade_is_over() -> None:
    story = Story()
    story.refuse(story.entry, Refusal.MARGIN)
    for _ in range(3):
        story.wait(60)
        story.show_position(0)
        assert story.asked == ()


def test_times_of_the_way_in_are_kept() -> None:
    story = Story()
    story.wait(0.25)
    story.fill_entry()
    story.wait(0.5)
    stop, target = story.stop, story.target
    story.accept(stop)
    story.accept(target)
    trade = story.trade
    assert trade.first_fill_at == trade.filled_at
    assert trade.first_fill_at is not None
    assert trade.protected_at is not None
    assert (trade.first_fill_at - START).total_seconds() == 0.25
    assert (trade.protected_at - START).total_seconds() == 0.75
    assert trade.entry_price == MARK
