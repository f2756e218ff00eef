"""Risk: a wish goes in with a snapshot of the account, an approval or a refusal comes out. Pure.

The order of the checks is the contract's (section 9); the first that fails answers. Only a :class:`RiskApproved` can be
submitted, by type, whether it opens a position or adds to one; and only an :class:`AdjustmentApproved` can be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.days import until_tomorrow_s
from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.policy import (
    HARD_MAXIMUM_LEVERAGE,
    AccountPolicy,
    ExistingPositionPolicy,
    LeveragePolicy,
    RiskPolicy,
)
from app.domain.reports import AccountReport, BookTicker, LeverageBracket
from app.domain.trades import Leg, Trade, TradeSide, TradeStatus
from app.schemas.decision import ExpectedPosition
from app.services.execution.covering import is_stopped
from app.services.execution.planning import AdjustmentPlan, EntryPlan, EntryWish, MarketView, plan_entry

_FIELD = {
    OrderRole.STOP_LOSS: ("sl_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TRAILING_STOP: ("trailing_stop.activation_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TAKE_PROFIT: ("tp_price", ErrorCode.TAKE_PROFIT_INVALID),
}
"""What a leg is called in a decision, and how a wrong one is refused."""

_MOST_PARTS = 20
"""An entry goes in so many market orders at most: prices move meanwhile."""
_MARGIN_BUFFER = Decimal("0.05")
"""Of the margin: prices move between the look and the fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the account holds or has on its way at one moment.

    ``notional_by_asset`` counts trades of ours that are not ended and positions of others, in quote units.
    ``last_activity`` is the later of the last entry and the last exit of the asset in question. ``trade`` is our trade
    on it, when it holds something and is not on its way out. ``realised_today`` is the day's result in dollars, losses
    negative, None when the exchange has not told it.
    """

    has_position: bool = False
    has_unknown_order: bool = False
    last_activity: datetime | None = None
    notional_by_asset: Mapping[str, Decimal]
    trade: Trade | None = None
    realised_today: Decimal | None = None
    exit_places: int | None = None
    """How many conditional orders the exchange still takes on the asset, those of our trade not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskApproved:
    """A plan that passed every check."""

    plan: EntryPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentApproved:
    """A change to a trade that passed every check; ``entry`` is there when it adds exposure."""

    plan: AdjustmentPlan
    entry: RiskApproved | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRefused:
    """The first check that failed; the message names the number and the limit.

    ``contradicts``: the sender takes something else to be held than is, which a person must know.
    """

    code: ErrorCode
    message: str
    retry_after_s: float | None = None
    contradicts: bool = False


class CheckFailed(Exception):
    """A check says no."""

    def __init__(
        self, code: ErrorCode, message: str, retry_after_s: float | None = None, *, contradicts: bool = False
    ) -> None:
        super().__init__(message)
        self.refused = RiskRefused(code=code, message=message, retry_after_s=retry_after_s, contradicts=contradicts)


def assess(
    wish: EntryWish, market: MarketView | None, exposure: Exposure, policy: AccountPolicy, now: datetime
) -> RiskApproved | RiskRefused:
    """Check the wish and plan it. ``market`` is None when the exchange lists no such asset."""
    try:
        check_age(wish, policy.risk, now)
        listed = check_asset(wish, market)
        leverage = choose_leverage(wish, policy.risk)
        check_cooldown(wish, exposure, policy.risk, now)
        check_existing(wish, exposure, policy.risk)
        check_stop_required(wish, policy.risk)
        plan = plan_opening(wish, listed, leverage, exposure, policy)
        check_sides(plan.legs, plan.side, plan.reference_price)
        check_price_bounds(plan.legs, listed)
        check_size(plan, listed)
        check_exposure(plan, exposure, policy.risk)
        check_daily_loss(exposure, policy.risk, now)
    except CheckFailed as refusal:
        return refusal.refused
    return RiskApproved(plan=plan)


