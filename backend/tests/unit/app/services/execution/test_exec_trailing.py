"""Whether a trailing stop of a new size has followed as far as the old one; and what stays until then (P15)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from story import START, Story, submitted

from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.reports import Candle
from app.services.execution.commands import CompareTrails
from app.services.execution.trailing import has_followed_as_far

TRAILING = OrderRole.TRAILING_STOP
CHANGED = START + timedelta(minutes=10, seconds=30)


def trailed(action: str = "buy", **stop: str) -> Story:
    wish = {"sl_price": None, "tp_price": None, "trailing_stop": {"callback_rate": "1", **stop}}
    return Story(submitted(action=action, **wish)).protect()


def candles(*prices: tuple[int, int, int]) -> list[Candle]:
    """(minute, peak, close); the low is the peak mirrored, for shorts."""
    return [
        Candle(
            opened_at=START + timedelta(minutes=at),
            high=Decimal(peak),
            low=Decimal(200_000 - peak),
            close=Decimal(close),
        )
        for at, peak, close in prices
    ]


@pytest.mark.parametrize(
    ("seen", "as_far"),
    [
        (candles((0, 96_000, 96_000)), True),
        (candles((5, 99_000, 98_000), (10, 98_100, 98_000)), False),
        (candles((5, 99_000, 98_000), (10, 99_500, 98_000)), False),  # in the minute of the change: before it, perhaps
        (candles((5, 99_000, 98_000), (11, 98_999, 98_000)), False),
        (candles((5, 99_000, 98_000), (11, 99_000, 98_000)), True),
        (candles((5, 99_000, 98_000), (10, 99_100, 99_100)), True),  # it is there now
        ([], False),
    ],
)
def test_the_new_one_must_have_seen_the_old_ones_peak(seen: list[Candle], as_far: bool) -> None:
    story = trailed()
    old = story.latest(TRAILING)
    assert has_followed_as_far(old, old, seen, CHANGED) is as_far
    short = trailed("sell").latest(TRAILING)
    mirrored = [replace(row, close=200_000 - row.close) for row in seen]
    assert has_followed_as_far(short, short, mirrored, CHANGED) is as_far


def test_one_that_has_not_been_active_has_gained_nothing() -> None:
    waits = trailed(activation_price="97000").latest(TRAILING)
    assert has_followed_as_far(waits, waits, candles((5, 96_900, 96_000)), CHANGED)
    assert not has_followed_as_far(waits, waits, candles((5, 97_900, 96_000)), CHANGED)


def test_the_old_one_stays_beside_the_new_one_until_it_is_relieved() -> None:
    story = trailed()
    old = story.latest(TRAILING)
    story.show_position("0.006")
    new = story.latest(TRAILING)
    story.accept(new)
    assert story.canceled == []
    assert story.all(CompareTrails) == [CompareTrails(old=old.client_order_id, new=new.client_order_id)]
    story.relieved = frozenset({old.client_order_id})
    story.decide()
    assert story.canceled == [old.client_order_id]


def test_of_several_sizes_the_first_and_the_last_stay() -> None:
    story = trailed()
    first = story.latest(TRAILING)
    story.show_position("0.008")
    second = story.latest(TRAILING)
    story.accept(second)
    story.show_position("0.006")
    story.accept(story.latest(TRAILING))
    assert story.canceled == [second.client_order_id]
    assert first.client_order_id not in story.canceled


def test_of_two_of_one_size_the_older_stays() -> None:
    """A process died over the first one, so a second was placed: that has seen less (the simulation's seed 3182)."""
    story = trailed()
    first = story.latest(TRAILING)
    lost = replace(
        first,
        state=OrderState.REJECTED,
        exchange_order_id=None,
        acknowledged_at=None,
        refusal_message="ReduceOnly Order is rejected.",
    )
    story.trade = story.trade.with_order(lost)
    story.decide()
    story.wait(5)
    second = story.latest(TRAILING)
    assert second.key.attempt == first.key.attempt + 1
    story.accept(second)
    story.stream(first)
    assert story.canceled == [second.client_order_id]
    assert story.all(CompareTrails) == []


def test_a_trailing_stop_that_follows_otherwise_is_replaced() -> None:
    """Another rate is another wish, not another size."""
    story = trailed()
    old = story.latest(TRAILING)
    leg = story.trade.leg(TRAILING)
    assert leg is not None
    story.trade = story.trade.with_leg(replace(leg, callback_rate=Decimal("0.5")))
    story.decide()
    story.accept(story.latest(TRAILING))
    assert story.canceled == [old.client_order_id]
