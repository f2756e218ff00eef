"""The checks of a decision on one asset, in the contract's order (section 9): here and nowhere else. Pure.

A real decision stops at the first refusal. It is judged when it comes to its engine, by what is known there, and once
more when its order is about to leave, by everything. A flip is judged by everything before its close. A dry run shows
every check. The rules themselves are in :mod:`.risk` and :mod:`.adjustment_risk`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from functools import cached_property
from typing import TypeVar

from app.domain.days import DayResult
from app.domain.errors import InvariantBroken
from app.domain.money import ZERO, plain
from app.domain.policy import AccountPolicy
from app.domain.reports import BookTicker
from app.domain.trades import AdjustmentKind, Leg, TradeSide
from app.schemas.decision import Action, AssetDecision
from app.services.execution import adjustment_risk, means, risk
from app.services.execution.means import Means
from app.services.execution.planning import (
    AdjustmentPlan,
    EntryPlan,
    EntryWish,
    MarketView,
    adjustment_kind,
    needs_price,
    plan_adjustment,
)
from app.services.execution.risk import (
    OPEN_GATE,
    AdjustmentApproved,
    Blocks,
    CheckFailed,
    Exposure,
    RiskApproved,
    RiskRefused,
)

_T = TypeVar("_T")


class Change(Enum):
    """What a decision does to an asset, as far as its checks differ."""

    ENTRY = auto()
    INCREASE = auto()
    DECREASE = auto()
    EXITS = auto()
    CLOSE = auto()


_CHANGE_OF_KIND = {
    AdjustmentKind.INCREASE: Change.INCREASE,
    AdjustmentKind.DECREASE: Change.DECREASE,
    AdjustmentKind.EXITS: Change.EXITS,
}


def change_of(item: AssetDecision) -> Change:
    """What a decision does; a ``hold`` has no checks."""
    if item.action.is_entry:
        return Change.ENTRY
    if item.action is Action.CLOSE_POSITION:
        return Change.CLOSE
    return _CHANGE_OF_KIND[adjustment_kind(item)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A decision on one asset, and everything that it is judged by at one moment.

    ``market`` is None when the exchange lists no such asset. ``quote`` and ``means`` are None where they have not been
    read yet. ``liquidation`` is the price that the exchange shows for a position whose stop is to be moved. ``planned``
    is the plan that was approved before, when it is judged again: its size may only shrink, and where it ``is_sized``,
    not even that.
    """

    wish: EntryWish
    market: MarketView | None
    exposure: Exposure
    policy: AccountPolicy
    now: datetime
    gate: Blocks = OPEN_GATE
    quote: BookTicker | None = None
    means: Means | None = None
    liquidation: Decimal | None = None
    planned: EntryPlan | None = None
    is_sized: bool = False

    @cached_property
    def change(self) -> Change:
        """What is to be done."""
        return change_of(self.wish.item)

    @cached_property
    def adjustment(self) -> AdjustmentPlan | None:
        """The plan of a change to a position, or None where there is none, or no market."""
        trade = self.exposure.trade
        if self.change in (Change.ENTRY, Change.CLOSE) or trade is None or not self._can_plan:
            return None
        leverage = risk.kept_leverage(trade, self.policy.risk)
        return plan_adjustment(self.wish, trade, leverage, self.known_market, self.policy)

    @cached_property
    def entry(self) -> EntryPlan | None:
        """The plan of what is added, or None where nothing is, or no plan can be made."""
        if self.change is not Change.ENTRY:
            plan = self.adjustment.entry if self.adjustment is not None else None
        elif not self._can_plan:
            plan = None
        else:
            leverage = risk.capped_leverage(self.wish, self.policy.risk)
            plan = risk.plan_opening(self.wish, self.known_market, leverage, self.exposure, self.policy)
        if plan is None or self.planned is None:
            return plan
        plan = replace(plan, legs=self.planned.legs).after(self.planned.begun)  # as they are on record
        return (plan.of_size if self.is_sized else plan.at_most)(self.planned.quantity)

    @property
    def _can_plan(self) -> bool:
        return self.market is not None and (self.market.has_price or not needs_price(self.wish.item))

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The wished exits."""
        plan = self.entry or self.adjustment
        return plan.legs if plan is not None else ()

    @property
    def planned_price(self) -> Decimal | None:
        """The mark price at which the decision was planned first."""
        if self.planned is not None:
            return self.planned.planned_price
        return self.entry.planned_price if self.entry is not None else None

    # --- where a check needs it, and its needs were asked for ---------------------------------------------------------

    @property
    def known_entry(self) -> EntryPlan:
        """The plan of what is added."""
        return _known(self.entry)

    @property
    def known_adjustment(self) -> AdjustmentPlan:
        """The plan of a change to a position."""
        return _known(self.adjustment)

    @property
    def known_market(self) -> MarketView:
        """The market."""
        return _known(self.market)


def _known(value: _T | None) -> _T:
    if value is None:
        raise InvariantBroken("a check was made without what it needs")
    return value


# --- the table --------------------------------------------------------------------------------------------------------


class Need(Enum):
    """What a check can't do without."""

    NOTHING = auto()
    PLAN = auto()
    """The asset, its price, and for a change the position."""
    EXCHANGE = auto()
    """A plan with a size, and what only the exchange tells: best prices, balance, fees, leverage brackets."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row. ``refuse`` raises CheckFailed; ``tell`` gives the numbers of a check that passed."""

    name: str
    applies_to: frozenset[Change]
    refuse: Callable[[Case], None]
    tell: Callable[[Case], str]
    needs: Need = Need.NOTHING
    is_made_again: bool = True
    """Whether it is made once more at send time; what a decision reserves for itself must not refuse it."""

    def can_judge(self, case: Case) -> bool:
        """Whether what the check needs is known."""
        if self.needs is Need.NOTHING:
            return True
        if case.entry is None and case.adjustment is None:
            return False
        return self.needs is Need.PLAN or (case.quote is not None and case.means is not None)


