"""Exits are rounded again by rules that are newer than their refusal (scenario H8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from story import BITCOIN, DEEP_BOOK, MARK, START, WHOLE, Story

from app.domain.errors import Refusal
from app.domain.instruments import Instrument, LotRule
from app.domain.orders import Order
from app.services.execution.commands import ReadBook
from app.services.execution.fitting import READ_PATIENCE, fitted, on_step, rules_since, wants_rules
from app.services.execution.slices import ExitRoom


def coarse(tick: str = "0.1", step: str = "0.001") -> Instrument:
    lot = LotRule(minimum=Decimal(step), maximum=Decimal(1000), step=Decimal(step))
    return replace(BITCOIN, tick_size=Decimal(tick), lot=lot, market_lot=lot)


def refused(family: Refusal = Refusal.FILTER) -> tuple[Story, Order]:
    story = Story().fill_entry()
    story.wait(1)
    stop = story.stop
    story.refuse(stop, family, -4014)
    order = story.trade.order(stop.client_order_id)
    assert order is not None
    return story, order


def room(seconds: float | None, rules: Instrument = BITCOIN) -> ExitRoom:
    """What was found, the rules asked for so long after the refusal."""
    at = START + timedelta(seconds=1)
    asked = None if seconds is None else at + timedelta(seconds=seconds)
    return ExitRoom(instrument=rules, mark=MARK, book=DEEP_BOOK, at=at + timedelta(seconds=5), rules_at=asked)


@pytest.mark.parametrize(("seconds", "is_told"), [(None, False), (-0.001, False), (0.0, True), (1.0, True)])
def test_only_rules_that_were_asked_for_after_the_refusal_tell(seconds: float | None, is_told: bool) -> None:
    _, order = refused()
    assert (rules_since(order, room(seconds)) is BITCOIN) is is_told
    assert wants_rules(order, room(seconds), START + timedelta(seconds=1)) is not is_told


def test_a_refusal_by_the_filters_alone_asks_for_the_rules_and_not_for_ever() -> None:
    story, order = refused()
    assert story.all(ReadBook) == [ReadBook(rules=True)]
    assert not wants_rules(order, None, START + timedelta(seconds=1) + READ_PATIENCE)
    story, _ = refused(Refusal.OTHER)
    assert story.all(ReadBook) == []


def test_a_leg_is_rounded_to_the_nearest_tick_and_up_to_the_step() -> None:
    leg = replace(Story().trade.legs[0], trigger_price=Decimal("94000.7"), limit_price=Decimal("93900.2"))
    rounded = fitted(leg, Decimal("0.015"), coarse("1", "0.01"))
    assert (rounded.trigger_price, rounded.limit_price) == (94_001, 93_900)
    assert rounded.quantity_for(Decimal("0.015")) == Decimal("0.02")
    assert rounded.quantity_for(Decimal("0.04")) == Decimal("0.04")
    assert fitted(leg, WHOLE, BITCOIN) == leg


@pytest.mark.parametrize(
    ("quantity", "may_exceed", "told"),
    [("0.015", True, "0.02"), ("0.015", False, "0.01"), ("0.005", False, "0.01"), ("0.03", False, "0.03")],
)
def test_a_market_quantity_goes_up_where_more_than_is_held_can_not_execute(
    quantity: str, may_exceed: bool, told: str
) -> None:
    assert on_step(Decimal(quantity), coarse(step="0.01"), may_exceed=may_exceed) == Decimal(told)
    assert on_step(Decimal(quantity), None, may_exceed=may_exceed) == Decimal(quantity)
