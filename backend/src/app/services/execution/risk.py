"""Risk: a wish goes in with a snapshot of the account, an approval or a refusal comes out. Pure.

The order of the checks is the contract's (section 9); the first that fails answers. Only a :class:`RiskApproved` can be
submitted, by type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.policy import HARD_MAXIMUM_LEVERAGE, AccountPolicy, LeveragePolicy, RiskPolicy
from app.domain.reports import AccountReport, BookTicker, LeverageBracket
from app.domain.trades import Leg, Trade, TradeSide, TradeStatus
from app.services.execution.planning import EntryPlan, EntryWish, MarketView, plan_entry

_FIELD = {
    OrderRole.STOP_LOSS: ("sl_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TRAILING_STOP: ("trailing_stop.activation_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TAKE_PROFIT: ("tp_price", ErrorCode.TAKE_PROFIT_INVALID),
}
"""What a leg is called in a decision, and how a wrong one is refused."""

_MARGIN_BUFFER = Decimal("0.05")
"""Of the margin: prices move between the look and the fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the account holds or has on its way at one moment.

    ``notional_by_asset`` counts trades of ours that are not ended and positions of others, in quote units.
    ``last_activity`` is the later of the last entry and the last exit of the asset in question.
    """

    has_position: bool = False
    has_unknown_order: bool = False
    last_activity: datetime | None = None
    notional_by_asset: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskApproved:
    """A plan that passed every check."""

    plan: EntryPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRefused:
    """The first check that failed; the message names the number and the limit."""

    code: ErrorCode
    message: str
    retry_after_s: float | None = None


class _Refusal(Exception):
    def __init__(self, code: ErrorCode, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.refused = RiskRefused(code=code, message=message, retry_after_s=retry_after_s)


def assess(
    wish: EntryWish, market: MarketView | None, exposure: Exposure, policy: AccountPolicy, now: datetime
) -> RiskApproved | RiskRefused:
    """Check the wish and plan it. ``market`` is None when the exchange lists no such asset."""
    try:
        _check_age(wish, policy.risk, now)
        listed = _check_asset(wish, market)
        leverage = _leverage(wish, policy.risk)
        _check_cooldown(wish, exposure, policy.risk, now)
        _check_existing(wish, exposure)
        _check_stop_required(wish, policy.risk)
        plan = plan_entry(wish, listed, leverage, policy)
        _check_sides(plan)
        _check_price_bounds(plan, listed)
        _check_size(plan, listed)
        _check_exposure(plan, exposure, policy.risk)
    except _Refusal as refusal:
        return refusal.refused
    return RiskApproved(plan=plan)


def laid_bare(trades: Iterable[Trade]) -> RiskRefused | None:
    """Why no entry may be sent while a position is past its deadline, or won't close (scenario P3), or None."""
    for trade in trades:
        is_stuck = trade.status is TradeStatus.CLOSING and trade.close_attempts > 1
        if (trade.protection_failed or is_stuck) and trade.exposure > ZERO:
            what = "can't be closed" if is_stuck else "is held without protection past its deadline"
            text = f"{trade.asset} {what}; no entry until that is settled"
            return RiskRefused(code=ErrorCode.NOT_READY, message=text)
    return None


def too_far(plan: EntryPlan, quote: BookTicker, mark: Decimal, policy: RiskPolicy) -> RiskRefused | None:
    """Why the entry would fill too far from the mark price, judged by the best price on the other side, or None."""
    is_long = plan.wish.side is TradeSide.LONG
    expected = quote.ask_price if is_long else quote.bid_price
    asset = plan.wish.item.asset
    if expected <= ZERO:
        text = f"nobody {'sells' if is_long else 'buys'} {asset} at the moment"
        return RiskRefused(code=ErrorCode.PRICE_DEVIATION, message=text)
    away_bps = abs(expected / mark - 1) * BPS
    if away_bps <= policy.maximum_price_deviation_bps:
        return None
    text = (
        f"{asset} would fill at about {plain(expected)}, {away_bps:.1f} bps from the mark price {plain(mark)}; "
        f"the limit is {plain(policy.maximum_price_deviation_bps)} bps"
    )
    return RiskRefused(code=ErrorCode.PRICE_DEVIATION, message=text)


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


def beyond_means(plan: EntryPlan, means: Means) -> RiskRefused | None:
    """Why the account can't carry the entry (scenario Z4), or its stop comes too late (P6); or None."""
    return _short_of_margin(plan, means) or _stop_too_late(plan, means)


def margin_needed(plan: EntryPlan, taker_fee: Decimal) -> Decimal:
    """What must be available for an entry: its margin, the fees in and out again, and a buffer."""
    margin = plan.notional / plan.leverage
    return margin + 2 * plan.notional * taker_fee + margin * _MARGIN_BUFFER


