"""What the sender of a decision is told, in each situation of a trade."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from story import MARK, START, WHOLE, Story, submitted, wish

from app.domain.errors import DecisionRefused, ErrorCode, Refusal
from app.domain.exits_stood import exits_stood_at
from app.domain.policy import ProtectionFailurePolicy, ProtectionPolicy
from app.domain.reports import ExchangeOrderStatus
from app.domain.trades import AdjustmentKind
from app.schemas.decision import Action
from app.schemas.result import AssetResult, AssetStatus, ResultStatus, whole_status
from app.services.execution import facts, results
from app.services.execution.risk import RiskRefused

X = ExchangeOrderStatus


def told(story: Story, action: Action = Action.BUY) -> AssetResult:
    result = results.of_trade(story.trade, action)
    assert result.success is result.status.is_success
    return result


def test_pending_until_the_outcome_is_known() -> None:
    story = Story()
    assert told(story).status is AssetStatus.PENDING
    story.lose(story.entry)
    assert told(story).status is AssetStatus.PENDING
    story.query(story.entry, X.FILLED, WHOLE)
    assert told(story).status is AssetStatus.PENDING


def test_protected_names_every_order_and_measures_the_way() -> None:
    story = Story()
    story.wait(0.001)
    story.learn(facts.EntrySent(at=story.now))
    story.fill_entry()
    story.wait(0.002)
    story.accept(story.stop)
    story.accept(story.target)
    result = told(story)
    assert (result.status, result.success, result.error) == (AssetStatus.PROTECTED, True, None)
    assert (result.side, result.fill_price, result.filled_quantity) == ("long", 96000, WHOLE)
    orders = result.orders
    assert orders.entry is not None
    assert orders.stop_loss is not None
    assert orders.take_profit is not None
    assert orders.close is None
    assert [one.status for one in (orders.entry, orders.stop_loss, orders.take_profit)] == ["FILLED", "NEW", "NEW"]
    assert orders.stop_loss.order_id == story.order_id(story.stop)
    times = result.timings_ms
    assert (times.received_to_sent, times.sent_to_filled, times.filled_to_protected) == (1.0, 0.0, 2.0)


def test_filled_where_no_exit_was_asked_for() -> None:
    result = told(Story(submitted(sl_price=None, tp_price=None)).fill_entry())
    assert result.status is AssetStatus.FILLED
    assert result.timings_ms.filled_to_protected is None


def test_exits_of_a_later_decision_are_no_protection_of_the_entry() -> None:
    """Only what rested on the book protected it: a trade that asked for nothing was not protected at once."""
    story = Story(submitted(sl_price=None, tp_price=None)).fill_entry()
    assert (story.trade.protected_at, exits_stood_at(story.trade)) == (START, None)
    story.wait(60)
    stop = replace(submitted().legs[0])
    story.adjust(AdjustmentKind.EXITS, legs=(stop,))
    assert exits_stood_at(story.trade) is None
    story.accept(story.stop)
    assert exits_stood_at(story.trade) == story.now


@pytest.mark.parametrize("is_bare", [True, False])
def test_an_addition_tells_when_it_was_protected_only_if_it_was(is_bare: bool) -> None:
    exits: dict[str, Any] = {"sl_price": None, "tp_price": None} if is_bare else {}
    story = Story(submitted(**exits)).fill_entry()
    for order in () if is_bare else (story.stop, story.target):
        story.accept(order)
    more = story.adjust(AdjustmentKind.ADD, "0.005")
    assert more is not None
    story.stream(more, X.FILLED, "0.005", part="0.005")
    story.wait(0.002)
    for order in () if is_bare else (story.stop, story.target):
        story.accept(order)
    story.clean()
    (addition,) = story.trade.adjustments
    result = results.of_adjustment(story.trade, addition, Action.BUY)
    assert result.timings_ms.filled_to_protected == (None if is_bare else 2)


def test_a_part_that_is_protected_is_still_pending() -> None:
    """The entry may go on filling: nothing is told as done before it is."""
    story = Story()
    story.stream(story.entry, X.PARTIALLY_FILLED, "0.004", part="0.004")
    for order in story.sent():
        story.accept(order)
    assert told(story).status is AssetStatus.PENDING
    story.stream(story.entry, X.EXPIRED, "0.004")
    result = told(story)
    assert result.status is AssetStatus.PROTECTED
    assert (result.requested_quantity, result.filled_quantity) == (WHOLE, Decimal("0.004"))


def test_failed_tells_the_exchanges_code() -> None:
    story = Story()
    story.refuse(story.entry, Refusal.MARGIN, -2019)
    result = told(story)
    assert result.status is AssetStatus.FAILED
    assert result.error is not None
    assert (result.error.code, result.error.exchange_code) == (ErrorCode.INSUFFICIENT_MARGIN, -2019)


def test_rejected_when_nothing_was_sent() -> None:
    story = Story()
    story.never_sent(story.entry)
    assert told(story).status is AssetStatus.REJECTED


def test_emergency_closed_is_no_success_and_says_why() -> None:
    story = Story().fill_entry()
    story.wait(10)
    assert told(story).status is AssetStatus.PENDING
    story.accept(story.close, X.FILLED, WHOLE)
    story.accept(story.stop)
    story.accept(story.target)
    story.clean()
    story.account()
    result = told(story)
    assert (result.status, result.success) == (AssetStatus.EMERGENCY_CLOSED, False)
    assert result.error is not None
    assert result.error.code is ErrorCode.PROTECTION_FAILED
    assert result.commission == Decimal("0.02")


def test_unprotected_while_the_position_is_kept_and_protected_when_it_worked_at_last() -> None:
    story = Story(policy=ProtectionPolicy(on_failure=ProtectionFailurePolicy.ALERT)).fill_entry()
    story.wait(10)
    result = told(story)
    assert result.status is AssetStatus.UNPROTECTED
    assert result.error is not None
    assert "stop loss" in result.error.message
    story.accept(story.stop)
    partly = told(story)
    assert (partly.status, partly.success) == (AssetStatus.PARTIALLY_PROTECTED, False)
    assert partly.error is not None
    assert partly.error.code == "take_profit_missing"
    story.accept(story.target)
    assert told(story).status is AssetStatus.PROTECTED


@pytest.mark.parametrize(("action", "price", "bps"), [("buy", "96096", "10.00"), ("sell", "96096", "-10.00")])
def test_slippage_is_what_the_fill_was_worse_than_the_mark(action: str, price: str, bps: str) -> None:
    story = Story(submitted(action=action))
    report = story.report(story.entry, X.FILLED, WHOLE, Decimal(price))
    story.trade = story.trade.with_order(story.entry.seen(report, story.now))
    assert told(story).slippage_bps == Decimal(bps)


def test_a_close_is_pending_until_the_trade_is_closed() -> None:
    story = Story().protect()
    story.ask_close()
    asked = results.CloseWish(received_at=story.now, mark_price=MARK)
    assert results.of_close(story.trade, asked).status is AssetStatus.PENDING
    story.accept(story.close, X.FILLED, WHOLE)
    story.clean()
    story.account()
    result = results.of_close(story.trade, asked)
    assert (result.status, result.success, result.action) == (AssetStatus.CLOSED, True, Action.CLOSE_POSITION)


def test_a_close_in_slices_tells_their_average_and_the_time_until_the_last() -> None:
    """Contract, section 9: what a target took before does not count."""
    story = Story().protect().book_entry()
    story.stream(story.target, X.PARTIALLY_FILLED, "0.001", part="0.001")
    story.wait(0.5)
    asked = results.CloseWish(received_at=story.now, mark_price=MARK)
    story.wait(0.003)
    story.ask_close()
    story.wait(0.002)
    story.stream(story.close, X.EXPIRED, "0.003", part="0.003")
    waited = -(story.now - START).total_seconds()
    story.wake()
    story.wait(0.004)
    story.stream(story.close, X.FILLED, "0.006", part="0.006")
    waited += (story.now - START).total_seconds()
    story.clean()
    story.account()
    prices = (MARK, Decimal(99_000), Decimal(95_900), Decimal(95_600))
    fills = (replace(fill, price=price) for fill, price in zip(story.trade.fills, prices, strict=True))
    result = results.of_close(replace(story.trade, fills=tuple(fills)), asked)
    assert (result.fill_price, result.filled_quantity, result.requested_quantity) == (95_700, *[Decimal("0.009")] * 2)
    assert result.slippage_bps == Decimal("31.25")
    assert result.commission == Decimal("0.02")
    assert result.timings_ms.received_to_sent == 3
    assert result.timings_ms.sent_to_filled == pytest.approx(1000 * waited + 2)


def test_a_close_without_a_known_price_tells_no_slippage() -> None:
    story = Story().protect()
    asked = results.CloseWish(received_at=story.now, mark_price=Decimal(0))
    story.ask_close()
    story.accept(story.close, X.FILLED, WHOLE)
    story.clean()
    story.account()
    assert results.of_close(story.trade, asked).slippage_bps is None


def test_the_order_on_the_book_is_named_before_the_last_that_was_tried() -> None:
    story = Story().protect()
    standing = story.stop
    story.show_position("0.007")
    story.refuse(story.stop, Refusal.FILTER)
    reference = told(story).orders.stop_loss
    assert reference is not None
    assert reference.client_order_id == standing.client_order_id


@pytest.mark.parametrize(
    "refusal",
    [
        RiskRefused(code=ErrorCode.COOLDOWN_ACTIVE, message="wait", retry_after_s=3.5),
        DecisionRefused(ErrorCode.COOLDOWN_ACTIVE, "wait", retry_after_s=3.5),
    ],
)
def test_a_refusal_is_told_with_its_code_and_when_to_come_back(refusal: Any) -> None:
    result = results.refused(wish(leverage=30).item, refusal)
    assert (result.status, result.success, result.requested_leverage) == (AssetStatus.REJECTED, False, 30)
    assert result.error is not None
    assert (result.error.code.value, result.error.retry_after_seconds) == ("cooldown_active", 3.5)


def test_hold_is_skipped_and_a_success() -> None:
    held = wish(action="hold", allocation_usd=0, leverage=0, sl_price=None, tp_price=None)
    item = replace(wish(), item=held.item).item
    assert (results.skipped(item).status, results.skipped(item).success) == (AssetStatus.SKIPPED, True)


S = AssetStatus


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [
        ([S.SKIPPED, S.SKIPPED], "executed"),
        ([S.PROTECTED, S.FILLED, S.CLOSED, S.ADJUSTED, S.SKIPPED], "executed"),
        ([S.PROTECTED, S.REJECTED], "partial"),
        ([S.SKIPPED, S.FAILED], "partial"),
        ([S.REJECTED, S.REJECTED], "rejected"),
        ([S.REJECTED, S.FAILED], "failed"),
        ([S.EMERGENCY_CLOSED], "failed"),
        ([S.UNPROTECTED], "failed"),
        ([S.PROTECTED, S.PENDING], "pending"),
        ([S.REJECTED, S.PENDING], "pending"),
    ],
)
def test_the_whole_follows_from_its_parts(statuses: list[AssetStatus], whole: str) -> None:
    """Contract, sections 5 and 9."""
    assert whole_status(statuses) is ResultStatus(whole)
    assert whole_status(statuses[::-1]) is ResultStatus(whole)
