"""Risk of changes to a position: the rules that entries do not have. Pure; their order is in :mod:`.checks`.

What only takes risk away (a decrease, moved exits) is not held up by leverage, cooldown, exposure or the daily loss.
"""

from __future__ import annotations

from decimal import Decimal

from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import ZERO, plain
from app.domain.policy import RiskPolicy
from app.domain.trades import Trade
from app.services.execution.means import stop_from_the_start
from app.services.execution.planning import AdjustmentPlan, EntryWish, MarketView
from app.services.execution.risk import CheckFailed, Exposure, asked_size, check_expected


def check_present(wish: EntryWish, exposure: Exposure) -> Trade:
    """There is a position of ours to change, and it is the expected one. Like every check, raises CheckFailed."""
    check_expected(wish, exposure)
    if exposure.trade is not None and wish.means(exposure.trade):
        return exposure.trade
    if exposure.trade is not None:
        text = f"the position on {wish.item.asset} that the decision was for is gone; the one there is newer"
        raise CheckFailed(ErrorCode.POSITION_ABSENT, text)
    text = f"the service holds no position on {wish.item.asset} that could be changed; positions of others never are"
    raise CheckFailed(ErrorCode.POSITION_ABSENT, text)


def check_closable(wish: EntryWish, exposure: Exposure) -> None:
    """There is something of ours to close."""
    if not exposure.is_closable:
        text = f"the service holds no position on {wish.item.asset}; positions of others are never touched"
        raise CheckFailed(ErrorCode.POSITION_ABSENT, text)


def check_stop_kept(plan: AdjustmentPlan, policy: RiskPolicy) -> None:
    """An account that requires stops keeps them, and adds nothing to a position without one."""
    if not policy.require_stop_loss:
        return
    if OrderRole.STOP_LOSS in plan.drops:
        text = "cancel_sl would leave the position without a stop loss, which this account requires"
        raise CheckFailed(ErrorCode.STOP_LOSS_REQUIRED, text)
    if plan.entry is not None and stop_from_the_start(plan.entry) is None:
        text = "the position has no stop loss, which this account requires before it adds; give new_sl_price"
        raise CheckFailed(ErrorCode.STOP_LOSS_REQUIRED, text)


def check_reduction(plan: AdjustmentPlan, market: MarketView) -> None:
    """The part is one that the exchange takes; what only reduces has no minimum notional."""
    instrument = market.instrument
    if plan.quantity < instrument.market_minimum or plan.quantity <= ZERO:
        text = (
            f"{asked_size(plan.wish)} is {plain(plan.quantity)} {instrument.base_asset} of the "
            f"{plain(plan.trade.exposure)} held, below the minimum order of {plain(instrument.market_minimum)}"
        )
        raise CheckFailed(ErrorCode.QUANTITY_BELOW_MINIMUM, text)


def check_stop_in_time(plan: AdjustmentPlan, liquidation: Decimal | None) -> None:
    """A stop beyond the liquidation price is no stop (scenario P6)."""
    stop = next((leg.trigger_price for leg in plan.legs if leg.role is OrderRole.STOP_LOSS), None)
    if stop is None or not liquidation or (stop - liquidation) * plan.trade.side.sign > ZERO:
        return
    text = f"new_sl_price {plain(stop)} is beyond the liquidation price {plain(liquidation)}; move it closer"
    raise CheckFailed(ErrorCode.STOP_LOSS_INVALID, text)
