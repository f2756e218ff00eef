"""Planning: from an asset's decision, its instrument and the mark price to exact numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.ids import ClientOrderId, OrderRole
from app.domain.instruments import Instrument
from app.domain.money import BPS
from app.domain.orders import Order
from app.domain.policy import AccountPolicy, AllocationBasis, ProtectionPolicy
from app.domain.reports import MarkPrice, OrderRequest, OrderType, PositionSide, Side, WorkingType
from app.domain.trades import Leg, Trade, TradeSide
from app.schemas.decision import Action, AssetDecision
from app.services.execution.protection import exit_request


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryWish:
    """An asset's decision on its way in. ``decided_at`` is when the engine made it."""

    decision_id: str
    item: AssetDecision
    decided_at: datetime
    received_at: datetime

    @property
    def side(self) -> TradeSide:
        """Direction of the position that is wished for."""
        return TradeSide.LONG if self.item.action is Action.BUY else TradeSide.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """What planning needs to know of the market at one moment."""

    instrument: Instrument
    mark: MarkPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """Exact numbers of an entry. Not approved yet: only :class:`~.risk.RiskApproved` can be sent."""

    wish: EntryWish
    leverage: int
    requested_leverage: int | None
    quantity: Decimal
    notional: Decimal
    reference_price: Decimal
    legs: tuple[Leg, ...]


def plan_entry(wish: EntryWish, market: MarketView, leverage: int, policy: AccountPolicy) -> EntryPlan:
    """Size the entry from its allocation at the mark price, rounded down, and put TP and SL on the tick.

    ``allocation_usd`` is the notional, or the margin where the policy says so (then notional = allocation x leverage).
    """
    item = wish.item
    allocation = item.allocation_usd or Decimal(0)
    if policy.risk.allocation_basis is AllocationBasis.MARGIN:
        allocation *= leverage
    price = market.mark.mark_price
    quantity = market.instrument.market_quantity_within(allocation, price)
    return EntryPlan(
        wish=wish,
        leverage=leverage,
        requested_leverage=int(item.leverage) if item.leverage is not None else None,
        quantity=quantity,
        notional=quantity * price,
        reference_price=price,
        legs=(
            *plan_legs(wish.side, item, market.instrument, policy.protection),
            *plan_trailing_leg(wish.side, item, price, market.instrument, policy.protection),
        ),
    )


def plan_legs(
    side: TradeSide, item: AssetDecision, instrument: Instrument, policy: ProtectionPolicy
) -> tuple[Leg, ...]:
    """The wished exits, stop loss first."""
    wishes = (
        (OrderRole.STOP_LOSS, policy.stop_loss_type, item.sl_price),
        (OrderRole.TAKE_PROFIT, policy.take_profit_type, item.tp_price),
    )
    return tuple(
        plan_leg(role, order_type, price, side.exit_side, instrument, policy)
        for role, order_type, price in wishes
        if price is not None
    )


def plan_leg(
    role: OrderRole,
    order_type: OrderType,
    price: Decimal,
    exit_side: Side,
    instrument: Instrument,
    policy: ProtectionPolicy,
) -> Leg:
    """One exit on the tick. A limit rests at the price itself, or beyond the trigger by the configured offset."""
    trigger = instrument.price_at_nearest_tick(price)
    limit: Decimal | None = None
    working_type: WorkingType = policy.working_type
    if order_type is OrderType.LIMIT:
        limit = trigger
    elif order_type in (OrderType.STOP, OrderType.TAKE_PROFIT):
        offset = policy.limit_offset_bps / BPS
        factor = 1 - offset if exit_side is Side.SELL else 1 + offset
        limit = instrument.price_at_nearest_tick(trigger * factor)
    return Leg(role=role, order_type=order_type, trigger_price=trigger, limit_price=limit, working_type=working_type)


def plan_trailing_leg(
    side: TradeSide, item: AssetDecision, price: Decimal, instrument: Instrument, policy: ProtectionPolicy
) -> tuple[Leg, ...]:
    """The wished trailing stop, or nothing; ``price`` is the mark price from which it would follow at once."""
    wish = item.trailing_stop
    if wish is None:
        return ()
    activation = instrument.price_at_nearest_tick(wish.activation_price) if wish.activation_price else None
    turn = (activation or price) * (1 - side.sign * wish.callback_rate / 100)
    return (
        Leg(
            role=OrderRole.TRAILING_STOP,
            order_type=OrderType.TRAILING_STOP_MARKET,
            trigger_price=instrument.price_at_nearest_tick(turn),
            activation_price=activation,
            callback_rate=wish.callback_rate,
            working_type=policy.working_type,
        ),
    )


def new_trade(plan: EntryPlan, *, trade_id: str, account_id: str, position_side: PositionSide, now: datetime) -> Trade:
    """The planned trade with all its order intents; nothing is sent yet."""
    side = plan.wish.side
    entry_key = ClientOrderId(trade_id, OrderRole.ENTRY, 1)
    entry = Order(
        key=entry_key,
        request=OrderRequest(
            symbol=plan.wish.item.asset,
            side=side.entry_side,
            type=OrderType.MARKET,
            client_order_id=str(entry_key),
            quantity=plan.quantity,
            position_side=position_side,
        ),
    )
    trade = Trade(
        id=trade_id,
        account_id=account_id,
        decision_id=plan.wish.decision_id,
        asset=plan.wish.item.asset,
        side=side,
        position_side=position_side,
        quantity=plan.quantity,
        leverage=plan.leverage,
        requested_leverage=plan.requested_leverage,
        reference_price=plan.reference_price,
        received_at=plan.wish.received_at,
        created_at=now,
        legs=plan.legs,
        orders=(entry,),
        context=_context(plan.wish.item),
    )
    for leg in plan.legs:
        key = ClientOrderId(trade_id, leg.role, 1)
        order = Order(key=key, request=exit_request(trade, leg, key, plan.quantity))
        trade = trade.with_order(order)
    return trade


def _context(item: AssetDecision) -> dict[str, Any]:
    kept = item.model_dump(mode="json", include={"exit_plan", "rationale", "confidence", "risk_level"})
    return {name: value for name, value in kept.items() if value is not None}


def position_side_for(side: TradeSide, *, is_hedge_mode: bool) -> PositionSide:
    """``BOTH`` on one-way accounts, else the side of the position."""
    if not is_hedge_mode:
        return PositionSide.BOTH
    return PositionSide.LONG if side is TradeSide.LONG else PositionSide.SHORT