def _halted(case: Case) -> None:
    risk.check_gate(case.gate.halted)


def _ready(case: Case) -> None:
    risk.check_gate(case.gate.unready)


def _age(case: Case) -> None:
    risk.check_age(case.wish, case.policy.risk, case.now)


def _told_age(case: Case) -> str:
    age_s = (case.now - case.wish.decided_at).total_seconds()
    return f"{max(age_s, 0):.1f} s old, at most {case.policy.risk.maximum_decision_age_s:g} s"


def _asset(case: Case) -> None:
    listed = risk.check_listed(case.wish, case.market)
    if case.change in ADDS:
        risk.check_trading(case.wish, listed)
    if needs_price(case.wish.item):
        risk.check_priced(case.wish, listed)


def _leverage(case: Case) -> None:
    risk.check_leverage(case.wish, case.policy.risk)
    if case.entry is not None and case.means is not None:
        means.check_leverage_offered(case.entry, case.means)


def _told_leverage(case: Case) -> str:
    limits = case.policy.risk
    leverage = case.entry.leverage if case.entry is not None else risk.capped_leverage(case.wish, limits)
    return f"{leverage}x, at most {limits.maximum_leverage}x"


def _cooldown(case: Case) -> None:
    risk.check_cooldown(case.wish, case.exposure, case.policy.risk, case.now)


def _told_cooldown(case: Case) -> str:
    cooldown_s, last = case.policy.risk.cooldown_s, case.exposure.last_activity
    if last is None:
        return f"not traded yet; {cooldown_s:g} s are asked for"
    return f"last traded {(case.now - last).total_seconds():.0f} s ago; {cooldown_s:g} s are asked for"


def _existing(case: Case) -> None:
    match case.change:
        case Change.ENTRY:
            risk.check_existing(case.wish, case.exposure, case.policy.risk)
        case Change.INCREASE:
            risk.check_fate_known(case.wish, case.exposure)
            adjustment_risk.check_present(case.wish, case.exposure)
        case Change.CLOSE:
            risk.check_expected(case.wish, case.exposure)
            adjustment_risk.check_closable(case.wish, case.exposure)
        case Change.DECREASE | Change.EXITS:
            adjustment_risk.check_present(case.wish, case.exposure)


