"""Explaining: what a decision would do, check by check, with the numbers. Sends nothing, keeps nothing.

The checks are the table of :mod:`.checks`, which real decisions go through; here all of them answer, not only the first
that fails. What needs the exchange (price, means) is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from app.domain.errors import ErrorCode, ExchangeError
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.policy import AccountPolicy
from app.domain.trades import AdjustmentKind, Leg, Trade
from app.schemas.decision import Action, AssetDecision, TradingDecision, UnreadableDecision
from app.schemas.explanation import (
    AssetExplained,
    CheckExplained,
    ExitExplained,
    Explanation,
    PlanExplained,
    Verdict,
)
from app.services.execution import risk
from app.services.execution.checks import ADDS, CHECKS, Case, Change, Check
from app.services.execution.gate import Gate
from app.services.execution.halting import KillSwitch
from app.services.execution.market import Market
from app.services.execution.means import liquidation_estimate
from app.services.execution.phases import Phase, beside_unreadable, phase_of
from app.services.execution.planning import AdjustmentPlan, EntryPlan, EntryWish, moves_stop
from app.services.execution.risk import Blocks, CheckFailed, Exposure, RiskRefused
from app.services.execution.steady_clock import SteadyClock

_CENTS = Decimal("0.01")
_DIGITS = Decimal("1e-8")


_MARGIN_NOT_COUNTED = (
    "judged as if what goes before it in this decision were done; the margin which that frees or takes is not counted"
)


@dataclass(kw_only=True)
class _DoneBefore:
    """What the parts of the decision that go first will have changed: their share of a position, and what they add."""

    left: dict[str, Decimal] = field(default_factory=dict)
    added: dict[str, Decimal] = field(default_factory=dict)

    @property
    def has_happened(self) -> bool:
        return bool(self.left or self.added)

    def note(self, case: Case) -> None:
        """Count what was found to be in order."""
        asset, change = case.wish.item.asset, case.adjustment
        if case.change is Change.CLOSE:
            self.left[asset] = ZERO
        elif case.change is Change.DECREASE and change is not None:
            self.left[asset] = 1 - change.quantity / change.trade.exposure
        elif case.change in ADDS:
            self.added[asset] = case.known_entry.notional

    def onto(self, exposure: Exposure) -> Exposure:
        """What will be held when the next part is judged."""
        held = {name: value * self.left.get(name, 1) for name, value in exposure.notional_by_asset.items()}
        for name, value in self.added.items():
            held[name] = held.get(name, ZERO) + value
        return replace(exposure, notional_by_asset=held)


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains for one account."""

    policy: AccountPolicy
    market: Market
    kill_switch: KillSwitch
    clock: SteadyClock
    exposure: Callable[[EntryWish], Exposure]
    closable: Callable[[str], tuple[Trade, ...]]
    gate: Gate

    async def explain(self, decision: TradingDecision) -> Explanation:
        """What a decision would do now, asset by asset in the order of the phases."""
        now, readiness, halt = self.clock.now(), self.gate.readiness(), self.kill_switch.current
        items = [item for phase in Phase for item in decision.decisions if phase_of(item) is phase]
        before = _DoneBefore()
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
                *[await self._explain(wish, decision.unreadable, before) for wish in wishes],
            ),
        )

    async def _explain(
        self, wish: EntryWish, unreadable: tuple[UnreadableDecision, ...], before: _DoneBefore
    ) -> AssetExplained:
        if wish.item.action is Action.HOLD:
            return _explained(wish.item, "do nothing", ())
        case = Case(
            wish=wish,
            market=None,
            exposure=self.exposure(wish),
            policy=self.policy,
            now=self.clock.now(),
            gate=Blocks(halted=self.kill_switch.refusal, unready=self.gate.unready()),
        )
        error: ExchangeError | None = None
        if case.change is not Change.CLOSE:
            case, error = await self._read(case)
        case = replace(case, exposure=before.onto(case.exposure))
        checks = [_checked(check, case, error) for check in CHECKS if case.change in check.applies_to]
        not_known = None if case.change in ADDS else self.gate.refuses_exit(wish.item.asset)
        if not_known is not None:
            checks.insert(0, _refused("not ready", not_known))
        if unreadable and wish.item.adds_risk:
            checks.insert(0, _refused("validation", beside_unreadable(unreadable)))
        plan = _explained_plan(case) if case.entry is not None else None
        explained = _explained(wish.item, self._in_words(case), tuple(checks), plan)
        if before.has_happened and case.change in ADDS:
            explained = explained.model_copy(update={"notes": (*explained.notes, _MARGIN_NOT_COUNTED)})
        if explained.verdict is Verdict.OK:
            before.note(case)
        return explained

    async def _read(self, case: Case) -> tuple[Case, ExchangeError | None]:
        """The case with what the exchange tells, as far as it can be read."""
        asset = case.wish.item.asset
        try:
            case = replace(case, market=await self.market.view(asset))
            if case.change in ADDS:
                if case.entry is not None:
                    await self.market.terms.read_with_fee(asset)
                    means = await self.market.means(case.entry)
                    market, quote = await self.market.present(asset)
                    case = replace(case, market=market, quote=quote, means=means)
            elif case.exposure.trade is not None and moves_stop(case.wish.item):
                case = replace(case, liquidation=await self.market.liquidation_price(case.exposure.trade))
        except ExchangeError as error:
            return case, error
        return replace(case, exposure=self.exposure(case.wish), now=self.clock.now()), None

    def _in_words(self, case: Case) -> str:
        """What would be sent."""
        if case.change is Change.CLOSE:
            held = sum((trade.exposure for trade in self.closable(case.wish.item.asset)), start=Decimal(0))
            return f"close {plain(held)} at market and cancel its exits"
        if case.change is not Change.ENTRY:
            return _change_in_words(case.adjustment) if case.adjustment is not None else ""
        if case.entry is None:
            return ""
        would = f"{case.wish.item.action.value} {plain(case.entry.quantity)} at market"
        if case.entry.closes is not None:
            closes = case.entry.closes
            would = f"close {plain(closes.exposure)} {closes.side.value}, then {would}"
        return would