def _short_of_margin(plan: EntryPlan, means: Means) -> RiskRefused | None:
    needed = margin_needed(plan, means.taker_fee)
    available = means.account.available_balance
    if needed <= available - means.reserved:
        return None
    margin, fees = plan.notional / plan.leverage, 2 * plan.notional * means.taker_fee
    text = (
        f"{plan.wish.item.asset} needs {needed:.2f}: {margin:.2f} margin at {plan.leverage}x, {fees:.2f} fees and a "
        f"buffer; {available:.2f} is available"
    )
    if means.reserved:
        text += f", of which {means.reserved:.2f} is spoken for by entries on their way"
    return RiskRefused(code=ErrorCode.INSUFFICIENT_MARGIN, message=text)


def _stop_too_late(plan: EntryPlan, means: Means) -> RiskRefused | None:
    """A stop beyond the liquidation price is no stop."""
    liquidation = liquidation_estimate(plan, means)
    stop = _stop_from_the_start(plan)
    if stop is None or liquidation is None or (stop.trigger_price - liquidation) * plan.wish.side.sign > ZERO:
        return None
    what = "sl_price" if stop.role is OrderRole.STOP_LOSS else "a trailing stop that begins at"
    text = (
        f"{what} {plain(stop.trigger_price)} is beyond the estimated liquidation price {liquidation:.8g} "
        f"at {plan.leverage}x, so the stop would never be reached; move it closer, or lower the leverage"
    )
    return RiskRefused(code=ErrorCode.STOP_LOSS_INVALID, message=text)


def _stop_from_the_start(plan: EntryPlan) -> Leg | None:
    """What bounds the loss as soon as it is on the book: the stop loss, else a trailing stop that waits for nothing."""
    stops = [leg for leg in plan.legs if leg.role is not OrderRole.TAKE_PROFIT and leg.activation_price is None]
    return next((leg for leg in stops if leg.role is OrderRole.STOP_LOSS), stops[0] if stops else None)


def liquidation_estimate(plan: EntryPlan, means: Means) -> Decimal | None:
    """The mark price at which the margin behind the position would be used up; None when there is no such price.

    Solves ``backing + (p - entry) * quantity * sign = p * quantity * rate - cumulative`` for ``p`` in the notional's
    tier (fact sheet, section 12). Behind an isolated position stands its initial margin, behind a cross one the whole
    account but what its other positions need.
    """
    tier = next((row for row in means.brackets if plan.notional <= row.notional_cap), None)
    if tier is None:
        return None
    account, sign, entry = means.account, plan.wish.side.sign, plan.reference_price
    fee = plan.notional * means.taker_fee
    cross = account.margin_balance - account.maintenance_margin - fee
    backing = plan.notional / plan.leverage if means.is_isolated else cross
    rate = plan.quantity * (sign - tier.maintenance_rate)
    price = (entry * plan.quantity * sign - backing - tier.cumulative) / rate
    return price if price > ZERO else None


def too_old(wish: EntryWish, policy: RiskPolicy, now: datetime) -> RiskRefused | None:
    """Why the wish may not be sent any more, if it waited too long since it was assessed (scenario C7)."""
    try:
        _check_age(wish, policy, now)
    except _Refusal as refusal:
        return refusal.refused
    return None


def _check_age(wish: EntryWish, policy: RiskPolicy, now: datetime) -> None:
    age_s = (now - wish.decided_at).total_seconds()
    if age_s > policy.maximum_decision_age_s:
        raise _Refusal(
            ErrorCode.STALE_DECISION,
            f"the decision is {age_s:.1f} s old, more than the {policy.maximum_decision_age_s:g} s allowed; "
            "send a fresh one",
        )


def _check_asset(wish: EntryWish, market: MarketView | None) -> MarketView:
    asset = wish.item.asset
    if market is None:
        hint = f"; did you mean {asset.upper()}?" if asset != asset.upper() else ""
        raise _Refusal(ErrorCode.ASSET_UNKNOWN, f"the exchange lists no perpetual future {asset}{hint}")
    if not market.instrument.is_trading:
        text = f"{asset} is {market.instrument.status} on the exchange; entries need TRADING"
        raise _Refusal(ErrorCode.ASSET_NOT_TRADING, text)
    return market


def _leverage(wish: EntryWish, policy: RiskPolicy) -> int:
    maximum = min(policy.maximum_leverage, HARD_MAXIMUM_LEVERAGE)
    if wish.item.leverage is None:
        return min(policy.default_leverage, maximum)
    wanted = int(wish.item.leverage)
    if wanted > maximum and policy.leverage_policy is LeveragePolicy.REJECT:
        text = f"leverage {wanted} is above the limit of {maximum}"
        raise _Refusal(ErrorCode.LEVERAGE_EXCEEDED, text)
    return min(wanted, maximum)


def _check_cooldown(wish: EntryWish, exposure: Exposure, policy: RiskPolicy, now: datetime) -> None:
    if exposure.last_activity is None or policy.cooldown_s <= 0:
        return
    left = exposure.last_activity + timedelta(seconds=policy.cooldown_s) - now
    if left > timedelta(0):
        seconds = round(left.total_seconds(), 3)
        text = f"{wish.item.asset} was traded less than {policy.cooldown_s:g} s ago; wait another {seconds:g} s"
        raise _Refusal(ErrorCode.COOLDOWN_ACTIVE, text, seconds)


