"""Margin and liquidation, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from story import BITCOIN, market, wish

from app.domain.money import ZERO
from app.domain.policy import AccountPolicy
from app.domain.reports import AccountReport, LeverageBracket
from app.services.execution.planning import EntryPlan, plan_entry
from app.services.execution.risk import Means, beyond_means, liquidation_estimate

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
    assert beyond_means(plan(), means("101.76")) is None
    refusal = beyond_means(plan(), means("101.75"))
    assert refusal is not None
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


def test_without_brackets_nothing_is_estimated() -> None:
    assert liquidation_estimate(plan(), replace(means("1000"), brackets=())) is None
