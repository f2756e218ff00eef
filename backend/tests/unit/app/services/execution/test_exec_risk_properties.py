"""For any account, instrument and decision: what is approved is within every limit and every filter."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import MARK, START, Story, market, wish
from test_exec_planning import ALLOCATIONS, MARKS, instruments

from app.domain.days import DayResult
from app.domain.instruments import Instrument
from app.domain.money import ZERO, is_multiple
from app.domain.policy import AccountPolicy, AllocationBasis, ExistingPositionPolicy, LeveragePolicy, RiskPolicy
from app.domain.trades import TradeSide
from app.integrations.aster.instruments import read_exchange_info
from app.services.execution.checks import Case, assess, assess_adjustment
from app.services.execution.planning import EntryPlan
from app.services.execution.risk import Exposure, RiskApproved, RiskRefused
from support.samples import samples

LIMITS = st.none() | st.decimals(min_value=Decimal(1), max_value=Decimal("1e8"), places=2)


@st.composite
def policies(draw: st.DrawFn) -> AccountPolicy:
    """Any account's limits."""
    risk = RiskPolicy(
        maximum_leverage=draw(st.integers(1, 25)),
        leverage_policy=draw(st.sampled_from(LeveragePolicy)),
        allocation_basis=draw(st.sampled_from(AllocationBasis)),
        on_existing_position=draw(st.sampled_from(ExistingPositionPolicy)),
        maximum_open_positions=draw(st.none() | st.integers(1, 4)),
        maximum_notional_per_asset=draw(LIMITS),
        maximum_total_notional=draw(LIMITS),
        maximum_daily_loss=draw(LIMITS),
        cooldown_s=0,
    )
    return AccountPolicy(account_id="default", is_paper=True, risk=risk)


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    """What the account holds: perhaps our own position on the asset, and whatever else."""
    amounts = st.decimals(min_value=Decimal(0), max_value=Decimal("1e6"), places=2)
    held = draw(st.dictionaries(st.sampled_from(["ETHUSDT", "SOLUSDT", "XRPUSDT"]), amounts))
    trade = Story().protect().trade if draw(st.booleans()) else None
    own = {"BTCUSDT": trade.exposure * MARK} if trade is not None else {}
    result = st.decimals(min_value=Decimal("-1e6"), max_value=Decimal("1e6"), places=2)
    unvalued = st.dictionaries(st.sampled_from(["U", "ASTER"]), result, max_size=1)
    realised = draw(st.none() | st.builds(DayResult, result, unvalued))
    return Exposure(
        has_position=trade is not None, notional_by_asset={**held, **own}, trade=trade, realised_today=realised
    )


def require_within(plan: EntryPlan, instrument: Instrument, exposure: Exposure, risk: RiskPolicy) -> None:
    """Every limit of the policy, every filter of the instrument."""
    assert plan.leverage <= min(risk.maximum_leverage, 25)
    gone = {"BTCUSDT"} if plan.closes is not None else set()
    held = {name: value for name, value in exposure.notional_by_asset.items() if value and name not in gone}
    if risk.maximum_open_positions is not None:
        assert len(held.keys() | {"BTCUSDT"}) <= risk.maximum_open_positions
    if risk.maximum_notional_per_asset is not None:
        assert held.get("BTCUSDT", ZERO) + plan.notional <= risk.maximum_notional_per_asset
    if risk.maximum_total_notional is not None:
        assert sum(held.values(), start=ZERO) + plan.notional <= risk.maximum_total_notional
    if risk.maximum_daily_loss is not None:
        assert exposure.realised_today is not None
        assert -exposure.realised_today.dollars < risk.maximum_daily_loss
        assert all(amount >= 0 for amount in exposure.realised_today.unvalued.values())
    require_filters(plan, instrument)


def require_filters(plan: EntryPlan, instrument: Instrument) -> None:
    assert plan.quantity >= instrument.market_minimum
    assert not instrument.market_maximum or max(plan.parts) <= instrument.market_maximum
    assert sum(plan.parts) == plan.quantity
    assert min(plan.parts) >= instrument.market_minimum
    assert not instrument.lot.maximum or plan.position_quantity <= instrument.lot.maximum
    assert is_multiple(plan.quantity, instrument.lot.step)
    assert is_multiple(plan.quantity, instrument.market_lot.step)
    assert plan.notional >= instrument.minimum_notional
    for leg in plan.legs:
        assert instrument.is_price_on_tick(leg.trigger_price)


