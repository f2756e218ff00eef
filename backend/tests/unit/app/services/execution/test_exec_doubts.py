"""Old news, refusals that mean something else, and pauses that the exchange asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from story import WHOLE, Story

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.policy import ProtectionFailurePolicy, ProtectionPolicy
from app.domain.reports import (
    ExchangeOrderStatus,
    FillReport,
    NeverSent,
    OrderReport,
    PositionReport,
    Refused,
    RequestStamp,
)
from app.domain.trades import CloseReason, TradeStatus
from app.services.execution import facts
from app.services.execution.commands import CheckPosition, Query, Resolve, WakeAt
from app.services.execution.evidence import Evidence

X = ExchangeOrderStatus
STOP, TARGET, CLOSE = OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.CLOSE


# --- resizing --------------------------------------------------------------------------------------------------------


def test_a_smaller_stop_refused_because_the_old_one_covers_takes_its_place() -> None:
    """P10: -2022 while our own exits cover the position: first the target makes room, and only then the old stop."""
    story = Story().protect()
    old = story.stop
    story.show_position("0.006")
    story.accept(story.target)
    target = story.target
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    assert target.client_order_id in story.canceled
    assert old.client_order_id not in story.canceled
    story.clean()  # the target is gone, and the stop leaves at once
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    assert story.canceled == [old.client_order_id]
    story.confirm_cancel(old)
    story.wake()
    assert [order.quantity for order in story.sent(STOP)] == [story.trade.exposure]
    story.accept(story.stop)
    story.accept(story.target)
    story.clean()
    assert (story.trade.status, story.trade.close_reason) == (TradeStatus.OPEN, None)


def test_an_exit_refused_because_nothing_is_left_asks_for_the_position() -> None:
    """H1: closed by hand before the exits were placed is manual, not an emergency."""
    story = Story().fill_entry()
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    assert CheckPosition() in story.asked
    story.accept(story.target)
    story.show_position(0)
    assert story.trade.close_reason is CloseReason.MANUAL


# --- old news --------------------------------------------------------------------------------------------------------


def test_absence_found_for_an_earlier_transmission_says_nothing_of_the_later_one() -> None:
    """U3: the later one's window is still open."""
    story = Story().fill_entry()
    earlier = story.stop
    story.lose(earlier)
    story.lose(story.stop)
    assert story.stop.transmissions == 2
    story.learn(facts.OrderAbsent(at=story.now, client_order_id=earlier.client_order_id, transmissions=1))
    assert story.latest(STOP).state in (OrderState.UNKNOWN, OrderState.RESUBMITTING)
    assert story.latest(STOP).key.attempt == 1


def test_absence_found_before_the_exchange_showed_the_order_is_old_news() -> None:
    story = Story().protect()
    story.absent(story.stop)
    assert story.stop.state is OrderState.NEW
    assert story.trade.status is TradeStatus.OPEN


def test_only_what_is_still_on_its_way_is_signed_anew() -> None:
    """L2, U1: in doubt or known by now, nothing of it may leave again; on its way, it counts as sent again."""
    story = Story()
    stamp = RequestStamp(value=77, dead_after=story.now)
    anew = facts.SignedAnew(at=story.now, client_order_id=story.entry.client_order_id, stamp=stamp)
    sent_before = story.entry.transmissions
    story.learn(anew)
    assert (story.entry.stamp, story.entry.transmissions) == (stamp, sent_before + 1)
    story.lose(story.entry)
    in_doubt = story.entry
    story.learn(anew)
    assert story.entry == in_doubt


def test_an_unknown_leg_is_asked_about_while_it_is_sent_again() -> None:
    """U1: should every further attempt be refused for the first one's sake, the query finds the first."""
    story = Story().fill_entry()
    story.lose(story.stop)
    assert Resolve(story.stop.client_order_id) in story.asked
    story.refuse(story.stop, Refusal.REDUCE_ONLY, -2022)
    story.query(story.stop)
    story.accept(story.target)
    assert story.trade.status is TradeStatus.OPEN


def test_a_shortage_is_not_believed_while_an_exit_of_unknown_fate_may_explain_it() -> None:
    """U9: counted twice, it would leave a part of the position behind."""
    story = Story().protect()
    story.ask_close(CloseReason.DECISION)
    close = story.close
    story.lose(close)
    story.show_position("0.006")
    story.query(close, X.EXPIRED, "0.004")
    assert story.trade.exposure == Decimal("0.006")


# --- pauses ----------------------------------------------------------------------------------------------------------


def test_a_leg_waits_as_long_as_the_rate_limit_says() -> None:
    """L1: attempts that can't leave are not used up, and the stop comes when the time is up."""
    story = Story().fill_entry()
    story.accept(story.target)
    for _ in range(3):
        story.answer(story.stop, NeverSent(reason="the exchange's rate limit leaves no room", retry_after_s=2))
        assert story.sent() == []
        story.wake()
    leg = story.trade.leg(STOP)
    assert leg is not None
    assert leg.attempts == 1
    assert story.now - story.trade.first_fill_at == timedelta(seconds=6)  # type: ignore[operator]
    story.accept(story.stop)
    assert story.trade.status is TradeStatus.OPEN


