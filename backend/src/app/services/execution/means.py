"""Means: what an account has for an entry, and whether it suffices: margin, liquidation, leverage brackets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import ZERO, plain
from app.domain.reports import AccountReport, LeverageBracket
from app.domain.trades import Leg
from app.services.execution.planning import EntryPlan
from app.services.execution.risk import CheckFailed

_MARGIN_BUFFER = Decimal("0.05")
"""Of the margin: prices move between the look and the fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the account has for an entry; money in quote units, ``taker_fee`` a fraction of the notional.

    ``reserved`` is spoken for by entries on their way that ``account`` may not show yet.
    """

    account: AccountReport
    reserved: Decimal = ZERO
    is_isolated: bool
    taker_fee: Decimal
    brackets: tuple[LeverageBracket, ...]


def margin_needed(plan: EntryPlan, taker_fee: Decimal) -> Decimal:
    """What must be available for an entry: its margin, the fees in and out again, and a buffer."""
    margin = plan.notional / plan.leverage
    return margin + 2 * plan.notional * taker_fee + margin * _MARGIN_BUFFER


def margin_free(plan: EntryPlan, means: Means) -> Decimal:
    """What is available for an entry: not what others have reserved, but what the position that it closes sets free."""
    free = means.account.available_balance - means.reserved
    if plan.closes is None:
        return free
    price, entry = plan.reference_price, plan.closes.entry_price or plan.reference_price
    loss = min((price - entry) * plan.closes.side.sign, ZERO) if means.is_isolated else ZERO
    margin = min(price, entry) / plan.closes.leverage
    return free + (margin + loss - price * means.taker_fee) * plan.closes.exposure


def check_margin(plan: EntryPlan, means: Means) -> None:
    """Free margin suffices, with fees and a buffer (scenario Z4)."""
    needed, free = margin_needed(plan, means.taker_fee), margin_free(plan, means)
    if needed <= free:
        return
    margin, fees = plan.notional / plan.leverage, 2 * plan.notional * means.taker_fee
    text = (
        f"{plan.wish.item.asset} needs {needed:.2f}: {margin:.2f} margin at {plan.leverage}x, {fees:.2f} fees and a "
        f"buffer; {free + means.reserved:.2f} is available"
    )
    if means.reserved:
        text += f", of which {means.reserved:.2f} is reserved for entries on their way"
    raise CheckFailed(ErrorCode.INSUFFICIENT_MARGIN, text)


def check_liquidation(plan: EntryPlan, means: Means) -> None:
    """A stop beyond the liquidation price is no stop (scenario P6); nor is one that can't be compared with it."""
    stop = stop_from_the_start(plan)
    if stop is None:
        return
    what = "sl_price" if stop.role is OrderRole.STOP_LOSS else "a trailing stop that begins at"
    if not means.brackets:
        text = (
            f"the exchange shows no leverage brackets of {plan.wish.item.asset}, so whether {what} "
            f"{plain(stop.trigger_price)} would be reached before the liquidation can't be told; try again later"
        )
        raise CheckFailed(ErrorCode.EXCHANGE_UNAVAILABLE, text)
    liquidation = liquidation_estimate(plan, means)
    if liquidation is None or (stop.trigger_price - liquidation) * plan.side.sign > ZERO:
        return
    text = (
        f"{what} {plain(stop.trigger_price)} is beyond the estimated liquidation price {liquidation:.8g} "
        f"at {plan.leverage}x, so the stop would never be reached; move it closer, or lower the leverage"
    )
    raise CheckFailed(ErrorCode.STOP_LOSS_INVALID, text)


def check_leverage_offered(plan: EntryPlan, means: Means) -> None:
    """The exchange offers that leverage for the asset."""
    most = max((row.maximum_leverage for row in means.brackets), default=plan.leverage)
    if plan.leverage > most:
        text = f"the exchange offers at most {most}x on {plan.wish.item.asset}, less than the {plan.leverage}x planned"
        raise CheckFailed(ErrorCode.LEVERAGE_EXCEEDED, text)


def check_bracket(plan: EntryPlan, means: Means) -> None:
    """The exchange allows a position of that size at that leverage (scenario Z6)."""
    caps = [row.notional_cap for row in means.brackets if row.maximum_leverage >= plan.leverage]
    if caps and plan.position_notional > max(caps):
        text = (
            f"at {plan.leverage}x the exchange allows {plain(max(caps))} on {plan.wish.item.asset}, less than the "
            f"{plain(plan.position_notional)} planned; lower the leverage or the allocation"
        )
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)


def stop_from_the_start(plan: EntryPlan) -> Leg | None:
    """What bounds the loss as soon as it is on the book: the stop loss, else a trailing stop that waits for nothing."""
    stops = [leg for leg in plan.exits if leg.role is not OrderRole.TAKE_PROFIT and leg.activation_price is None]
    return next((leg for leg in stops if leg.role is OrderRole.STOP_LOSS), stops[0] if stops else None)


def liquidation_estimate(plan: EntryPlan, means: Means) -> Decimal | None:
    """The mark price at which the margin behind the position would be used up; None when there is no such price.

    Solves ``backing + (p - entry) * quantity * sign = p * quantity * rate - cumulative`` for ``p`` in the notional's
    tier (fact sheet, section 12), for the whole position where the plan adds to one. Behind an isolated position stands
    its initial margin, behind a cross one the whole account but what its positions need.
    """
    account, sign, quantity = means.account, plan.side.sign, plan.position_quantity
    if not means.brackets or not quantity:
        return None
    # above the last tier the exchange takes nothing, so that the last one is the nearest
    tier = next((row for row in means.brackets if plan.position_notional <= row.notional_cap), means.brackets[-1])
    if means.is_isolated:
        value = plan.notional + _entry_value(plan)
        backing = value / plan.leverage
    else:
        value = plan.position_notional  # what the held part has gained or lost is in the balance
        backing = account.margin_balance - _maintenance_beside(plan, means) - plan.notional * means.taker_fee
    rate = quantity * (sign - tier.maintenance_rate)
    price = (value * sign - backing - tier.cumulative) / rate
    return price if price > ZERO else None


def _maintenance_beside(plan: EntryPlan, means: Means) -> Decimal:
    """Maintenance margin of what will be held beside the entry: not of a position that is closed for it."""
    needed = means.account.maintenance_margin
    if plan.closes is None:
        return needed
    gone = plan.closes.exposure * plan.reference_price
    tier = next((row for row in means.brackets if gone <= row.notional_cap), means.brackets[-1])
    return max(needed - gone * tier.maintenance_rate + tier.cumulative, ZERO) + gone * means.taker_fee


def _entry_value(plan: EntryPlan) -> Decimal:
    """What is held already, at its entry price."""
    if plan.onto is None:
        return ZERO
    return plan.onto.exposure * (plan.onto.entry_price or plan.reference_price)
