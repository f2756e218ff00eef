"""Planning: exact numbers, never more than the allocation, within every filter."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import BITCOIN, START, TRADE_ID, market, wish

from app.domain.ids import OrderRole
from app.domain.instruments import Instrument, LotRule
from app.domain.money import ZERO, is_multiple
from app.domain.orders import OrderState
from app.domain.policy import AccountPolicy, AllocationBasis, ProtectionPolicy, RiskPolicy
from app.domain.reports import OrderType, PositionSide, Side
from app.domain.trades import TradeSide, TradeStatus
from app.services.execution.planning import new_trade, plan_entry, plan_leg, position_side_for

POLICY = AccountPolicy(account_id="default", is_paper=True)
STEPS = st.sampled_from([Decimal(text) for text in ("0.00001", "0.001", "0.5", "1", "10", "1000")])
TICKS = st.sampled_from([Decimal(text) for text in ("0.0000001", "0.0005", "0.1", "0.25", "1", "5")])


@st.composite
def instruments(draw: st.DrawFn) -> Instrument:
    """Any symbol's rules; the coarser step is a multiple of the finer one, as on the exchange."""
    step, tick = draw(STEPS), draw(TICKS)
    lot = LotRule(minimum=step, maximum=step * 10**9, step=step)
    factor = draw(st.sampled_from([1, 5, 10]))
    market_lot = LotRule(minimum=step * factor, maximum=step * 10**8, step=step * factor)
    return replace(
        BITCOIN, tick_size=tick, minimum_price=tick, maximum_price=tick * 10**9, lot=lot, market_lot=market_lot
    )


ALLOCATIONS = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("1e9"), places=6)
MARKS = st.decimals(min_value=Decimal("0.000001"), max_value=Decimal("1e6"), places=6)


@given(instruments(), ALLOCATIONS, MARKS, st.sampled_from(["buy", "sell"]), st.integers(1, 25))
def test_quantity_times_mark_never_exceeds_the_allocation(
    instrument: Instrument, allocation: Decimal, mark: Decimal, action: str, leverage: int
) -> None:
    """Scenario Z1, in both meanings of the allocation."""
    asked = wish(action=action, allocation_usd=str(allocation))
    for basis, money in ((AllocationBasis.NOTIONAL, allocation), (AllocationBasis.MARGIN, allocation * leverage)):
        policy = replace(POLICY, risk=RiskPolicy(allocation_basis=basis))
        plan = plan_entry(asked, market(instrument, mark), leverage, policy)
        assert plan.quantity * mark <= money < (plan.quantity + instrument.market_step) * mark
        assert plan.notional == plan.quantity * mark
        assert is_multiple(plan.quantity, instrument.lot.step)
        assert is_multiple(plan.quantity, instrument.market_lot.step)


@given(instruments(), st.decimals(min_value=Decimal("0.0001"), max_value=Decimal("1e6"), places=8))
def test_exits_lie_on_the_tick_and_at_most_half_a_tick_off(instrument: Instrument, price: Decimal) -> None:
    leg = plan_leg(OrderRole.STOP_LOSS, OrderType.STOP_MARKET, price, Side.SELL, instrument, ProtectionPolicy())
    assert abs(leg.trigger_price - price) * 2 <= instrument.tick_size
    assert is_multiple(leg.trigger_price - instrument.minimum_price, instrument.tick_size)
    assert leg.limit_price is None


@pytest.mark.parametrize(
    ("kind", "side", "limit"),
    [
        (OrderType.STOP, Side.SELL, "93530.0"),
        (OrderType.STOP, Side.BUY, "94470.0"),
        (OrderType.TAKE_PROFIT, Side.SELL, "93530.0"),
        (OrderType.LIMIT, Side.SELL, "94000.0"),
        (OrderType.STOP_MARKET, Side.SELL, None),
    ],
)
def test_a_limit_lies_beyond_its_trigger_on_the_side_that_fills(kind: OrderType, side: Side, limit: str | None) -> None:
    leg = plan_leg(OrderRole.STOP_LOSS, kind, Decimal(94000), side, BITCOIN, ProtectionPolicy())
    assert leg.limit_price == (None if limit is None else Decimal(limit))


def test_the_plan_keeps_what_was_asked_for_beside_what_is_done() -> None:
    plan = plan_entry(wish(leverage=40), market(), 25, POLICY)
    assert (plan.leverage, plan.requested_leverage, plan.quantity) == (25, 40, Decimal("0.010"))
    assert [leg.role for leg in plan.legs] == [OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT]


@pytest.mark.parametrize("action", ["buy", "sell"])
def test_a_new_trade_has_all_its_intents_and_has_sent_nothing(action: str) -> None:
    """Design: intent is durable before it is sent, the three order intents with their ids."""
    plan = plan_entry(wish(action=action, rationale="because", confidence=78), market(), 10, POLICY)
    trade = new_trade(plan, trade_id=TRADE_ID, account_id="default", position_side=PositionSide.BOTH, now=START)
    assert trade.status is TradeStatus.PENDING
    assert {order.state for order in trade.orders} == {OrderState.PLANNED}
    assert [order.client_order_id for order in trade.orders] == [f"tes.{TRADE_ID}.{x}1" for x in "est"]
    side = TradeSide.LONG if action == "buy" else TradeSide.SHORT
    assert trade.side is side
    assert [order.request.side for order in trade.orders] == [side.entry_side, side.exit_side, side.exit_side]
    assert [order.request.reduce_only for order in trade.orders] == [False, True, True]
    assert {order.quantity for order in trade.orders} == {plan.quantity}
    assert trade.exposure == ZERO
    assert trade.context == {"rationale": "because", "confidence": "78"}


@pytest.mark.parametrize(
    ("side", "is_hedge", "expected"),
    [("long", False, "BOTH"), ("short", False, "BOTH"), ("long", True, "LONG"), ("short", True, "SHORT")],
)
def test_the_position_side_follows_the_accounts_mode(side: str, is_hedge: bool, expected: str) -> None:
    """Scenario L4."""
    assert position_side_for(TradeSide(side), is_hedge_mode=is_hedge).value == expected