def plan_opening(
    wish: EntryWish, market: MarketView, leverage: int, exposure: Exposure, policy: AccountPolicy
) -> EntryPlan:
    """Plan the entry as what it is: a new position, an addition to ours, or one that ours must make room for.

    The exchange has one leverage for a symbol, so an addition keeps that of the position, within the limit.
    """
    trade = exposure.trade
    if trade is None:
        return plan_entry(wish, market, leverage, policy)
    if trade.side is wish.side:
        return plan_entry(wish, market, kept_leverage(trade, policy.risk), policy, onto=trade)
    return replace(plan_entry(wish, market, leverage, policy), closes=trade)


def kept_leverage(trade: Trade, policy: RiskPolicy) -> int:
    """The leverage of a position that is added to; lowered when the limit was lowered since it was opened."""
    return min(trade.leverage, policy.maximum_leverage, HARD_MAXIMUM_LEVERAGE)


def laid_bare(trades: Iterable[Trade]) -> RiskRefused | None:
    """Why no entry may be sent while a position is past its deadline, or won't close (scenario P3), or None."""
    for trade in trades:
        is_stuck = trade.status is TradeStatus.CLOSING and trade.close_attempts > 1
        is_bare = trade.protection_failed and not is_stopped(trade)
        if (is_bare or is_stuck) and trade.exposure > ZERO:
            what = "can't be closed" if is_stuck else "is held without protection past its deadline"
            text = f"{trade.asset} {what}; no entry until that is settled"
            return RiskRefused(code=ErrorCode.NOT_READY, message=text)
    return None


def too_far(plan: EntryPlan, quote: BookTicker, mark: Decimal, policy: RiskPolicy) -> RiskRefused | None:
    """Why the entry would fill too far from the mark price, judged by the best price on the other side, or None."""
    is_long = plan.side is TradeSide.LONG
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
    return short_of_margin(plan, means) or stop_too_late(plan, means)


def margin_needed(plan: EntryPlan, taker_fee: Decimal) -> Decimal:
    """What must be available for an entry: its margin, the fees in and out again, and a buffer."""
    margin = plan.notional / plan.leverage
    return margin + 2 * plan.notional * taker_fee + margin * _MARGIN_BUFFER


def short_of_margin(plan: EntryPlan, means: Means) -> RiskRefused | None:
    """Why free margin does not suffice with fees and a buffer (scenario Z4), or None."""
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


def stop_too_late(plan: EntryPlan, means: Means) -> RiskRefused | None:
    """A stop beyond the liquidation price is no stop."""
    liquidation = liquidation_estimate(plan, means)
    stop = stop_from_the_start(plan)
    if stop is None or liquidation is None or (stop.trigger_price - liquidation) * plan.side.sign > ZERO:
        return None
    what = "sl_price" if stop.role is OrderRole.STOP_LOSS else "a trailing stop that begins at"
    text = (
        f"{what} {plain(stop.trigger_price)} is beyond the estimated liquidation price {liquidation:.8g} "
        f"at {plan.leverage}x, so the stop would never be reached; move it closer, or lower the leverage"
    )
    return RiskRefused(code=ErrorCode.STOP_LOSS_INVALID, message=text)


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
    tier = next((row for row in means.brackets if plan.position_notional <= row.notional_cap), None)
    if tier is None:
        return None
    account, sign, quantity = means.account, plan.side.sign, plan.position_quantity
    if means.is_isolated:
        value = plan.notional + _entry_value(plan)
        backing = value / plan.leverage
    else:
        value = plan.position_notional  # what the held part has gained or lost is in the balance
        backing = account.margin_balance - account.maintenance_margin - plan.notional * means.taker_fee
    rate = quantity * (sign - tier.maintenance_rate)
    price = (value * sign - backing - tier.cumulative) / rate
    return price if price > ZERO else None


def _entry_value(plan: EntryPlan) -> Decimal:
    """What is held already, at its entry price."""
    if plan.onto is None:
        return ZERO
    return plan.onto.exposure * (plan.onto.entry_price or plan.reference_price)


