"""Margin and liquidation, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from story import BITCOIN, market, wish

from app.domain.money import ZERO
from app.domain.policy import AccountPolicy
from app.domain.reports import AccountReport, LeverageBracket
from app.services.execution.means import Means, check_liquidation, check_margin, liquidation_estimate
from app.services.execution.planning import EntryPlan, plan_entry
from app.services.execution.risk import CheckFailed

BRACKETS = (
    LeverageBracket(
        notional_floor=ZERO,
        notional_cap=Decimal(100_000),
        maximum_leverage=125,
        maintenance_rate=Decimal("0.004"),
        cumulative=ZERO,
    ),
)


def plan(leverage: int = 10, **changes: object) -> EntryPlan:
    policy = AccountPolicy(account_id="default", is_paper=True)
    return plan_entry(wish(**changes), market(BITCOIN), leverage, policy)


def means(available: str, margin: str = "1000", *, is_isolated: bool = True) -> Means:
    account = AccountReport(
        wallet_balance=Decimal(margin),
        unrealised_pnl=ZERO,
        margin_balance=Decimal(margin),
        initial_margin=ZERO,
        maintenance_margin=ZERO,
        available_balance=Decimal(available),
        can_trade=True,
    )
    return Means(account=account, is_isolated=is_isolated, taker_fee=Decimal("0.0005"), brackets=BRACKETS)


def test_margin_both_fees_and_the_buffer_must_be_free() -> None:
    """Z4: 960 at 10x is 96 margin, 0.96 fees, 4.80 buffer."""
    check_margin(plan(), means("101.76"))
    with pytest.raises(CheckFailed) as failed:
        check_margin(plan(), means("101.75"))
    refusal = failed.value.refused
    assert refusal.code == "insufficient_margin"
    for number in ("101.76", "96.00", "0.96", "101.75"):
        assert number in refusal.message


@pytest.mark.parametrize(("action", "expected"), [("buy", "86746.99"), ("sell", "105179.28")])
def test_the_liquidation_price_uses_up_the_isolated_margin_down_to_maintenance(action: str, expected: str) -> None:
    """P6."""
    found = liquidation_estimate(plan(action=action), means("1000"))
    assert found is not None
    assert round(found, 2) == Decimal(expected)


def test_a_rich_cross_account_has_no_liquidation_price_for_a_long() -> None:
    assert liquidation_estimate(plan(), means("1000", is_isolated=False)) is None


def test_without_brackets_a_stop_can_not_be_judged() -> None:
    """P6: what can't be told is refused, not skipped; an entry without a stop asks for nothing."""
    unknown = replace(means("1000"), brackets=())
    assert liquidation_estimate(plan(), unknown) is None
    with pytest.raises(CheckFailed, match="leverage brackets"):
        check_liquidation(plan(), unknown)
    check_liquidation(plan(sl_price=None), unknown)
    with pytest.raises(CheckFailed, match="trailing stop"):
        check_liquidation(plan(sl_price=None, trailing_stop={"callback_rate": 1}), unknown)


def test_above_the_last_bracket_its_rate_counts() -> None:
    """P6: never skipped because the position is too large for every bracket."""
    small = replace(means("1000"), brackets=(replace(BRACKETS[0], notional_cap=Decimal(100)),))
    assert liquidation_estimate(plan(), small) == liquidation_estimate(plan(), means("1000"))
