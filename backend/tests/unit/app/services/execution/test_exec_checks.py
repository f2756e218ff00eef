"""The table of checks is the contract's, and whoever asks gets the same answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from story import BITCOIN, MARK, PLENTY, START, Story, market, quote, wish

from app.domain.days import DayResult
from app.domain.errors import ErrorCode
from app.domain.policy import AccountPolicy, ExistingPositionPolicy, RiskPolicy
from app.services.execution.checks import CHECKS, Case, Change, assess, assess_adjustment, first_refusal
from app.services.execution.means import Means
from app.services.execution.risk import CheckFailed, Exposure, RiskApproved, RiskRefused

CONTRACT = (
    "validation, conflict, account, halted, not ready, age, asset, leverage, cooldown, existing position, "
    "stop-loss required, sides of TP and SL, quantity and notional, exposure, daily loss, price deviation, margin, "
    "stop beyond liquidation"
)
"""Contract, section 9, order of checks."""
BEFORE = ["validation", "conflict", "account"]
"""Those of a whole decision, at intake."""
FREE = Exposure(notional_by_asset={})


def test_the_table_is_the_contracts_list_in_its_order() -> None:
    assert [*BEFORE, *dict.fromkeys(check.name for check in CHECKS)] == CONTRACT.split(", ")


def case(risk: RiskPolicy | None = None, exposure: Exposure = FREE, **changes: Any) -> Case:
    policy = AccountPolicy(account_id="default", is_paper=True, risk=risk or RiskPolicy())
    values: dict[str, Any] = {"wish": wish(), "market": market(), "quote": quote(), "means": PLENTY}
    return Case(exposure=exposure, policy=policy, **{"now": START, **values, **changes})


HELD = Exposure(has_position=True, is_closable=True, trade=Story().protect().trade, notional_by_asset={})


def adjusted(**change: object) -> Any:
    return wish(action="adjust_position", position_adjustment=change)


def orders(**change: object) -> Any:
    return wish(action="adjust_orders", order_adjustment=change)


@pytest.mark.parametrize(
    ("asked", "away"),
    [
        (wish(sl_price="47999"), "50.0 %"),
        (wish(sl_price="2"), "100.0 %"),
        (wish(tp_price="145000"), "51.0 %"),
        (wish(action="sell", sl_price="145000"), "51.0 %"),
        (wish(action="sell", tp_price="3"), "100.0 %"),
        (wish(sl_price="94000", trailing_stop={"callback_rate": 1, "activation_price": "200000"}), "108.3 %"),
        (adjusted(new_sl_price="2"), "100.0 %"),
        (adjusted(adjustment_type="increase", adjustment_percentage="10", new_tp_price="300000"), "212.5 %"),
        (adjusted(adjustment_type="decrease", adjustment_percentage="50", new_sl_price="2"), "100.0 %"),
        (orders(new_sl_price="2"), "100.0 %"),
        (orders(new_tp_price="200000"), "108.3 %"),
    ],
)
def test_an_exit_far_from_the_mark_asks_whether_percent_was_meant(asked: Any, away: str) -> None:
    """Issue 19, point 32: a stop of 2 on a long at 96,000 is no stop."""
    exposure = HELD if not asked.item.action.is_entry else FREE
    refusal = first_refusal(case(wish=asked, exposure=exposure, risk=RiskPolicy(cooldown_s=0)))
    assert refusal is not None
    assert refusal.code.value in ("stop_loss_invalid", "take_profit_invalid")
    for word in (away, "at most 50 %", "percentage meant"):
        assert word in refusal.message


def test_the_distance_allowed_is_a_setting_and_inclusive() -> None:
    near = RiskPolicy(maximum_exit_distance_percent=Decimal("2.5"))
    assert first_refusal(case(near, wish=wish(sl_price="93600", tp_price=None))) is None
    assert first_refusal(case(near, wish=wish(sl_price="93599.9", tp_price=None))) is not None


@pytest.mark.parametrize("change", [Change.ENTRY, Change.INCREASE, Change.DECREASE, Change.EXITS, Change.CLOSE])
def test_no_price_is_a_refusal_of_what_needs_one(change: Change) -> None:
    """Issue 19, point 30: 0 is no price, and what reduces risk without one goes on."""
    asked = {
        Change.ENTRY: wish(),
        Change.INCREASE: adjusted(adjustment_type="increase", adjustment_percentage="10"),
        Change.DECREASE: adjusted(adjustment_type="decrease", adjustment_percentage="50"),
        Change.EXITS: orders(cancel_tp=True),
        Change.CLOSE: wish(action="close_position"),
    }[change]
    exposure = FREE if change is Change.ENTRY else HELD
    answer = first_refusal(case(wish=asked, market=market(mark=Decimal(0)), exposure=exposure))
    if change in (Change.ENTRY, Change.INCREASE):
        assert answer is not None
        assert (answer.code, "no mark price" in answer.message) == (ErrorCode.ASSET_NOT_TRADING, True)
    else:
        assert answer is None


@pytest.mark.parametrize(
    "asked",
    [
        adjusted(adjustment_type="decrease", adjustment_amount_usd="100"),
        adjusted(new_sl_price="95000"),
        orders(new_tp_price="99000"),
    ],
)
def test_without_a_price_what_is_measured_by_it_is_refused(asked: Any) -> None:
    answer = assess_adjustment(case(wish=asked, market=market(mark=Decimal(0)), exposure=HELD))
    assert isinstance(answer, RiskRefused)
    assert answer.code is ErrorCode.ASSET_NOT_TRADING


def test_at_send_time_everything_must_be_known() -> None:
    """Nothing is skipped because it could not be read."""
    with pytest.raises(Exception, match="without what it needs"):
        first_refusal(case(means=None), is_leaving=True)
    with pytest.raises(Exception, match="without what it needs"):
        first_refusal(case(quote=None), is_leaving=True)
    assert first_refusal(case(), is_leaving=True) is None


def test_an_own_reservation_is_no_cooldown_at_send_time() -> None:
    just_now = replace(FREE, last_activity=START)
    assert first_refusal(case(exposure=just_now)) is not None
    assert first_refusal(case(exposure=just_now), is_leaving=True) is None


def planned() -> Any:
    verdict = assess(case())
    assert isinstance(verdict, RiskApproved)
    return verdict.plan


@pytest.mark.parametrize(("mark", "quantity"), [("96000", "0.010"), ("90000", "0.010"), ("110400", "0.008")])
def test_a_plan_that_is_judged_again_never_grows(mark: str, quantity: str) -> None:
    """Z7."""
    price, far = Decimal(mark), RiskPolicy(maximum_price_deviation_bps=Decimal(10_000))
    asked = wish(sl_price=None, tp_price=None)
    again = case(far, wish=asked, market=market(mark=price), quote=quote(price), planned=replace(planned(), legs=()))
    assert first_refusal(again, is_leaving=True) is None
    assert again.known_entry.quantity == Decimal(quantity)
    assert again.known_entry.notional == Decimal(quantity) * price


def test_deviation_is_measured_from_plan_and_from_mark() -> None:
    """Z7: mark and book moved together; and the book alone."""
    moved = Decimal(97200)
    together = case(market=market(mark=moved), quote=quote(moved), planned=planned())
    alone = case(quote=quote(moved), planned=planned())
    back = case(market=market(mark=moved), quote=quote(MARK), planned=planned())
    for one, word in ((together, "planned price 96000"), (alone, "planned price 96000"), (back, "mark price 97200")):
        refusal = first_refusal(one, is_leaving=True)
        assert refusal is not None
        assert (refusal.code, word in refusal.message) == (ErrorCode.PRICE_DEVIATION, True)


def test_a_flip_is_held_to_the_price_before_its_close() -> None:
    """Z7, Z8: the close took its time."""
    late = replace(wish(sl_price=None, tp_price=None), flipped="t", planned_price=Decimal(94000))
    refusal = first_refusal(case(wish=late))
    assert refusal is not None
    assert refusal.code is ErrorCode.PRICE_DEVIATION


def test_what_a_flip_closes_pays_for_its_entry_and_costs_its_loss() -> None:
    """Z8: what the close sets free is available; what it realises counts towards the daily loss."""
    flip = RiskPolicy(on_existing_position=ExistingPositionPolicy.FLIP, cooldown_s=0)
    short = wish(action="sell")
    tight = replace(PLENTY, account=replace(PLENTY.account, available_balance=Decimal(10)))
    assert first_refusal(case(flip, HELD, wish=short, means=tight)) is None
    assert first_refusal(case(flip, wish=short, means=tight)) is not None
    deep = replace(HELD, realised_today=DayResult(Decimal(0)))
    lossy = replace(flip, maximum_daily_loss=Decimal(10))
    asked, low = wish(action="sell", sl_price="96000", tp_price="90000"), Decimal(94900)
    refusal = first_refusal(case(lossy, deep, wish=asked, market=market(mark=low), quote=quote(low)))
    assert refusal is not None
    assert refusal.code is ErrorCode.DAILY_LOSS_LIMIT


def offered(leverage: int, cap: str) -> Means:
    (row,) = PLENTY.brackets
    return replace(PLENTY, brackets=(replace(row, maximum_leverage=leverage, notional_cap=Decimal(cap)),))


def test_what_the_exchange_does_not_offer_is_known_before_it_is_asked_for() -> None:
    """Z6, Z8."""
    too_much = first_refusal(case(means=offered(5, "1e6")))
    assert too_much is not None
    assert too_much.code is ErrorCode.LEVERAGE_EXCEEDED
    too_large = first_refusal(case(means=offered(20, "900")))
    assert too_large is not None
    assert too_large.code is ErrorCode.EXPOSURE_LIMIT


def test_what_can_not_be_planned_is_not_judged_and_breaks_nothing() -> None:
    """Issue 19, point 17: a quantity that rounds to 0 included."""
    for asked in (wish(allocation_usd="0.01"), adjusted(adjustment_type="increase", adjustment_percentage="0.01")):
        one = case(wish=asked, exposure=HELD if not asked.item.action.is_entry else FREE)
        for check in CHECKS:
            if one.change in check.applies_to and check.can_judge(one):
                try:
                    check.refuse(one)
                except CheckFailed:
                    continue
                assert check.tell(one)
    nothing = case(market=None)
    assert [check.name for check in CHECKS if check.can_judge(nothing)][-1] == "daily loss"
    assert nothing.entry is None


def test_a_close_needs_something_of_ours_and_no_more() -> None:
    asked = wish(action="close_position")
    assert first_refusal(case(wish=asked, exposure=replace(FREE, is_closable=True), market=None)) is None
    refusal = first_refusal(case(wish=asked, market=None))
    assert refusal is not None
    assert refusal.code is ErrorCode.POSITION_ABSENT
    stale = case(wish=asked, exposure=HELD, now=START + timedelta(minutes=2), market=market(BITCOIN))
    assert first_refusal(stale) is not None