def too_old(wish: EntryWish, policy: RiskPolicy, now: datetime) -> RiskRefused | None:
    """Why the wish may not be sent any more, if it waited too long since it was assessed (scenario C7)."""
    try:
        check_age(wish, policy, now)
    except CheckFailed as refusal:
        return refusal.refused
    return None


def check_age(wish: EntryWish, policy: RiskPolicy, now: datetime) -> None:
    """Scenario C7. Like every check here, raises CheckFailed."""
    age_s = (now - wish.decided_at).total_seconds()
    if age_s > policy.maximum_decision_age_s:
        raise CheckFailed(
            ErrorCode.STALE_DECISION,
            f"the decision is {age_s:.1f} s old, more than the {policy.maximum_decision_age_s:g} s allowed; "
            "send a fresh one",
        )


def check_asset(wish: EntryWish, market: MarketView | None) -> MarketView:
    """The asset is listed, and takes new positions (scenario H3)."""
    listed = check_listed(wish, market)
    if not listed.instrument.is_trading:
        text = f"{wish.item.asset} is {listed.instrument.status} on the exchange; entries need TRADING"
        raise CheckFailed(ErrorCode.ASSET_NOT_TRADING, text)
    return listed


def check_listed(wish: EntryWish, market: MarketView | None) -> MarketView:
    """The exchange knows the asset."""
    asset = wish.item.asset
    if market is None:
        hint = f"; did you mean {asset.upper()}?" if asset != asset.upper() else ""
        raise CheckFailed(ErrorCode.ASSET_UNKNOWN, f"the exchange lists no perpetual future {asset}{hint}")
    return market


def choose_leverage(wish: EntryWish, policy: RiskPolicy) -> int:
    """The leverage to set: as wished, the default, or the limit."""
    maximum = min(policy.maximum_leverage, HARD_MAXIMUM_LEVERAGE)
    if wish.item.leverage is None:
        return min(policy.default_leverage, maximum)
    wanted = int(wish.item.leverage)
    if wanted > maximum and policy.leverage_policy is LeveragePolicy.REJECT:
        text = f"leverage {wanted} is above the limit of {maximum}"
        raise CheckFailed(ErrorCode.LEVERAGE_EXCEEDED, text)
    return min(wanted, maximum)


def check_cooldown(wish: EntryWish, exposure: Exposure, policy: RiskPolicy, now: datetime) -> None:
    """Enough time has passed since the asset was last traded; a flip was asked before its close."""
    if exposure.last_activity is None or policy.cooldown_s <= 0 or wish.flipped is not None:
        return
    left = exposure.last_activity + timedelta(seconds=policy.cooldown_s) - now
    if left > timedelta(0):
        seconds = round(left.total_seconds(), 3)
        text = f"{wish.item.asset} was traded less than {policy.cooldown_s:g} s ago; wait another {seconds:g} s"
        raise CheckFailed(ErrorCode.COOLDOWN_ACTIVE, text, seconds)


def check_existing(wish: EntryWish, exposure: Exposure, policy: RiskPolicy) -> None:
    """What is held, or on its way, allows the entry (contract, section 9)."""
    check_fate_known(wish, exposure)
    check_expected(wish, exposure)
    if not exposure.has_position:
        return
    asset, trade, mode = wish.item.asset, exposure.trade, policy.on_existing_position
    if trade is None:
        text = f"{asset} already has a position that is not ours to change, or an entry or exit on its way"
    elif mode is ExistingPositionPolicy.ADD and trade.side is not wish.side:
        text = f"{asset} already has a {trade.side.value} position; this account adds on the same side only"
    elif mode is ExistingPositionPolicy.FLIP and trade.side is wish.side:
        text = f"{asset} already has a {trade.side.value} position; use adjust_position to change its size"
    elif mode is ExistingPositionPolicy.REJECT:
        text = f"{asset} already has a position or an entry on its way; close it first"
    else:
        return
    raise CheckFailed(ErrorCode.POSITION_EXISTS, text)