def _told_existing(case: Case) -> str:
    trade = case.exposure.trade
    if trade is None:
        return "something of ours is held or on its way" if case.exposure.is_closable else "none"
    held = f"{plain(trade.exposure)} {trade.side.value} of trade {trade.id}"
    return f"{held}; mode {case.policy.risk.on_existing_position.value}" if case.change is Change.ENTRY else held


def _stop_required(case: Case) -> None:
    if case.change is Change.ENTRY:
        risk.check_stop_required(case.wish, case.policy.risk)
    elif case.adjustment is not None:
        adjustment_risk.check_stop_kept(case.adjustment, case.policy.risk)


def _told_stop(case: Case) -> str:
    is_required = "required" if case.policy.risk.require_stop_loss else "not required"
    if case.change is not Change.ENTRY:
        return is_required
    given = "none" if case.wish.item.sl_price is None else plain(case.wish.item.sl_price)
    if case.wish.item.sl_percent is not None:
        given = f"{plain(case.wish.item.sl_percent)} % from the mark price"
    return f"sl_price {given}; {is_required}"


def _sides(case: Case) -> None:
    market = case.known_market
    risk.check_sides(case.legs, _side(case), market.mark.mark_price)
    risk.check_distance(case.legs, market.mark.mark_price, case.policy.risk)
    risk.check_price_bounds(case.legs, market)


def _told_sides(case: Case) -> str:
    market, mark = case.known_market.instrument, case.known_market.mark.mark_price
    named = ", ".join(f"{leg.role.value.replace('_', ' ')} {plain(leg.trigger_price)}" for leg in case.legs)
    bounds = f"from {plain(market.minimum_price)} to {plain(market.maximum_price)}"
    away = f"at most {plain(case.policy.risk.maximum_exit_distance_percent)} % away"
    return f"{named or 'none'}; mark price {plain(mark)}, {away}, {bounds}"


def _size(case: Case) -> None:
    if case.change is Change.DECREASE:
        adjustment_risk.check_reduction(case.known_adjustment, case.known_market)
    else:
        risk.check_size(case.known_entry, case.known_market)


def _told_size(case: Case) -> str:
    if case.change is Change.DECREASE:
        plan = case.known_adjustment
        return f"{plain(plan.quantity)} of {plain(plan.trade.exposure)} held"
    entry, rules = case.known_entry, case.known_market.instrument
    return (
        f"{plain(entry.quantity)} worth {plain(entry.notional)}; at least {plain(rules.market_minimum)} "
        f"and {plain(rules.minimum_notional)} {rules.quote_asset}, at most {plain(rules.market_maximum)}"
    )


def _exposure(case: Case) -> None:
    risk.check_exposure(case.known_entry, case.exposure, case.policy.risk)
    if case.means is not None:
        means.check_bracket(case.known_entry, case.means)


def _told_exposure(case: Case) -> str:
    entry, limits = case.known_entry, case.policy.risk
    held, asset = risk.held_beside(entry, case.exposure), entry.wish.item.asset
    total = sum(held.values(), start=ZERO) + entry.notional
    told = [
        f"position {len(held.keys() | {asset})} of {limits.maximum_open_positions or 'any number'}",
        f"{held.get(asset, ZERO) + entry.notional:.2f} of {_limit(limits.maximum_notional_per_asset)} on the asset",
        f"{total:.2f} of {_limit(limits.maximum_total_notional)} in all",
    ]
    return ", ".join(told)


def _limit(limit: Decimal | None) -> str:
    return "any amount" if limit is None else plain(limit)


def _daily_loss(case: Case) -> None:
    closing = risk.loss_of_close(case.entry) if case.entry is not None else ZERO
    risk.check_daily_loss(case.exposure, case.policy.risk, case.now, closing)


def _told_daily_loss(case: Case) -> str:
    limit = case.policy.risk.maximum_daily_loss
    if limit is None:
        return "no limit"
    today = case.exposure.realised_today or DayResult(ZERO)
    told = f"{plain(max(-today.dollars, ZERO))} lost today, the limit is {plain(limit)}"
    return f"{told}; gains in {', '.join(sorted(today.unvalued))} do not count: no price" if today.unvalued else told


def _deviation(case: Case) -> None:
    risk.check_deviation(case.known_entry, _known(case.quote), _known(case.planned_price), case.policy.risk)


