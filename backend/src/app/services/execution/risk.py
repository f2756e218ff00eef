"""Risk: the rule of each check of an entry. Pure; their order is in :mod:`.checks`.

Only a :class:`RiskApproved` can be submitted, by type, whether it opens a position or adds to one; and only an
:class:`AdjustmentApproved` can be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.days import DayResult, until_tomorrow_s
from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import BPS, ZERO, plain
from app.domain.parts import quantity_to_come
from app.domain.policy import (
    HARD_MAXIMUM_LEVERAGE,
    AccountPolicy,
    ExistingPositionPolicy,
    LeveragePolicy,
    RiskPolicy,
)
from app.domain.reports import BookTicker, MarkPrice
from app.domain.trades import Leg, Trade, TradeSide, TradeStatus
from app.schemas.decision import ExpectedPosition
from app.services.execution.covering import STOPS, is_bounded
from app.services.execution.planning import AdjustmentPlan, EntryPlan, EntryWish, MarketView, plan_entry

_FIELD = {
    OrderRole.STOP_LOSS: ("sl_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TRAILING_STOP: ("trailing_stop.activation_price", ErrorCode.STOP_LOSS_INVALID),
    OrderRole.TAKE_PROFIT: ("tp_price", ErrorCode.TAKE_PROFIT_INVALID),
}
"""What a leg is called in a decision, and how a wrong one is refused."""

_MOST_PARTS = 20
"""An entry goes in so many market orders at most: prices move meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the account holds or has on its way at one moment.

    ``notional_by_asset`` counts trades of ours that are not ended and positions of others, in quote units; what a
    person has added to a position of ours does not count, for the limits bind what we open.
    ``last_activity`` is the later of the last entry and the last exit of the asset in question. ``trade`` is our trade
    on it, when it holds something and is not on its way out; ``is_closable`` says that there is something to close.
    ``realised_today`` is the day's result, None when the exchange has not told it.
    """

    has_position: bool = False
    has_unknown_order: bool = False
    last_activity: datetime | None = None
    notional_by_asset: Mapping[str, Decimal]
    trade: Trade | None = None
    is_closable: bool = False
    realised_today: DayResult | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Why no entry at all may be sent now: a halt, or something else in the way; None where there is nothing."""

    halted: RiskRefused | None = None
    unready: RiskRefused | None = None


OPEN_GATE = Blocks()
"""Nothing is in the way."""


def check_gate(refusal: RiskRefused | None) -> None:
    """Entries are let through. Like every check here, raises CheckFailed."""
    if refusal is not None:
        raise CheckFailed(refusal.code, refusal.message, refusal.retry_after_s)


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
        is_bare = trade.protection_failed and not is_bounded(trade)
        if (is_bare or is_stuck) and trade.exposure > ZERO:
            what = "can't be closed" if is_stuck else "is held without protection past its deadline"
            text = f"{trade.asset} {what}; no entry until that is settled"
            return RiskRefused(code=ErrorCode.NOT_READY, message=text)
    return None


def expected_price(plan: EntryPlan, quote: BookTicker) -> Decimal:
    """Where the entry would begin to fill: the best price on the other side."""
    return quote.ask_price if plan.side is TradeSide.LONG else quote.bid_price


def away_bps(price: Decimal, reference: Decimal) -> Decimal:
    """Distance between two prices."""
    return abs(price / reference - 1) * BPS


def check_deviation(plan: EntryPlan, quote: BookTicker, planned_price: Decimal, policy: RiskPolicy) -> None:
    """The entry would fill near the price at which it was planned, and near the mark price of the moment (C7, Z7)."""
    asset, expected = plan.wish.item.asset, expected_price(plan, quote)
    if expected <= ZERO:
        is_long = plan.side is TradeSide.LONG
        text = f"the order book of {asset} has no {'asks' if is_long else 'bids'}"
        raise CheckFailed(ErrorCode.PRICE_DEVIATION, text)
    for name, price in (("planned price", planned_price), ("mark price", plan.reference_price)):
        away = away_bps(expected, price)
        if away > policy.maximum_price_deviation_bps:
            text = (
                f"{asset} would fill at about {plain(expected)}, {away:.1f} bps from the {name} {plain(price)}; "
                f"the limit is {plain(policy.maximum_price_deviation_bps)} bps"
            )
            raise CheckFailed(ErrorCode.PRICE_DEVIATION, text)


def too_old(wish: EntryWish, policy: RiskPolicy, now: datetime) -> RiskRefused | None:
    """Why nothing may be begun for a decision any more, if it waited too long (scenario C9)."""
    try:
        check_age(wish, policy, now)
    except CheckFailed as refusal:
        return refusal.refused
    return None


def check_age(wish: EntryWish, policy: RiskPolicy, now: datetime) -> None:
    """The decision is fresh enough (scenario C7)."""
    age_s = (now - wish.decided_at).total_seconds()
    if age_s > policy.maximum_decision_age_s:
        raise CheckFailed(
            ErrorCode.STALE_DECISION,
            f"the decision is {age_s:.1f} s old, more than the {policy.maximum_decision_age_s:g} s allowed; "
            "send a fresh one",
        )


def check_listed(wish: EntryWish, market: MarketView | None) -> MarketView:
    """The exchange knows the asset."""
    asset = wish.item.asset
    if market is None:
        text = f"the exchange lists no perpetual future {asset}, or more than one; name its symbol, such as BTCUSDT"
        raise CheckFailed(ErrorCode.ASSET_UNKNOWN, text)
    return market


def check_trading(wish: EntryWish, market: MarketView) -> None:
    """The asset takes new positions (scenario H3)."""
    if not market.instrument.is_trading:
        text = f"{wish.item.asset} is {market.instrument.status} on the exchange; entries need TRADING"
        raise CheckFailed(ErrorCode.ASSET_NOT_TRADING, text)


