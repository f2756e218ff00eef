"""Events tell each change once, and none is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_world import World
from story import START, WHOLE, Story

from app.domain.errors import Refusal
from app.domain.events import Event, EventType
from app.domain.orders import OrderState
from app.domain.reports import ExchangeOrderStatus
from app.domain.trades import Trade, TradeStatus
from app.services.execution import facts
from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from support.examples import at_most

X, E = ExchangeOrderStatus, EventType


def narrator() -> Narrator:
    numbers = count(1)
    return Narrator(account_id="default", is_paper=True, new_id=lambda: f"e{next(numbers)}", now=lambda: START)


@dataclass
class Listener(Story):
    """A story whose every step is narrated."""

    heard: list[Event] = field(default_factory=list)
    narrator: Narrator = field(default_factory=narrator)
    before: Trade | None = None

    def __post_init__(self) -> None:
        self.hear()

    def hear(self) -> None:
        self.heard += self.narrator.changes(self.before, self.trade)
        self.before = self.trade

    def _take(self, step: object) -> tuple:  # type: ignore[type-arg]
        asked = super()._take(step)  # type: ignore[arg-type]
        self.hear()
        return asked

    def types(self) -> list[EventType]:
        """What was heard since the last look."""
        kinds = [event.type for event in self.heard]
        self.heard.clear()
        return kinds


def test_a_life_told_in_order() -> None:
    story = Listener()
    assert story.types() == [E.ORDER_UPDATED]
    story.fill_entry()
    assert story.types() == [E.ORDER_PLACED, E.ORDER_FILLED, E.ORDER_UPDATED, E.ORDER_UPDATED, E.TRADE_OPENED]
    story.accept(story.stop)
    assert story.types() == [E.ORDER_PLACED]
    story.accept(story.target)
    assert story.types() == [E.ORDER_PLACED, E.TRADE_PROTECTED]
    story.stream(story.stop, X.FILLED, WHOLE, part=WHOLE, is_triggered=True)
    assert story.types() == [E.ORDER_FILLED, E.ORDER_UPDATED]
    story.confirm_cancel(story.target)
    assert story.types() == [E.ORDER_CANCELED]
    story.account()
    (closed,) = story.heard
    assert closed.type is E.TRADE_CLOSED
    assert closed.data["close_reason"] == "stop_loss"
    assert (closed.data["commission"], closed.data["funding"]) == ("0.02", "-0.5")
    assert (closed.trade_id, closed.decision_id, closed.asset) == (story.trade.id, "d-1", "BTCUSDT")


def test_funding_booked_after_the_close_is_told_as_a_correction_and_once() -> None:
    """H5: with all figures; what is found to be the same is not told again."""
    story = Listener()
    story.protect()
    story.stream(story.stop, X.FILLED, WHOLE, part=WHOLE, is_triggered=True)
    story.confirm_cancel(story.target)
    story.account()
    assert "is_correction" not in story.heard[-1].data
    story.types()
    for looks in (1, 0):
        story.learn(facts.FundingBooked(at=story.now, funding=Decimal("-0.7"), looks_left=looks))
        assert story.trade.funding_looks == looks
    (corrected,) = story.heard
    assert corrected.type is E.TRADE_CLOSED
    assert (corrected.data["funding"], corrected.data["is_correction"]) == ("-0.7", True)
    assert corrected.data["close_reason"] == "stop_loss"


def test_news_that_change_nothing_are_not_told() -> None:
    story = Listener().protect()
    story.types()  # type: ignore[attr-defined]
    story.stream(story.stop)
    story.accept(story.target)
    story.wait(5)
    assert story.types() == []  # type: ignore[attr-defined]


def test_a_refused_leg_and_a_failed_protection_are_told() -> None:
    story = Listener()
    story.fill_entry()
    story.types()
    story.refuse(story.stop, Refusal.FILTER, -4014)
    (event,) = story.heard
    assert event.type is E.ORDER_REJECTED
    assert (event.data["exchange_code"], event.data["reason"]) == (-4014, "no: filter")
    story.types()
    story.accept(story.target)
    story.types()
    story.now = story.trade.deadline_at or story.now
    story.decide()
    kinds = story.types()
    assert kinds.count(E.PROTECTION_FAILED) == kinds.count(E.EMERGENCY_CLOSE) == 1


def test_an_alert_is_an_event() -> None:
    event = narrator().alert(Alert(Severity.CRITICAL, "late_fill", "look"), asset="BTCUSDT")
    assert (event.type, event.asset) == (E.ALERT_RAISED, "BTCUSDT")
    assert event.data == {"severity": "critical", "code": "late_fill", "message": "look"}


ONCE = (E.TRADE_OPENED, E.TRADE_CLOSED, E.EMERGENCY_CLOSE)
END = {OrderState.FILLED: E.ORDER_FILLED, OrderState.CANCELED: E.ORDER_CANCELED, OrderState.REJECTED: E.ORDER_REJECTED}


@settings(max_examples=at_most(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_in_any_storm_each_end_is_told_exactly_once(seed: int) -> None:
    story = Listener()
    World(seed, story=story).run()
    trade = story.trade
    told = Counter(event.type for event in story.heard)
    assert len({event.id for event in story.heard}) == len(story.heard)
    assert told[E.TRADE_CLOSED] == (trade.status is TradeStatus.CLOSED)
    assert told[E.TRADE_OPENED] == (trade.first_fill_at is not None)
    assert all(told[kind] <= 1 for kind in ONCE)
    assert told[E.TRADE_PROTECTED] >= (trade.protected_at is not None and bool(trade.legs))
    by_order: dict[str, list[EventType]] = {}
    for event in story.heard:
        if "client_order_id" in event.data:
            by_order.setdefault(event.data["client_order_id"], []).append(event.type)
    for order in trade.orders:
        kinds = by_order.get(order.client_order_id, [])
        assert kinds.count(E.ORDER_PLACED) == (order.acknowledged_at is not None)
        if order.state in END:
            assert kinds.count(END[order.state]) >= 1


def test_data_is_json_and_money_is_text() -> None:
    story = Listener().protect()

    def plain(value: object) -> bool:
        return value is None or isinstance(value, str | int | bool | dict)

    check: Callable[[Event], bool] = lambda event: all(plain(value) for value in event.data.values())  # noqa: E731
    heard: list[Event] = story.heard  # type: ignore[attr-defined]
    assert heard
    assert all(check(event) for event in heard)
    assert {event.data["quantity"] for event in heard} == {"0.01"}