def test_a_leg_refused_for_the_rate_waits_as_long_as_told() -> None:
    story = Story().fill_entry()
    story.accept(story.target)
    refusal = Refused(family=Refusal.RATE_LIMIT, code=-1003, message="too many requests", retry_after_s=4)
    story.answer(story.stop, refusal)
    story.wait(3.9)
    assert story.sent() == []
    story.wait(0.2)
    assert [order.role for order in story.sent()] == [STOP]


def test_keeping_the_position_after_the_last_attempt_goes_on_trying() -> None:
    """Contract, section 9: ``ON_FAILURE=alert`` keeps trying at the longest delay."""
    policy = ProtectionPolicy(maximum_attempts=1, on_failure=ProtectionFailurePolicy.ALERT)
    story = Story(policy=policy).fill_entry()
    story.accept(story.target)
    story.refuse(story.stop, Refusal.TOO_MANY_ORDERS, -4045)
    assert story.trade.protection_failed
    assert story.all(WakeAt)
    story.wake()
    assert [order.role for order in story.sent()] == [STOP]


# --- ids and restarts ------------------------------------------------------------------------------------------------


def test_a_confirmed_stop_that_is_missed_is_asked_after_and_restored_when_it_is_gone() -> None:
    """P5, U8: a stop that the exchange forgot protects nothing; missing it is a doubt, and only absence a verdict."""
    story = Story().protect()
    stop = story.stop
    story.learn(facts.OrderMissed(at=story.now, client_order_id=stop.client_order_id, transmissions=1))
    assert (story.trade.status, story.stop.state) == (TradeStatus.PROTECTING, OrderState.NEW)
    assert stop.client_order_id in [command.client_order_id for command in story.all(Query)]
    story.absent(stop)
    story.wake()
    assert story.stop.key.attempt == stop.key.attempt + 1
    assert "protection_disappeared" in story.alerts


def test_missing_an_order_that_ended_or_was_sent_again_since_says_nothing() -> None:
    story = Story().protect()
    story.learn(facts.OrderMissed(at=story.now, client_order_id=story.stop.client_order_id, transmissions=2))
    story.learn(facts.OrderMissed(at=story.now, client_order_id=story.entry.client_order_id, transmissions=1))
    assert story.trade.status is TradeStatus.OPEN
    assert not story.entry.needs_query


def test_a_close_after_a_restart_never_takes_an_id_that_may_have_been_used() -> None:
    """U5: a close may have been sent and not recorded before the process died."""
    story = Story().protect()
    story.learn(facts.Restarted(at=story.now))
    story.ask_close(CloseReason.MANUAL)
    assert story.close.key.attempt > 1


def test_a_cancel_that_answers_after_the_end_changes_nothing() -> None:
    story = Story().protect()
    story.query(story.target, X.FILLED, WHOLE)
    stop = story.stop
    story.query(stop, X.REJECTED)
    story.cancel_answer(stop, Refused(family=Refusal.ORDER_NOT_FOUND, code=-2011, message="Unknown order sent."))
    assert replace(story.stop, finished_at=None).state is OrderState.REJECTED
    assert not story.stop.needs_query


async def test_executions_of_somebodys_older_orders_do_not_keep_an_entry_unknown_for_ever() -> None:
    """U3: what rested before our entry was sent explains its own executions."""
    story = Story()
    foreign = replace(story.report(story.entry), order_id=7, client_order_id="web_1")
    fill = replace(story.fill(story.entry, "0.5"), order_id=7)

    async def query_order(*_: object) -> None:
        return None

    async def no_rows(*_: object) -> list[PositionReport]:
        return []

    async def all_orders(_symbol: str, since: datetime) -> list[OrderReport]:
        return [foreign] if since < story.now - timedelta(days=1) else []

    async def user_trades(*_: object) -> list[FillReport]:
        return [fill]

    later = story.now + timedelta(seconds=120)
    client: Any = SimpleNamespace(
        query_order=query_order, positions=no_rows, all_orders=all_orders, user_trades=user_trades,
        exchange_time=lambda: later,
    )  # fmt: skip
    clock: Any = SimpleNamespace(now=lambda: later, sleep=None, monotonic=lambda: 0.0)
    verdict = await Evidence(client, clock).resolve(story.trade, story.entry, lambda: [story.trade])
    assert isinstance(verdict, facts.OrderAbsent)


async def test_a_check_misses_what_is_not_found_only_when_its_fence_has_passed() -> None:
    """U3: right after sending, a busy exchange may not show it yet."""
    story = Story().protect()

    async def query_order(*_: object) -> None:
        return None

    async def nothing(*_: object) -> list[Any]:
        return []

    async def missed(seconds: float) -> set[str]:
        later = story.now + timedelta(seconds=seconds)
        client: Any = SimpleNamespace(
            query_order=query_order, positions=nothing, user_trades=nothing, exchange_time=lambda: later
        )
        clock: Any = SimpleNamespace(now=lambda: later, sleep=None)
        learned = await Evidence(client, clock).position_then_orders(story.trade)
        return {fact.client_order_id for fact in learned if isinstance(fact, facts.OrderMissed)}

    assert await missed(10) == set()
    assert await missed(70) == {story.stop.client_order_id, story.target.client_order_id}