def check_priced(wish: EntryWish, market: MarketView) -> None:
    """The asset has a price: one can be TRADING before it has."""
    if not market.has_price:
        text = f"the exchange shows no mark price of {wish.item.asset}, so nothing can be planned or protected"
        raise CheckFailed(ErrorCode.ASSET_NOT_TRADING, text)


def capped_leverage(wish: EntryWish, policy: RiskPolicy) -> int:
    """The leverage to set: as wished, the default, or the limit."""
    wanted = policy.default_leverage if wish.item.leverage is None else int(wish.item.leverage)
    return min(wanted, policy.maximum_leverage, HARD_MAXIMUM_LEVERAGE)


def check_leverage(wish: EntryWish, policy: RiskPolicy) -> None:
    """The leverage is within the limit, where too much of it is not lowered."""
    if wish.item.leverage is None or policy.leverage_policy is not LeveragePolicy.REJECT:
        return
    maximum = min(policy.maximum_leverage, HARD_MAXIMUM_LEVERAGE)
    if wish.item.leverage > maximum:
        text = f"leverage {int(wish.item.leverage)} is above the limit of {maximum}"
        raise CheckFailed(ErrorCode.LEVERAGE_EXCEEDED, text)


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
    if wish.item.sl_price is not None or wish.item.sl_percent is not None:
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


def check_distance(legs: Iterable[Leg], mark: Decimal, policy: RiskPolicy) -> None:
    """No exit is so far away that its price must be a mistake."""
    limit = policy.maximum_exit_distance_percent
    for leg in legs:
        price = _asked_price(leg)
        away = abs(price / mark - 1) * 100 if price is not None else ZERO
        if price is not None and away > limit:
            name, code = _FIELD[leg.role]
            text = (
                f"{name} {plain(price)} is {away:.1f} % from the mark price {plain(mark)}; at most {plain(limit)} % is "
                "allowed (TES_RISK_MAX_EXIT_DISTANCE_PERCENT). Was a percentage meant? It must be a price"
            )
            raise CheckFailed(code, text)


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
    asset, held = plan.wish.item.asset, held_beside(plan, exposure)
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
    needed, free = _places_needed(plan), exposure.exit_places
    if free is not None and needed > free:
        text = (
            f"{plan.wish.item.asset}: {needed} exits need a place among the exchange's conditional orders, and others "
            f"have left {max(free, 0)}; cancel some of those"
        )
        raise CheckFailed(ErrorCode.EXPOSURE_LIMIT, text)


def _places_needed(plan: EntryPlan) -> int:
    """How many conditional orders the exits of the whole position are, and what lies beside them when it grows.

    A stop of the new size comes before the old one goes, and a target gives its place to it meanwhile (P10). A trailing
    stop of the old size stays for longer (P15).
    """
    roles = [leg.role for leg in plan.exits if leg.order_type.is_conditional]
    stops = sum(role in STOPS for role in roles)
    has_stop = plan.onto is not None and any(leg.role in STOPS for leg in plan.onto.legs)
    if not stops or not (has_stop or plan.begun or len(plan.parts) > 1):
        return len(roles)
    return max(len(roles), stops + 1) + roles.count(OrderRole.TRAILING_STOP)


def held_beside(plan: EntryPlan, exposure: Exposure) -> dict[str, Decimal]:
    """Notional by asset of what will be held beside the entry; a position that is closed for it is gone."""
    gone = plan.wish.item.asset if plan.closes is not None else None
    return {name: value for name, value in exposure.notional_by_asset.items() if value and name != gone}


def notional_of(trades: Iterable[Trade], mark: MarkPrice | None, without: str | None = None) -> Decimal:
    """Value of what trades hold or have on its way at a mark price, but for one order, which has not left, and the
    parts behind it."""
    total = ZERO
    for trade in trades:
        order = trade.order(without) if without is not None else None
        quantity = trade.exposure + trade.entering_quantity
        if order is not None:
            quantity -= quantity_to_come(trade, order)
        total += quantity * (mark.mark_price if mark else trade.reference_price)
    return total


def loss_of_close(plan: EntryPlan) -> Decimal:
    """What the position that is closed for an entry would lose at the mark price, before fees; a gain counts as 0."""
    if plan.closes is None or plan.closes.entry_price is None:
        return ZERO
    gain = (plan.reference_price - plan.closes.entry_price) * plan.closes.side.sign * plan.closes.exposure
    return max(-gain, ZERO)


def check_daily_loss(exposure: Exposure, policy: RiskPolicy, now: datetime, closing: Decimal = ZERO) -> None:
    """What was lost since midnight UTC, and a close about to come, stay within the limit (a refusal, no halt)."""
    limit = policy.maximum_daily_loss
    if limit is None:
        return
    if exposure.realised_today is None:
        text = f"how much of the daily limit of {plain(limit)} is lost is not known: the exchange has not told it yet"
        raise CheckFailed(ErrorCode.NOT_READY, text, 1.0)
    if losses := exposure.realised_today.unvalued_losses:
        text = (
            f"what was lost in {', '.join(losses)} today can't be held against the limit of {plain(limit)}: "
            "the exchange tells no price of it"
        )
        raise CheckFailed(ErrorCode.DAILY_LOSS_LIMIT, text, round(until_tomorrow_s(now), 3))
    lost = closing - exposure.realised_today.dollars
    if lost >= limit:
        text = f"{plain(lost)} is lost today, the limit is {plain(limit)}; entries are taken again at midnight UTC"
        raise CheckFailed(ErrorCode.DAILY_LOSS_LIMIT, text, round(until_tomorrow_s(now), 3))