@given(policies(), exposures(), instruments(), MARKS, ALLOCATIONS, st.sampled_from(["buy", "sell"]), st.data())
def test_an_approved_entry_is_within_every_limit_filter_and_allocation(
    policy: AccountPolicy,
    exposure: Exposure,
    instrument: Instrument,
    mark: Decimal,
    allocation: Decimal,
    action: str,
    data: st.DataObject,
) -> None:
    asked_leverage = data.draw(st.none() | st.integers(1, 100))
    away = data.draw(st.sampled_from([Decimal("0.9"), Decimal("0.99"), None]))
    exits = {"sl_price": None, "tp_price": None}
    if away is not None:
        low, high = format(mark * away, "f"), format(mark * (2 - away), "f")
        exits = {"sl_price": low, "tp_price": high} if action == "buy" else {"sl_price": high, "tp_price": low}
    asked = wish(action=action, allocation_usd=str(allocation), leverage=asked_leverage, **exits)
    verdict = assess(Case(wish=asked, market=market(instrument, mark), exposure=exposure, policy=policy, now=START))
    if isinstance(verdict, RiskRefused):
        assert verdict.message
        return
    plan = verdict.plan
    require_within(plan, instrument, exposure, policy.risk)
    factor = plan.leverage if policy.risk.allocation_basis is AllocationBasis.MARGIN else 1
    assert plan.quantity * mark <= allocation * factor
    if exposure.trade is not None:
        assert (plan.onto is not None) is (plan.side is TradeSide.LONG)
        assert (plan.closes is not None) is (plan.side is TradeSide.SHORT)


@given(policies(), exposures(), instruments(), MARKS, ALLOCATIONS, st.booleans(), st.data())
def test_an_approved_change_is_within_every_limit_and_never_takes_off_more_than_is_held(
    policy: AccountPolicy,
    exposure: Exposure,
    instrument: Instrument,
    mark: Decimal,
    amount: Decimal,
    is_increase: bool,
    data: st.DataObject,
) -> None:
    percentage = data.draw(st.none() | st.decimals(min_value=Decimal("0.01"), max_value=Decimal(100), places=2))
    change = {
        "adjustment_type": "increase" if is_increase else "decrease",
        "adjustment_amount_usd": str(amount),
        "adjustment_percentage": None if percentage is None else str(percentage),
    }
    asked = wish(action="adjust_position", position_adjustment=change, leverage=None)
    verdict = assess_adjustment(
        Case(wish=asked, market=market(instrument, mark), exposure=exposure, policy=policy, now=START)
    )
    if isinstance(verdict, RiskRefused):
        assert verdict.message
        return
    plan = verdict.plan
    most = amount / mark if percentage is None else plan.trade.exposure * percentage / 100
    assert (verdict.entry is not None) is is_increase
    if verdict.entry is not None:
        require_within(verdict.entry.plan, instrument, exposure, policy.risk)
        assert plan.quantity <= most
    else:
        assert ZERO < plan.quantity <= plan.trade.exposure
        assert plan.quantity <= most or plan.quantity == plan.trade.exposure


@pytest.mark.parametrize("path", samples("exchange_info.json"))
def test_rounding_is_exact_for_every_recorded_symbol(path: Path) -> None:
    """For each of them: the largest quantity within the allocation, on both steps, and exits on the tick."""
    approved: set[str] = set()
    policy = AccountPolicy(account_id="default", is_paper=True)
    for instrument in read_exchange_info(path.read_bytes()).instruments.values():
        tradable = replace(instrument, status="TRADING")
        for ticks in (1, 7, 1_000, 123_457):
            mark = instrument.minimum_price + (instrument.tick_size or Decimal("0.0001")) * ticks
            for allocation in ("5.01", "999.99", "123456.789"):
                asked = wish(asset=instrument.symbol, allocation_usd=allocation, sl_price=None, tp_price=None)
                free = Exposure(notional_by_asset={})
                view = market(tradable, mark)
                verdict = assess(Case(wish=asked, market=view, exposure=free, policy=policy, now=START))
                if not isinstance(verdict, RiskApproved):
                    continue
                approved.add(instrument.symbol)
                plan = verdict.plan
                require_filters(plan, tradable)
                assert plan.quantity * mark <= Decimal(allocation) < (plan.quantity + instrument.market_step) * mark
                trigger = instrument.price_at_nearest_tick(mark * Decimal("1.0137"))
                assert is_multiple(trigger - instrument.minimum_price, instrument.tick_size)
                assert abs(trigger - mark * Decimal("1.0137")) * 2 <= instrument.tick_size
    assert len(approved) > 10