def _check_existing(wish: EntryWish, exposure: Exposure) -> None:
    if exposure.has_unknown_order:
        text = f"the outcome of an earlier order on {wish.item.asset} is not known yet; no entry until it is"
        raise _Refusal(ErrorCode.OUTCOME_UNKNOWN, text)
    if exposure.has_position:
        text = f"{wish.item.asset} already has a position or an entry on its way; close it first"
        raise _Refusal(ErrorCode.POSITION_EXISTS, text)


def _check_stop_required(wish: EntryWish, policy: RiskPolicy) -> None:
    trailing = wish.item.trailing_stop
    if wish.item.sl_price is not None:
        return
    if trailing is not None and trailing.activation_price is not None:
        text = (
            "trailing_stop with an activation_price stops nothing before the market has reached that price; give "
            "sl_price beside it, or leave activation_price out"
        )
        raise _Refusal(ErrorCode.STOP_LOSS_REQUIRED, text)
    if policy.require_stop_loss and trailing is None:
        text = "sl_price is missing, and this account refuses entries without a stop loss"
        raise _Refusal(ErrorCode.STOP_LOSS_REQUIRED, text)


def _check_sides(plan: EntryPlan) -> None:
    mark = plan.reference_price
    is_long = plan.wish.side is TradeSide.LONG
    for leg in plan.legs:
        price = _asked_price(leg)
        must_be_above = is_long is not (leg.role is OrderRole.STOP_LOSS)
        if price is not None and (price <= ZERO or price == mark or (price > mark) is not must_be_above):
            name, code = _FIELD[leg.role]
            side = "above" if must_be_above else "below"
            text = (
                f"{name} {plain(price)} must be {side} the mark price {plain(mark)} "
                f"for a {plan.wish.side.value} position"
            )
            raise _Refusal(code, text)


def _asked_price(leg: Leg) -> Decimal | None:
    """The price in the decision that a leg stands for; a trailing stop has one only if it waits for it."""
    return leg.activation_price if leg.role is OrderRole.TRAILING_STOP else leg.trigger_price


def _check_price_bounds(plan: EntryPlan, market: MarketView) -> None:
    """An exit whose price the exchange would never take must not be found out with the position already held."""
    instrument = market.instrument
    for leg in plan.legs:
        for price in (_asked_price(leg), leg.limit_price):
            if price is not None and not instrument.is_price_on_tick(price):
                name, code = _FIELD[leg.role]
                text = (
                    f"{name} needs an order at {plain(price)}, outside the prices of "
                    f"{instrument.symbol}: {plain(instrument.minimum_price)} to {plain(instrument.maximum_price)}"
                )
                raise _Refusal(code, text)


def _check_size(plan: EntryPlan, market: MarketView) -> None:
    instrument = market.instrument
    asked = plain(plan.wish.item.allocation_usd or ZERO)
    if plan.quantity < instrument.market_minimum or plan.quantity <= ZERO:
        needed = plain(instrument.market_minimum * plan.reference_price)
        text = (
            f"allocation_usd {asked} buys {plain(plan.quantity)} {instrument.base_asset}, below the minimum order of "
            f"{plain(instrument.market_minimum)} (about {needed} {instrument.quote_asset})"
        )
        raise _Refusal(ErrorCode.QUANTITY_BELOW_MINIMUM, text)
    if instrument.market_maximum and plan.quantity > instrument.market_maximum:
        text = (
            f"allocation_usd {asked} needs {plain(plan.quantity)} {instrument.base_asset}, above the maximum market "
            f"order of {plain(instrument.market_maximum)}"
        )
        raise _Refusal(ErrorCode.QUANTITY_ABOVE_MAXIMUM, text)
    if plan.notional < instrument.minimum_notional:
        text = (
            f"the order would be worth {plain(plan.notional)} {instrument.quote_asset}, below the minimum of "
            f"{plain(instrument.minimum_notional)}; raise allocation_usd"
        )
        raise _Refusal(ErrorCode.NOTIONAL_BELOW_MINIMUM, text)


def _check_exposure(plan: EntryPlan, exposure: Exposure, policy: RiskPolicy) -> None:
    asset = plan.wish.item.asset
    held = {name: value for name, value in exposure.notional_by_asset.items() if value}
    count = len(held.keys() | {asset})
    if policy.maximum_open_positions is not None and count > policy.maximum_open_positions:
        text = f"this would be position {count}, above the limit of {policy.maximum_open_positions}"
        raise _Refusal(ErrorCode.EXPOSURE_LIMIT, text)
    on_asset = held.get(asset, ZERO) + plan.notional
    limit = policy.maximum_notional_per_asset
    if limit is not None and on_asset > limit:
        text = f"{asset} would carry {plain(on_asset)}, above the limit of {plain(limit)} per asset"
        raise _Refusal(ErrorCode.EXPOSURE_LIMIT, text)
    total = sum(held.values(), start=ZERO) + plan.notional
    limit = policy.maximum_total_notional
    if limit is not None and total > limit:
        text = f"all positions together would carry {plain(total)}, above the limit of {plain(limit)}"
        raise _Refusal(ErrorCode.EXPOSURE_LIMIT, text)