def check_expected(wish: EntryWish, exposure: Exposure) -> None:
    """What is held is what the sender takes to be held. An entry or exit on its way is left to the other checks."""
    expected = wish.item.expected_position
    if expected is None or wish.flipped is not None:
        return
    trade, is_free = exposure.trade, not exposure.has_position
    held = "no position" if is_free else f"a {trade.side.value} position" if trade else "a position, or one on its way,"
    if expected is ExpectedPosition.FLAT:
        is_so = is_free
    else:
        is_so = trade.side.value == expected.value if trade else not is_free
    if is_so:
        return
    taken = "no position" if expected is ExpectedPosition.FLAT else f"a {expected.value} position"
    text = f"the sender takes {wish.item.asset} to have {taken}, but there is {held}; nothing was sent"
    code = ErrorCode.POSITION_ABSENT if is_free else ErrorCode.POSITION_EXISTS
    raise CheckFailed(code, text, contradicts=True)


def check_fate_known(wish: EntryWish, exposure: Exposure) -> None:
    """No entry while the fate of an order on the asset is unknown (scenario U1)."""
    if exposure.has_unknown_order:
        text = f"the outcome of an earlier order on {wish.item.asset} is not known yet; no entry until it is"
        raise CheckFailed(ErrorCode.OUTCOME_UNKNOWN, text)


def check_stop_required(wish: EntryWish, policy: RiskPolicy) -> None:
    """An account that requires stops takes no entry without one that stops from the start."""
    trailing = wish.item.trailing_stop
    if wish.item.sl_price is not None:
        return
    if trailing is not None and trailing.activation_price is not None:
        text = (
            "trailing_stop with an activation_price stops nothing before the market has reached that price; give "
            "sl_price beside it, or leave activation_price out"
        )
        raise CheckFailed(ErrorCode.STOP_LOSS_REQUIRED, text)
    if policy.require_stop_loss and trailing is None:
        text = "sl_price is missing, and this account refuses entries without a stop loss"
        raise CheckFailed(ErrorCode.STOP_LOSS_REQUIRED, text)


def check_sides(legs: Iterable[Leg], side: TradeSide, mark: Decimal) -> None:
    """Take profit lies on the winning side of the mark price, stop loss on the losing one (scenario P7)."""
    is_long = side is TradeSide.LONG
    for leg in legs:
        price = _asked_price(leg)
        must_be_above = is_long is not (leg.role is OrderRole.STOP_LOSS)
        if price is not None and (price <= ZERO or price == mark or (price > mark) is not must_be_above):
            name, code = _FIELD[leg.role]
            where = "above" if must_be_above else "below"
            text = f"{name} {plain(price)} must be {where} the mark price {plain(mark)} for a {side.value} position"
            raise CheckFailed(code, text)


def _asked_price(leg: Leg) -> Decimal | None:
    """The price in the decision that a leg stands for; a trailing stop has one only if it waits for it."""
    return leg.activation_price if leg.role is OrderRole.TRAILING_STOP else leg.trigger_price


def check_price_bounds(legs: Iterable[Leg], market: MarketView) -> None:
    """An exit whose price the exchange would never take must not be found out with the position already held."""
    instrument = market.instrument
    for leg in legs:
        for price in (_asked_price(leg), leg.limit_price):
            if price is not None and not instrument.is_price_on_tick(price):
                name, code = _FIELD[leg.role]
                text = (
                    f"{name} needs an order at {plain(price)}, outside the prices of "
                    f"{instrument.symbol}: {plain(instrument.minimum_price)} to {plain(instrument.maximum_price)}"
                )
                raise CheckFailed(code, text)