def _unreadable(one: UnreadableDecision) -> AssetExplained:
    refusal = RiskRefused(code=ErrorCode.VALIDATION_ERROR, message=one.problem)
    return AssetExplained(
        asset=one.asset,
        action=one.action,
        would="send nothing",
        verdict=Verdict.REFUSED,
        checks=(_refused("validation", refusal),),
    )


def _checked(check: Check, case: Case, error: ExchangeError | None) -> CheckExplained:
    """One check, made for itself."""
    if error is not None and check.name == "asset" and case.market is None:
        text = f"{case.wish.item.asset} could not be read from the exchange: {error}"
        return _refused(check.name, RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text))
    if not check.can_judge(case):
        why = "there is nothing to plan with" if error is None else f"the exchange could not be read: {error}"
        return CheckExplained(check=check.name, verdict=Verdict.NOT_CHECKED, message=why)
    try:
        check.refuse(case)
    except CheckFailed as failed:
        return _refused(check.name, failed.refused)
    return CheckExplained(check=check.name, verdict=Verdict.OK, message=check.tell(case))


def _refused(name: str, refusal: RiskRefused) -> CheckExplained:
    return CheckExplained(
        check=name,
        verdict=Verdict.REFUSED,
        message=refusal.message,
        code=refusal.code,
        retry_after_seconds=refusal.retry_after_s,
    )


def _explained(
    item: AssetDecision, would: str, checks: tuple[CheckExplained, ...], plan: PlanExplained | None = None
) -> AssetExplained:
    verdicts = {check.verdict for check in checks}
    verdict = next((one for one in (Verdict.REFUSED, Verdict.NOT_CHECKED) if one in verdicts), Verdict.OK)
    return AssetExplained(
        asset=item.asset,
        action=item.action,
        would=would if verdict is Verdict.OK else "send nothing",
        verdict=verdict,
        plan=plan,
        notes=item.notes,
        checks=checks,
    )


def _change_in_words(plan: AdjustmentPlan) -> str:
    what = []
    if plan.kind is AdjustmentKind.INCREASE:
        what.append(f"add {plain(plan.quantity)} at market")
    elif plan.kind is AdjustmentKind.DECREASE:
        what.append(f"take {plain(plan.quantity)} off at market")
    what += [f"move the {leg.role.value.replace('_', ' ')} to {plain(leg.trigger_price)}" for leg in plan.legs]
    what += [f"cancel the {role.value.replace('_', ' ')}" for role in plan.drops]
    return ", ".join(what)


def _explained_plan(case: Case) -> PlanExplained:
    plan, means = case.known_entry, case.means
    by_role = {leg.role: leg for leg in plan.exits}
    explained = PlanExplained(
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
    if means is None or case.quote is None:
        return explained
    liquidation = liquidation_estimate(plan, means)
    return explained.model_copy(
        update={
            "margin": (plan.notional / plan.leverage).quantize(_CENTS),
            "fees": (2 * plan.notional * means.taker_fee).quantize(_DIGITS),
            "expected_price": risk.expected_price(plan, case.quote),
            "liquidation_price": None if liquidation is None else liquidation.quantize(_DIGITS),
        }
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
