"""Explaining: what a decision would do, check by check, with the numbers. Sends nothing, keeps nothing.

The checks are those of :mod:`.risk`; here each is run for itself, so that all of them answer, not only the first that
fails. What needs the exchange (price, means) is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.errors import ErrorCode, ExchangeError
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.policy import AccountPolicy, RiskPolicy
from app.domain.trades import AdjustmentKind, Leg, Trade, TradeSide
from app.schemas.decision import Action, AssetDecision, TradingDecision, UnreadableDecision
from app.schemas.explanation import (
    AssetExplained,
    CheckExplained,
    ExitExplained,
    Explanation,
    PlanExplained,
    Verdict,
)
from app.services.execution import adjustment_risk, risk
from app.services.execution.gate import Gate
from app.services.execution.halting import KillSwitch
from app.services.execution.market import Market
from app.services.execution.phases import Phase, beside_unreadable, phase_of
from app.services.execution.planning import (
    AdjustmentPlan,
    EntryPlan,
    EntryWish,
    MarketView,
    adjustment_kind,
    plan_adjustment,
)
from app.services.execution.risk import CheckFailed, Exposure, RiskRefused
from app.services.execution.steady_clock import SteadyClock

_CENTS = Decimal("0.01")
_DIGITS = Decimal("1e-8")


@dataclass
class _Sheet:
    """The checks of one asset, as they are made."""

    checks: list[CheckExplained] = field(default_factory=list)

    def run(self, name: str, check: Callable[[], str]) -> bool:
        """Make one check; ``check`` returns its numbers, or raises."""
        try:
            self.checks.append(CheckExplained(check=name, verdict=Verdict.OK, message=check()))
        except CheckFailed as failed:
            self.refuse(name, failed.refused)
            return False
        return True

    def ask(self, name: str, refusal: RiskRefused | None, otherwise: str) -> None:
        """Note an answer that is there already."""
        if refusal is None:
            self.checks.append(CheckExplained(check=name, verdict=Verdict.OK, message=otherwise))
        else:
            self.refuse(name, refusal)

    def refuse(self, name: str, refusal: RiskRefused) -> None:
        self.checks.append(
            CheckExplained(
                check=name,
                verdict=Verdict.REFUSED,
                message=refusal.message,
                code=refusal.code,
                retry_after_seconds=refusal.retry_after_s,
            )
        )

    def skip(self, why: str, *names: str) -> None:
        """Checks that can't be made."""
        self.checks += [CheckExplained(check=name, verdict=Verdict.NOT_CHECKED, message=why) for name in names]

    def explained(self, item: AssetDecision, would: str, plan: PlanExplained | None = None) -> AssetExplained:
        verdicts = [check.verdict for check in self.checks]
        verdict = Verdict.REFUSED if Verdict.REFUSED in verdicts else Verdict.OK
        if verdict is Verdict.OK and Verdict.NOT_CHECKED in verdicts:
            verdict = Verdict.NOT_CHECKED
        return AssetExplained(
            asset=item.asset,
            action=item.action,
            would=would if verdict is Verdict.OK else "send nothing",
            verdict=verdict,
            plan=plan,
            notes=item.notes,
            checks=tuple(self.checks),
        )


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains for one account."""

    policy: AccountPolicy
    market: Market
    kill_switch: KillSwitch
    clock: SteadyClock
    exposure: Callable[[EntryWish], Exposure]
    gate: Gate

    async def explain(self, decision: TradingDecision) -> Explanation:
        """What a decision would do now, asset by asset in the order of the phases."""
        now, readiness, halt = self.clock.now(), self.gate.readiness(), self.kill_switch.current
        items = [item for phase in Phase for item in decision.decisions if phase_of(item) is phase]
        decided_at = self.clock.from_host(decision.timestamp) if decision.timestamp else now
        wishes = [EntryWish(decision_id="", item=item, decided_at=decided_at, received_at=now) for item in items]
        return Explanation(
            account_id=self.policy.account_id,
            is_paper=self.policy.is_paper,
            is_ready=readiness.is_ready,
            reasons=readiness.reasons,
            halt=halt.as_dict() if halt else None,
            assets=(
                *map(_unreadable, decision.unreadable),
                *[await self._explain(wish, decision.unreadable) for wish in wishes],
            ),
        )

    async def _explain(self, wish: EntryWish, unreadable: tuple[UnreadableDecision, ...]) -> AssetExplained:
        sheet, action = _Sheet(), wish.item.action
        if unreadable and wish.item.adds_risk:
            sheet.refuse("validation", beside_unreadable(unreadable))
        if action is Action.HOLD:
            return sheet.explained(wish.item, "do nothing")
        if action is Action.CLOSE_POSITION:
            return self._close(wish, sheet)
        adds = action.is_entry or adjustment_kind(wish.item) is AdjustmentKind.INCREASE
        if adds:
            sheet.ask("halted", self.kill_switch.refusal, "not halted")
        sheet.ask("ready", self.gate.unready() if adds else self.gate.refuses_exit(wish.item.asset), "ready")
        self._age(wish, sheet)
        if action.is_entry:
            return await self._entry(wish, sheet)
        return await self._adjustment(wish, sheet, adds=adds)

    def _close(self, wish: EntryWish, sheet: _Sheet) -> AssetExplained:
        sheet.ask("ready", self.gate.refuses_exit(wish.item.asset), "ready")
        self._age(wish, sheet)
        trade = self.exposure(wish).trade
        sheet.run("position", lambda: _position(adjustment_risk.check_present(wish, self.exposure(wish))))
        quantity = plain(trade.exposure) if trade is not None else "0"
        return sheet.explained(wish.item, f"close {quantity} at market and cancel its exits")

    def _age(self, wish: EntryWish, sheet: _Sheet) -> None:
        def check() -> str:
            risk.check_age(wish, self.policy.risk, self.clock.now())
            age_s = (self.clock.now() - wish.decided_at).total_seconds()
            return f"{max(age_s, 0):.1f} s old, at most {self.policy.risk.maximum_decision_age_s:g} s"

        sheet.run("age", check)

    # --- entries ----------------------------------------------------------------------------------------------------

    async def _entry(self, wish: EntryWish, sheet: _Sheet) -> AssetExplained:
        limits, exposure = self.policy.risk, self.exposure(wish)
        try:
            view = await self.market.view(wish.item.asset)
        except ExchangeError as error:
            return _unread(wish, sheet, error)
        if not sheet.run("asset", lambda: risk.check_asset(wish, view).instrument.status) or view is None:
            sheet.skip("there is no such market to plan with", "everything else")
            return sheet.explained(wish.item, "")
        leverage = self._leverage(wish, sheet)
        self._cooldown(wish, exposure, sheet)
        sheet.run("existing position", lambda: self._existing(wish, exposure))
        sheet.run("stop loss required", lambda: self._stop_required(wish))
        plan = risk.plan_opening(wish, view, leverage, exposure, self.policy)
        sheet.run("take profit and stop loss", lambda: _sides(plan.legs, plan.side, plan.reference_price))
        sheet.run("prices on the book", lambda: _bounds(plan.legs, view))
        sheet.run("quantity and notional", lambda: _size(plan, view))
        sheet.run("exposure", lambda: _exposure(plan, exposure, limits))
        sheet.run("daily loss", lambda: self._daily_loss(exposure))
        explained = await self._means(plan, sheet)
        would = f"{wish.item.action.value} {plain(plan.quantity)} at market"
        if plan.closes is not None:
            would = f"close {plain(plan.closes.exposure)} {plan.closes.side.value}, then {would}"
        return sheet.explained(wish.item, would, explained)

    def _leverage(self, wish: EntryWish, sheet: _Sheet) -> int:
        limits = self.policy.risk
        chosen = [limits.maximum_leverage]

        def check() -> str:
            chosen[0] = risk.choose_leverage(wish, limits)
            return f"{chosen[0]}x, at most {limits.maximum_leverage}x"

        sheet.run("leverage", check)
        return chosen[0]

    def _cooldown(self, wish: EntryWish, exposure: Exposure, sheet: _Sheet) -> None:
        def check() -> str:
            risk.check_cooldown(wish, exposure, self.policy.risk, self.clock.now())
            if exposure.last_activity is None:
                return f"not traded yet; {self.policy.risk.cooldown_s:g} s are asked for"
            since_s = (self.clock.now() - exposure.last_activity).total_seconds()
            return f"last traded {since_s:.0f} s ago; {self.policy.risk.cooldown_s:g} s are asked for"

        sheet.run("cooldown", check)

    def _existing(self, wish: EntryWish, exposure: Exposure) -> str:
        risk.check_existing(wish, exposure, self.policy.risk)
        if exposure.trade is None:
            return "none"
        return f"{_position(exposure.trade)}; mode {self.policy.risk.on_existing_position.value}"

    def _stop_required(self, wish: EntryWish) -> str:
        risk.check_stop_required(wish, self.policy.risk)
        given = "none" if wish.item.sl_price is None else plain(wish.item.sl_price)
        return f"sl_price {given}; {'required' if self.policy.risk.require_stop_loss else 'not required'}"

    def _daily_loss(self, exposure: Exposure) -> str:
        limits = self.policy.risk
        risk.check_daily_loss(exposure, limits, self.clock.now())
        if limits.maximum_daily_loss is None:
            return "no limit"
        lost = max(-(exposure.realised_today or ZERO), ZERO)
        return f"{plain(lost)} lost today, the limit is {plain(limits.maximum_daily_loss)}"

    async def _means(self, plan: EntryPlan, sheet: _Sheet) -> PlanExplained:
        """What the exchange must be asked: price, margin, liquidation."""
        limits, names = self.policy.risk, ("price deviation", "margin", "stop before liquidation")
        try:
            quote, means = await self.market.look(plan)
        except ExchangeError as error:
            sheet.skip(f"the exchange could not be read: {error}", *names)
            return _explained_plan(plan)
        expected = quote.ask_price if plan.side is TradeSide.LONG else quote.bid_price
        away = abs(expected / plan.reference_price - 1) * BPS
        limit = plain(limits.maximum_price_deviation_bps)
        deviation = risk.too_far(plan, quote, plan.reference_price, limits)
        sheet.ask(names[0], deviation, f"{plain(expected)}, {away:.1f} bps from the mark price; at most {limit} bps")
        needed, free = risk.margin_needed(plan, means.taker_fee), means.account.available_balance - means.reserved
        sheet.ask(names[1], risk.short_of_margin(plan, means), f"{needed:.2f} needed with fees, {free:.2f} available")
        liquidation = risk.liquidation_estimate(plan, means)
        text = "no liquidation price" if liquidation is None else f"liquidation at about {liquidation:.8g}"
        sheet.ask(names[2], risk.stop_too_late(plan, means), text)
        return _explained_plan(plan).model_copy(
            update={
                "margin": (plan.notional / plan.leverage).quantize(_CENTS),
                "fees": (2 * plan.notional * means.taker_fee).quantize(_DIGITS),
                "expected_price": expected,
                "liquidation_price": None if liquidation is None else liquidation.quantize(_DIGITS),
            }
        )

    # --- changes ----------------------------------------------------------------------------------------------------

    async def _adjustment(self, wish: EntryWish, sheet: _Sheet, *, adds: bool) -> AssetExplained:
        exposure = self.exposure(wish)
        try:
            view = await self.market.view(wish.item.asset)
        except ExchangeError as error:
            return _unread(wish, sheet, error)
        known = risk.check_asset if adds else risk.check_listed
        is_listed = sheet.run("asset", lambda: known(wish, view).instrument.status)
        if adds:
            self._leverage(wish, sheet)
            self._cooldown(wish, exposure, sheet)
            sheet.run("unknown orders", lambda: _fate(wish, exposure))
        is_ours = sheet.run("position", lambda: _position(adjustment_risk.check_present(wish, exposure)))
        if not is_listed or not is_ours or view is None or exposure.trade is None:
            sheet.skip("there is nothing to change", "everything else")
            return sheet.explained(wish.item, "")
        trade = exposure.trade
        plan = plan_adjustment(wish, trade, risk.kept_leverage(trade, self.policy.risk), view, self.policy)
        sheet.run("stop loss required", lambda: self._stop_kept(plan))
        sheet.run("take profit and stop loss", lambda: _sides(plan.legs, trade.side, plan.reference_price))
        sheet.run("prices on the book", lambda: _bounds(plan.legs, view))
        if plan.kind is AdjustmentKind.DECREASE:
            sheet.run("quantity", lambda: _reduction(plan, view))
        if plan.entry is None:
            return sheet.explained(wish.item, _change_in_words(plan))
        entry = plan.entry
        sheet.run("quantity and notional", lambda: _size(entry, view))
        sheet.run("exposure", lambda: _exposure(entry, exposure, self.policy.risk))
        sheet.run("daily loss", lambda: self._daily_loss(exposure))
        return sheet.explained(wish.item, _change_in_words(plan), await self._means(entry, sheet))

    def _stop_kept(self, plan: AdjustmentPlan) -> str:
        adjustment_risk.check_stop_kept(plan, self.policy.risk)
        return "required" if self.policy.risk.require_stop_loss else "not required"


def _unreadable(one: UnreadableDecision) -> AssetExplained:
    sheet = _Sheet()
    sheet.refuse("validation", RiskRefused(code=ErrorCode.VALIDATION_ERROR, message=one.problem))
    return AssetExplained(
        asset=one.asset,
        action=one.action,
        would="send nothing",
        verdict=Verdict.REFUSED,
        checks=tuple(sheet.checks),
    )


def _unread(wish: EntryWish, sheet: _Sheet, error: ExchangeError) -> AssetExplained:
    text = f"{wish.item.asset} could not be read from the exchange: {error}"
    sheet.refuse("asset", RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text))
    return sheet.explained(wish.item, "")


def _position(trade: Trade) -> str:
    return f"{plain(trade.exposure)} {trade.side.value} of trade {trade.id}"


def _fate(wish: EntryWish, exposure: Exposure) -> str:
    risk.check_fate_known(wish, exposure)
    return "none"


def _sides(legs: tuple[Leg, ...], side: TradeSide, mark: Decimal) -> str:
    risk.check_sides(legs, side, mark)
    named = ", ".join(f"{leg.role.value.replace('_', ' ')} {plain(leg.trigger_price)}" for leg in legs)
    return f"{named or 'none'}; mark price {plain(mark)}"


def _bounds(legs: tuple[Leg, ...], view: MarketView) -> str:
    risk.check_price_bounds(legs, view)
    return f"from {plain(view.instrument.minimum_price)} to {plain(view.instrument.maximum_price)}"


def _size(plan: EntryPlan, view: MarketView) -> str:
    risk.check_size(plan, view)
    rules = view.instrument
    return (
        f"{plain(plan.quantity)} worth {plain(plan.notional)}; at least {plain(rules.market_minimum)} "
        f"and {plain(rules.minimum_notional)} {rules.quote_asset}, at most {plain(rules.market_maximum)}"
    )


def _reduction(plan: AdjustmentPlan, view: MarketView) -> str:
    adjustment_risk.check_reduction(plan, view)
    return f"{plain(plan.quantity)} of {plain(plan.trade.exposure)} held"


def _exposure(plan: EntryPlan, exposure: Exposure, limits: RiskPolicy) -> str:
    risk.check_exposure(plan, exposure, limits)
    held = {name: value for name, value in exposure.notional_by_asset.items() if value}
    asset = plan.wish.item.asset
    total = sum(held.values(), start=ZERO) + plan.notional
    told = [
        f"position {len(held.keys() | {asset})} of {limits.maximum_open_positions or 'any number'}",
        f"{held.get(asset, ZERO) + plan.notional:.2f} of {_limit(limits.maximum_notional_per_asset)} on the asset",
        f"{total:.2f} of {_limit(limits.maximum_total_notional)} in all",
    ]
    return ", ".join(told)


def _limit(limit: Decimal | None) -> str:
    return "any amount" if limit is None else plain(limit)


def _change_in_words(plan: AdjustmentPlan) -> str:
    what = []
    if plan.kind is AdjustmentKind.INCREASE:
        what.append(f"add {plain(plan.quantity)} at market")
    elif plan.kind is AdjustmentKind.DECREASE:
        what.append(f"take {plain(plan.quantity)} off at market")
    what += [f"move the {leg.role.value.replace('_', ' ')} to {plain(leg.trigger_price)}" for leg in plan.legs]
    what += [f"cancel the {role.value.replace('_', ' ')}" for role in plan.drops]
    return ", ".join(what)


def _explained_plan(plan: EntryPlan) -> PlanExplained:
    by_role = {leg.role: leg for leg in plan.exits}
    return PlanExplained(
        side=plan.side.value,
        quantity=plan.quantity,
        notional=plan.notional,
        position_quantity=plan.position_quantity,
        mark_price=plan.reference_price,
        leverage=plan.leverage,
        requested_leverage=plan.requested_leverage,
        take_profit=_explained_exit(plan, by_role.get(OrderRole.TAKE_PROFIT)),
        stop_loss=_explained_exit(plan, by_role.get(OrderRole.STOP_LOSS)),
    )


def _explained_exit(plan: EntryPlan, leg: Leg | None) -> ExitExplained | None:
    if leg is None:
        return None
    away = leg.trigger_price - plan.reference_price
    return ExitExplained(
        price=leg.trigger_price,
        distance_bps=(abs(away) / plan.reference_price * BPS).quantize(_CENTS),
        result_usd=(away * plan.side.sign * plan.position_quantity).quantize(_DIGITS),
    )