def check_size(plan: EntryPlan, market: MarketView) -> None:
    """The quantity is one that the exchange takes (scenario Z1)."""
    instrument = market.instrument
    asked = asked_size(plan.wish)
    if plan.quantity < instrument.market_minimum or plan.quantity <= ZERO:
        needed = plain(instrument.market_minimum * plan.reference_price)
        text = (
            f"{asked} buys {plain(plan.quantity)} {instrument.base_asset}, below the minimum order of "
            f"{plain(instrument.market_minimum)} (about {needed} {instrument.quote_asset})"
        )
        raise CheckFailed(ErrorCode.QUANTITY_BELOW_MINIMUM, text)
    if instrument.lot.maximum and plan.position_quantity > instrument.lot.maximum:
        most, held = plain(instrument.lot.maximum), plain(plan.position_quantity)
        text = f"{asked} would make a position of {held} {instrument.base_asset}, above the {most} of one exit"
        raise CheckFailed(ErrorCode.QUANTITY_ABOVE_MAXIMUM, text)
    if plan.quantity > instrument.market_maximum * _MOST_PARTS > ZERO:
        most = f"{_MOST_PARTS} market orders of at most {plain(instrument.market_maximum)}"
        text = f"{asked} needs {plain(plan.quantity)} {instrument.base_asset}, above {most}"
        raise CheckFailed(ErrorCode.QUANTITY_ABOVE_MAXIMUM, text)
    if plan.notional < instrument.minimum_notional:
        text = (
            f"the order would be worth {plain(plan.notional)} {instrument.quote_asset}, below the minimum of "
            f"{plain(instrument.minimum_notional)}; {asked} is too little"
        )
        raise CheckFailed(ErrorCode.NOTIONAL_BELOW_MINIMUM, text)


def asked_size(wish: EntryWish) -> str:
    """The field that asks for a size, and its value, for messages."""
    change = wish.item.position_adjustment
    if change is None:
        return f"allocation_usd {plain(wish.item.allocation_usd or ZERO)}"
    if change.adjustment_percentage is not None:
        return f"adjustment_percentage {plain(change.adjustment_percentage)}"
    return f"adjustment_amount_usd {plain(change.adjustment_amount_usd or ZERO)}"


def check_exposure(plan: EntryPlan, exposure: Exposure, policy: RiskPolicy) -> None:
    """Number of positions, notional per asset and in total stay within the limits; a position to be closed is gone."""
    asset = plan.wish.item.asset
    gone = asset if plan.closes is not None else None
    held = {name: value for name, value in exposure.notional_by_asset.items() if value and name != gone}
    count = len(held.keys() | {asset})
    if policy.maximum_open_positions is not None and count > policy.maximum_open_positions:
        text = f"this would be position {count}, above the limit of {policy.maximum_open_positions}"
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)
    on_asset = held.get(asset, ZERO) + plan.notional
    limit = policy.maximum_notional_per_asset
    if limit is not None and on_asset > limit:
        text = f"{asset} would carry {plain(on_asset)}, above the limit of {plain(limit)} per asset"
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)
    total = sum(held.values(), start=ZERO) + plan.notional
    limit = policy.maximum_total_notional
    if limit is not None and total > limit:
        text = f"all positions together would carry {plain(total)}, above the limit of {plain(limit)}"
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)
    check_room_for_exits(plan, exposure)


def check_room_for_exits(plan: EntryPlan, exposure: Exposure) -> None:
    """The exchange takes so many conditional orders on a symbol, whoever placed them: exits must find room (P14)."""
    needed, free = sum(leg.order_type.is_conditional for leg in plan.legs), exposure.exit_places
    if free is not None and needed > free:
        text = (
            f"{plan.wish.item.asset}: {needed} exits need a place among the exchange's conditional orders, and others "
            f"have left {max(free, 0)}; cancel some of those"
        )
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)


def check_daily_loss(exposure: Exposure, policy: RiskPolicy, now: datetime) -> None:
    """What was lost since midnight UTC stays within the limit (contract, section 9: a refusal, no halt)."""
    limit = policy.maximum_daily_loss
    if limit is None:
        return
    if exposure.realised_today is None:
        text = f"how much of the daily limit of {plain(limit)} is lost is not known: the exchange has not told it yet"
        raise CheckFailed(ErrorCode.NOT_READY, text, 1.0)
    lost = -exposure.realised_today
    if lost >= limit:
        text = f"{plain(lost)} was lost today, the limit is {plain(limit)}; entries are taken again at midnight UTC"
        raise CheckFailed(ErrorCode.DAILY_LOSS_LIMIT, text, round(until_tomorrow_s(now), 3))