def _told_deviation(case: Case) -> str:
    expected = risk.expected_price(case.known_entry, _known(case.quote))
    away, limit = risk.away_bps(expected, _known(case.planned_price)), case.policy.risk.maximum_price_deviation_bps
    return f"{plain(expected)}, {away:.1f} bps from the mark price; at most {plain(limit)} bps"


def _margin(case: Case) -> None:
    means.check_margin(case.known_entry, _known(case.means))


def _told_margin(case: Case) -> str:
    entry, found = case.known_entry, _known(case.means)
    needed, free = means.margin_needed(entry, found.taker_fee), means.margin_free(entry, found)
    return f"{needed:.2f} needed with fees, {free:.2f} available"


def _liquidation(case: Case) -> None:
    if case.change in ADDS:
        means.check_liquidation(case.known_entry, _known(case.means))
    else:
        adjustment_risk.check_stop_in_time(case.known_adjustment, case.liquidation)


def _told_liquidation(case: Case) -> str:
    if case.change in ADDS:
        found = means.liquidation_estimate(case.known_entry, _known(case.means))
        return "no liquidation price" if found is None else f"liquidation at about {found:.8g}"
    return f"liquidation at {plain(case.liquidation)}" if case.liquidation else "no liquidation price"


def _side(case: Case) -> TradeSide:
    plan = case.entry
    return plan.side if plan is not None else case.known_adjustment.trade.side


ADDS = frozenset({Change.ENTRY, Change.INCREASE})
"""What adds exposure."""
_ADJUSTS = frozenset({Change.INCREASE, Change.DECREASE, Change.EXITS})
_PLANNED = ADDS | _ADJUSTS
_ALL = frozenset(Change)

CHECKS = (
    Check("halted", ADDS, _halted, lambda _: "not halted"),
    Check("not ready", ADDS, _ready, lambda _: "ready"),
    Check("age", _ALL, _age, _told_age),
    Check("asset", _PLANNED, _asset, lambda case: case.known_market.instrument.status),
    Check("leverage", ADDS, _leverage, _told_leverage),
    Check("cooldown", ADDS, _cooldown, _told_cooldown, is_made_again=False),
    Check("existing position", _ALL, _existing, _told_existing),
    Check("stop-loss required", _PLANNED, _stop_required, _told_stop),
    Check("sides of TP and SL", _PLANNED, _sides, _told_sides, Need.PLAN),
    Check("quantity and notional", ADDS | {Change.DECREASE}, _size, _told_size, Need.PLAN),
    Check("exposure", ADDS, _exposure, _told_exposure, Need.PLAN),
    Check("daily loss", ADDS, _daily_loss, _told_daily_loss),
    Check("price deviation", ADDS, _deviation, _told_deviation, Need.EXCHANGE),
    Check("margin", ADDS, _margin, _told_margin, Need.EXCHANGE),
    Check("stop beyond liquidation", ADDS, _liquidation, _told_liquidation, Need.EXCHANGE),
    Check("stop beyond liquidation", _ADJUSTS - ADDS, _liquidation, _told_liquidation, Need.PLAN),
)
"""Every check of a decision on one asset. What comes before (validation, conflict, account) is the intake's."""


def first_refusal(case: Case, *, is_leaving: bool = False) -> RiskRefused | None:
    """The answer of the first check that fails, or None.

    What is not known yet is judged later. When an order ``is_leaving`` there is no later: then all must be known.
    """
    for check in CHECKS:
        if case.change not in check.applies_to or (is_leaving and not check.is_made_again):
            continue
        if not is_leaving and not check.can_judge(case):
            continue
        try:
            check.refuse(case)
        except CheckFailed as failed:
            return failed.refused
    return None


def assess(case: Case) -> RiskApproved | RiskRefused:
    """Check an entry and plan it."""
    refusal = first_refusal(case)
    return refusal if refusal is not None else RiskApproved(plan=case.known_entry)


def assess_adjustment(case: Case) -> AdjustmentApproved | RiskRefused:
    """Check a change to a position and plan it."""
    refusal = first_refusal(case)
    if refusal is not None:
        return refusal
    entry = RiskApproved(plan=case.entry) if case.entry is not None else None
    return AdjustmentApproved(plan=case.known_adjustment, entry=entry)
