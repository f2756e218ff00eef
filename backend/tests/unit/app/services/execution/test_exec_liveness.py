"""Whatever lies between us and the exchange: when it is quiet again, the position is protected once, or gone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_world import SENT_ONCE, World
from story import WHOLE, Story, submitted

from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import OrderState
from app.domain.trades import TradeStatus
from support.examples import at_most

SLACK_S = 15
"""Beside the deadline: a lost reply, a lost stream event, a restart, and the next reconciliation."""


def check(world: World) -> None:
    """What must hold at the end of every life."""
    trade = world.story.trade
    told = "\n".join(world.log[-80:])
    live = [one for one in world.everything if one.is_open]
    placed = Counter(one.order.client_order_id for one in world.everything if one.order.role in SENT_ONCE)
    assert set(Counter(world.sent_once).values()) == {1}, told
    assert set(placed.values()) <= {1}, told
    assert trade.exposure == world.held, told
    assert world.longest_bare_s <= world.story.policy.deadline_s + SLACK_S, told
    if world.held > ZERO:
        assert trade.status is TradeStatus.OPEN, told
        roles = Counter(one.order.role for one in live)
        assert roles == {OrderRole.STOP_LOSS: 1, OrderRole.TAKE_PROFIT: 1}, told
        assert {one.order.quantity - one.executed for one in live} == {world.held}, told
    else:
        assert trade.is_ended, told
        assert live == [], told
    for one in world.everything:
        order = trade.order(one.order.client_order_id)
        assert order is not None, told
        assert trade.executed(order) == one.executed or one.executed == 0, told
    if not trade.is_ended:
        assert not [one for one in trade.adjustments if one.is_pending], told
    if trade.status is TradeStatus.CLOSED:
        assert trade.is_accounted, told
        assert {fill.exchange_trade_id for fill in trade.fills} == {fill.exchange_trade_id for fill in world.fills}, (
            told
        )
        assert all(order.is_final for order in trade.orders), told


@settings(max_examples=at_most(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), is_short=st.booleans())
def test_after_the_storm_each_leg_rests_once_or_nothing_of_ours_is_left(seed: int, is_short: bool) -> None:
    """Scenarios U1-U3, Z2, P2, P8, P10, O1, O3, O6, W4, C1, H1 in one: lost, late, doubled, reordered, restarted."""
    world = World(seed, story=Story(submitted(action="sell" if is_short else "buy")))
    world.run()
    check(world)


@pytest.mark.long
@settings(max_examples=at_most(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_we_never_take_the_last_stop_away_ourselves(seed: int) -> None:
    """Scenario P10, with nobody else touching the orders."""
    world = World(seed, humans=False)
    world.run()
    check(world)
    assert world.stop_removed_by_us == []


@pytest.mark.parametrize("seed", range(3))
def test_on_a_good_day_three_orders_are_sent_and_that_is_all(seed: int) -> None:
    world = World(seed, is_calm=True)
    world.run()
    check(world)
    assert [one.order.role for one in world.everything] == [
        OrderRole.ENTRY,
        OrderRole.STOP_LOSS,
        OrderRole.TAKE_PROFIT,
    ] or [one.order.role for one in world.everything] == [
        OrderRole.ENTRY,
        OrderRole.TAKE_PROFIT,
        OrderRole.STOP_LOSS,
    ]
    assert world.held == WHOLE
    assert {order.state for order in world.story.trade.orders[1:]} == {OrderState.NEW}
    assert world.story.alerts == []
