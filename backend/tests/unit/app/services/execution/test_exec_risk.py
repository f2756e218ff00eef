"""Risk: each refusal names the number and the limit, and the first check that fails answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from story import BITCOIN, MARK, START, market, wish

from app.domain.errors import ErrorCode
from app.domain.instruments import LotRule
from app.domain.policy import AccountPolicy, LeveragePolicy, ProtectionPolicy, RiskPolicy
from app.domain.reports import OrderType
from app.services.execution.checks import Case, assess
from app.services.execution.planning import EntryWish, MarketView
from app.services.execution.risk import Exposure, RiskApproved, RiskRefused

FREE = Exposure(notional_by_asset={})


def judged(
    asked: EntryWish | None = None,
    view: MarketView | None = None,
    exposure: Exposure = FREE,
    *,
    later_s: float = 0,
    protection: ProtectionPolicy | None = None,
    **limits: Any,
) -> RiskApproved | RiskRefused:
    policy = AccountPolicy(
        account_id="default",
        is_paper=True,
        risk=RiskPolicy(**limits),
        protection=protection or ProtectionPolicy(),
    )
    now = START + timedelta(seconds=later_s)
    return assess(Case(wish=asked or wish(), market=view or market(), exposure=exposure, policy=policy, now=now))


def refused(*args: Any, **kwargs: Any) -> RiskRefused:
    verdict = judged(*args, **kwargs)
    assert isinstance(verdict, RiskRefused)
    return verdict


def approved(*args: Any, **kwargs: Any) -> RiskApproved:
    verdict = judged(*args, **kwargs)
    assert isinstance(verdict, RiskApproved), verdict
    return verdict


@pytest.mark.parametrize("action", ["buy", "sell"])
def test_a_sound_wish_is_approved(action: str) -> None:
    plan = approved(wish(action=action)).plan
    assert (plan.quantity, plan.leverage) == (Decimal("0.010"), 10)


def test_a_decision_that_waited_too_long_is_stale() -> None:
    """Scenario C7."""
    approved(later_s=60)
    verdict = refused(later_s=60.5)
    assert verdict.code is ErrorCode.STALE_DECISION
    assert "60.5 s" in verdict.message
    assert "60 s" in verdict.message


def test_an_unlisted_asset_is_unknown_and_a_lower_case_one_is_explained() -> None:
    policy = AccountPolicy(account_id="default", is_paper=True)
    verdict = assess(Case(wish=wish(asset="btcusdt"), market=None, exposure=FREE, policy=policy, now=START))
    assert isinstance(verdict, RiskRefused)
    assert verdict.code is ErrorCode.ASSET_UNKNOWN
    assert "such as BTCUSDT" in verdict.message


@pytest.mark.parametrize("status", ["SETTLING", "PENDING_TRADING", "BREAK", "something new"])
def test_an_asset_that_does_not_trade_takes_no_entry(status: str) -> None:
    """Scenario H3."""
    verdict = refused(view=market(replace(BITCOIN, status=status)))
    assert verdict.code is ErrorCode.ASSET_NOT_TRADING
    assert status in verdict.message


@pytest.mark.parametrize(
    ("asked", "limits", "leverage"),
    [
        (None, {}, 5),
        (None, {"default_leverage": 7, "maximum_leverage": 3}, 3),
        (10, {}, 10),
        (25, {}, 25),
        (26, {}, 25),
        (10**9, {}, 25),
        (20, {"maximum_leverage": 8}, 8),
        (50, {"maximum_leverage": 100}, 25),
    ],
)
def test_leverage_is_capped_at_the_limit_and_never_above_25(
    asked: int | None, limits: dict[str, int], leverage: int
) -> None:
    plan = approved(wish(leverage=asked), **limits).plan
    assert (plan.leverage, plan.requested_leverage) == (leverage, asked)


def test_too_much_leverage_is_refused_where_the_policy_says_so() -> None:
    verdict = refused(wish(leverage=26), leverage_policy=LeveragePolicy.REJECT)
    assert verdict.code is ErrorCode.LEVERAGE_EXCEEDED
    assert "26" in verdict.message
    assert "25" in verdict.message
    approved(wish(leverage=25), leverage_policy=LeveragePolicy.REJECT)


def test_the_cooldown_tells_how_long_to_wait() -> None:
    exposure = replace(FREE, last_activity=START - timedelta(seconds=299.5))
    verdict = refused(exposure=exposure)
    assert (verdict.code, verdict.retry_after_s) == (ErrorCode.COOLDOWN_ACTIVE, 0.5)
    assert "300 s" in verdict.message
    approved(exposure=replace(FREE, last_activity=START - timedelta(seconds=300)))


def test_a_cooldown_of_zero_is_off() -> None:
    approved(exposure=replace(FREE, last_activity=START), cooldown_s=0)


def test_no_entry_while_an_order_is_unknown() -> None:
    """Contract, section 9."""
    verdict = refused(exposure=replace(FREE, has_unknown_order=True, has_position=True))
    assert verdict.code is ErrorCode.OUTCOME_UNKNOWN


def test_no_entry_beside_a_position() -> None:
    assert refused(exposure=replace(FREE, has_position=True)).code is ErrorCode.POSITION_EXISTS


def test_a_required_stop_is_required() -> None:
    verdict = refused(wish(sl_price=None), require_stop_loss=True)
    assert verdict.code is ErrorCode.STOP_LOSS_REQUIRED
    approved(wish(sl_price=None))
    approved(require_stop_loss=True)


@pytest.mark.parametrize(
    ("action", "field", "price", "side"),
    [
        ("buy", "sl_price", "96000", "below"),
        ("buy", "sl_price", "96000.04", "below"),
        ("buy", "sl_price", "97000", "below"),
        ("buy", "tp_price", "95000", "above"),
        ("buy", "tp_price", "96000", "above"),
        ("sell", "sl_price", "95999.9", "above"),
        ("sell", "tp_price", "96000.1", "below"),
    ],
)
def test_exits_on_the_wrong_side_of_the_mark_are_refused(action: str, field: str, price: str, side: str) -> None:
    """Scenario P7; a price that the tick moves onto the mark is on the wrong side too."""
    verdict = refused(wish(action=action, **{field: price}))
    expected = ErrorCode.STOP_LOSS_INVALID if field == "sl_price" else ErrorCode.TAKE_PROFIT_INVALID
    assert verdict.code is expected
    for word in (field, side, "96000"):
        assert word in verdict.message


@pytest.mark.parametrize(("field", "price"), [("sl_price", "0.4"), ("tp_price", "1000000.1")])
def test_exits_that_the_exchange_would_never_take_are_refused_before_the_entry(field: str, price: str) -> None:
    """Fact sheet, section 5: PRICE_FILTER applies to stopPrice; otherwise the position is closed at the deadline."""
    verdict = refused(wish(**{field: price}), maximum_exit_distance_percent=Decimal(2000))
    assert verdict.code.value == ("stop_loss_invalid" if field == "sl_price" else "take_profit_invalid")
    for word in (field, price, "1000000"):
        assert word in verdict.message


def test_the_limit_behind_the_trigger_counts_as_well() -> None:
    policy = ProtectionPolicy(stop_loss_type=OrderType.STOP, limit_offset_bps=Decimal(5000))
    far = Decimal(100)
    verdict = refused(wish(sl_price="1.5"), protection=policy, maximum_exit_distance_percent=far)
    assert verdict.code is ErrorCode.STOP_LOSS_INVALID


@pytest.mark.parametrize("allocation", ["0.000001", "95.99"])
def test_an_allocation_below_the_smallest_order_is_refused_with_what_it_needs(allocation: str) -> None:
    verdict = refused(wish(allocation_usd=allocation))
    assert verdict.code is ErrorCode.QUANTITY_BELOW_MINIMUM
    for word in (allocation, "0.001", "96 USDT"):
        assert word in verdict.message
    approved(wish(allocation_usd="96"))


def test_an_allocation_above_the_largest_market_order_goes_in_parts() -> None:
    """O7: up to what one exit can be for, and what twenty orders can be."""
    assert approved(wish(allocation_usd=str(MARK * 250))).plan.parts == (120, 120, 10)
    verdict = refused(wish(allocation_usd=str(MARK * Decimal("1000.001"))))
    assert verdict.code is ErrorCode.QUANTITY_ABOVE_MAXIMUM
    for word in ("1000.001", "1000"):
        assert word in verdict.message
    small = market(replace(BITCOIN, market_lot=replace(BITCOIN.market_lot, maximum=Decimal(1))))
    assert refused(wish(allocation_usd=str(MARK * 21)), view=small).code is ErrorCode.QUANTITY_ABOVE_MAXIMUM


def test_a_notional_below_the_minimum_is_refused() -> None:
    tiny = LotRule(minimum=Decimal("0.00001"), maximum=Decimal(100), step=Decimal("0.00001"))
    view = market(replace(BITCOIN, lot=tiny, market_lot=tiny))
    verdict = refused(wish(allocation_usd="4.9"), view)
    assert verdict.code is ErrorCode.NOTIONAL_BELOW_MINIMUM
    for word in ("4.8", "5"):
        assert word in verdict.message
    approved(wish(allocation_usd="5.76"), view)


HELD = Exposure(notional_by_asset={"ETHUSDT": Decimal(1500), "SOLUSDT": Decimal(0)})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"maximum_open_positions": 1}, ["2", "1"]),
        ({"maximum_notional_per_asset": Decimal(959)}, ["BTCUSDT", "960", "959"]),
        ({"maximum_total_notional": Decimal(2459)}, ["2460", "2459"]),
    ],
)
def test_exposure_limits_count_what_is_held_and_what_is_wished(limits: dict[str, Any], words: list[str]) -> None:
    verdict = refused(exposure=HELD, **limits)
    assert verdict.code is ErrorCode.EXPOSURE_LIMIT
    for word in words:
        assert word in verdict.message


def test_exposure_limits_are_inclusive() -> None:
    approved(
        exposure=HELD,
        maximum_open_positions=2,
        maximum_notional_per_asset=Decimal(960),
        maximum_total_notional=Decimal(2460),
    )


def test_the_first_check_that_fails_answers() -> None:
    """Contract, section 9: order of checks. Each step mends one fault and meets the next."""
    hopeless = {
        "item": {"leverage": 30, "sl_price": None, "tp_price": "1", "allocation_usd": "1"},
        "exposure": Exposure(has_position=True, last_activity=START, notional_by_asset={"ETHUSDT": Decimal(1)}),
        "instrument": replace(BITCOIN, status="SETTLING"),
        "later_s": 100.0,
    }
    limits: dict[str, Any] = {
        "leverage_policy": LeveragePolicy.REJECT,
        "require_stop_loss": True,
        "maximum_open_positions": 1,
    }
    state: dict[str, Any] = hopeless

    def answer() -> str:
        view = market(state["instrument"])
        verdict = judged(wish(**state["item"]), view, state["exposure"], later_s=state["later_s"], **limits)
        return verdict.code.value if isinstance(verdict, RiskRefused) else "approved"

    met = [answer()]
    mends: list[dict[str, Any]] = [
        {"later_s": 0.0},
        {"instrument": BITCOIN},
        {"item": {**state["item"], "leverage": 10}},
        {"exposure": replace(state["exposure"], last_activity=None)},
        {"exposure": replace(state["exposure"], last_activity=None, has_position=False)},
        {"item": {"leverage": 10, "sl_price": "94000", "tp_price": "1", "allocation_usd": "1"}},
        {"item": {"leverage": 10, "sl_price": "94000", "tp_price": "99000", "allocation_usd": "1"}},
        {"item": {"leverage": 10, "sl_price": "94000", "tp_price": "99000", "allocation_usd": "960"}},
        {"exposure": FREE},
    ]
    for mend in mends:
        state = {**state, **mend}
        met.append(answer())
    assert met == [
        "stale_decision",
        "asset_not_trading",
        "leverage_exceeded",
        "cooldown_active",
        "position_exists",
        "stop_loss_required",
        "take_profit_invalid",
        "quantity_below_minimum",
        "exposure_limit",
        "approved",
    ]
