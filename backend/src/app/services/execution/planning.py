"""Planning: from an asset's decision, its instrument and the mark price to exact numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.ids import ClientOrderId, OrderRole
from app.domain.instruments import Instrument
from app.domain.money import BPS, ZERO, divide_down, round_down_to_step
from app.domain.orders import Order
from app.domain.parts import leaving_quantity
from app.domain.policy import AccountPolicy, AllocationBasis, ProtectionPolicy
from app.domain.reports import MarkPrice, OrderRequest, OrderType, PositionSide, Side, WorkingType
from app.domain.trades import AdjustmentKind, Leg, Trade, TradeSide
from app.schemas.blocks import AdjustmentType
from app.schemas.decision import Action, AssetDecision
from app.services.execution.protection import exit_request
from app.services.execution.slices import cut

FLIPPED = "flipped_trade_id"
"""In a trade's context: the trade that was closed to make room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryWish:
    """An asset's decision on its way in. ``decided_at`` is when the engine made it.

    ``flipped`` is the trade that was closed to make room for it, once it was, and ``planned_price`` the mark price at
    which that was decided. ``source`` is the engine that decided.
    ``meant`` names what was there when it was received, trades and the decisions of entries on their way: it closes
    and changes nothing else (scenario C9); None where that does not matter.
    """

    decision_id: str
    item: AssetDecision
    decided_at: datetime
    received_at: datetime
    flipped: str | None = None
    planned_price: Decimal | None = None
    source: str | None = None
    meant: frozenset[str] | None = None

    def means(self, trade: Trade) -> bool:
        """Whether the decision may be about this trade."""
        return self.meant is None or not self.meant.isdisjoint((trade.id, trade.decision_id))

    @property
    def side(self) -> TradeSide:
        """Direction of the position that is wished for."""
        return TradeSide.LONG if self.item.action is Action.BUY else TradeSide.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """What planning needs to know of the market at one moment."""

    instrument: Instrument
    mark: MarkPrice

    @property
    def has_price(self) -> bool:
        """Whether the exchange shows a mark price; 0 is none."""
        return self.mark.mark_price > ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """Exact numbers of an entry. Not approved yet: only :class:`~.risk.RiskApproved` can be sent.

    ``onto`` is the trade that it adds to; ``closes`` the one on the other side that must be closed first. ``begun`` is
    what earlier parts of the same entry have executed (scenario O7): ``quantity`` is the rest.
    """

    wish: EntryWish
    side: TradeSide
    leverage: int
    requested_leverage: int | None
    quantity: Decimal
    notional: Decimal
    reference_price: Decimal
    legs: tuple[Leg, ...]
    onto: Trade | None = None
    closes: Trade | None = None
    begun: Decimal = ZERO
    instrument: Instrument | None = None

    @property
    def parts(self) -> tuple[Decimal, ...]:
        """The quantity as the exchange takes it: in one market order, or in several (scenario O7)."""
        return cut(self.quantity, self.instrument, self.reference_price)

    @property
    def position_quantity(self) -> Decimal:
        """What will be held once it is filled."""
        return self.quantity + (self.onto.exposure if self.onto else ZERO)

    @property
    def position_notional(self) -> Decimal:
        """Value of that at the mark price of the plan."""
        return self.position_quantity * self.reference_price

    @property
    def planned_price(self) -> Decimal:
        """The mark price at which the decision was planned first; a flip was before its close."""
        return self.wish.planned_price or self.reference_price

    def at_most(self, quantity: Decimal) -> EntryPlan:
        """The plan with no more than ``quantity``."""
        return self if self.quantity <= quantity else self.of_size(quantity)

    def of_size(self, quantity: Decimal) -> EntryPlan:
        """The plan with exactly ``quantity``."""
        return replace(self, quantity=quantity, notional=quantity * self.reference_price)

    def after(self, begun: Decimal) -> EntryPlan:
        """What is left of the plan when ``begun`` of it has been executed."""
        return replace(self.of_size(max(self.quantity - begun, ZERO)), begun=begun) if begun else self

    @property
    def exits(self) -> tuple[Leg, ...]:
        """What will protect the whole position: the wished exits, and those that it has beside them."""
        wished = {leg.role for leg in self.legs}
        kept = self.onto.legs if self.onto is not None else ()
        return (*self.legs, *(leg for leg in kept if leg.role not in wished))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentPlan:
    """Exact numbers of a change to a trade. Not approved yet: only :class:`~.risk.AdjustmentApproved` can be done.

    ``quantity`` is what is added or taken off, in base units. ``legs`` replace the trade's exits of their role, exits
    in ``drops`` go. ``entry`` is there when exposure is added.
    """

    wish: EntryWish
    trade: Trade
    kind: AdjustmentKind
    reference_price: Decimal
    quantity: Decimal = ZERO
    legs: tuple[Leg, ...] = ()
    drops: tuple[OrderRole, ...] = ()
    entry: EntryPlan | None = None


def plan_entry(
    wish: EntryWish, market: MarketView, leverage: int, policy: AccountPolicy, onto: Trade | None = None
) -> EntryPlan:
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
        side=wish.side,
        leverage=leverage,
        requested_leverage=int(item.leverage) if item.leverage is not None else None,
        quantity=quantity,
        notional=quantity * price,
        reference_price=price,
        legs=(
            *plan_legs(wish.side, *_exit_prices(item, wish.side, price), market.instrument, policy.protection),
            *plan_trailing_leg(wish.side, item, price, market.instrument, policy.protection),
        ),
        onto=onto,
        instrument=market.instrument,
    )


def _exit_prices(item: AssetDecision, side: TradeSide, mark: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """Stop and target of an entry; a percentage is the distance from the mark price at which it is planned."""
    stop, target = item.sl_price, item.tp_price
    if item.sl_percent is not None:
        stop = mark * (1 - side.sign * item.sl_percent / 100)
    if item.tp_percent is not None:
        target = mark * (1 + side.sign * item.tp_percent / 100)
    return stop, target


def plan_adjustment(
    wish: EntryWish, trade: Trade, leverage: int, market: MarketView, policy: AccountPolicy
) -> AdjustmentPlan:
    """What ``adjust_position`` or ``adjust_orders`` means for ``trade`` at this mark price (contract, section 9)."""
    item, price = wish.item, market.mark.mark_price
    orders, position = item.order_adjustment, item.position_adjustment
    drops: tuple[OrderRole, ...] = ()
    if item.action is Action.ADJUST_ORDERS and orders is not None:
        wanted = ((orders.cancel_sl, OrderRole.STOP_LOSS), (orders.cancel_tp, OrderRole.TAKE_PROFIT))
        drops = tuple(role for is_wanted, role in wanted if is_wanted)
        stop, target = orders.moved_stop, orders.moved_target
    else:
        stop, target = (position.moved_stop, position.moved_target) if position else (None, None)
    plan = AdjustmentPlan(
        wish=wish,
        trade=trade,
        kind=adjustment_kind(item),
        reference_price=price,
        quantity=_adjusted_quantity(item, trade, market),
        legs=plan_legs(trade.side, stop, target, market.instrument, policy.protection),
        drops=drops,
    )
    if plan.kind is not AdjustmentKind.INCREASE:
        return plan
    entry = EntryPlan(
        wish=wish,
        side=trade.side,
        leverage=leverage,
        requested_leverage=int(item.leverage) if item.leverage is not None else None,
        quantity=plan.quantity,
        notional=plan.quantity * price,
        reference_price=price,
        legs=plan.legs,
        onto=trade,
        instrument=market.instrument,
    )
    return replace(plan, entry=entry)


def adjustment_kind(item: AssetDecision) -> AdjustmentKind:
    """Whether an adjustment adds, takes off, or only moves the exits."""
    change = item.position_adjustment
    if item.action is not Action.ADJUST_POSITION or change is None or not change.has_size:
        return AdjustmentKind.EXITS
    is_increase = change.adjustment_type is AdjustmentType.INCREASE
    return AdjustmentKind.INCREASE if is_increase else AdjustmentKind.DECREASE


def needs_price(item: AssetDecision) -> bool:
    """Whether a decision can't be planned without a mark price."""
    if item.action is Action.CLOSE_POSITION:
        return False
    orders, change = item.order_adjustment, item.position_adjustment
    if item.action is Action.ADJUST_ORDERS and orders is not None:
        return orders.moved_stop is not None or orders.moved_target is not None
    if adjustment_kind(item) is AdjustmentKind.DECREASE and change is not None:
        has_exits = change.new_sl_price is not None or change.new_tp_price is not None
        return change.adjustment_percentage is None or has_exits
    return True


def moves_stop(item: AssetDecision) -> bool:
    """Whether a change to a position wishes another stop."""
    change = item.position_adjustment or item.order_adjustment
    return change is not None and change.moved_stop is not None


def _adjusted_quantity(item: AssetDecision, trade: Trade, market: MarketView) -> Decimal:
    """Percentages are of what is held, and win over amounts; rounded down, a decrease to what is held at the most.

    What other decreases may still take off, though nobody knows whether they do, counts as gone: a second one must not
    sell more than is ours (O9).
    """
    change = item.position_adjustment
    kind = adjustment_kind(item)
    if change is None or kind is AdjustmentKind.EXITS:
        return ZERO
    left = trade.exposure
    if kind is AdjustmentKind.DECREASE:
        left = max(left - leaving_quantity(trade), ZERO)
    if change.adjustment_percentage is not None:
        wanted = left * change.adjustment_percentage / 100
    else:
        wanted = divide_down(change.adjustment_amount_usd or ZERO, market.mark.mark_price)
    if kind is AdjustmentKind.DECREASE and wanted >= left > ZERO:
        return trade.exposure
    return round_down_to_step(wanted, market.instrument.market_step)


def plan_legs(
    side: TradeSide, stop: Decimal | None, target: Decimal | None, instrument: Instrument, policy: ProtectionPolicy
) -> tuple[Leg, ...]:
    """The wished exits, stop loss first."""
    wishes = (
        (OrderRole.STOP_LOSS, policy.stop_loss_type, stop),
        (OrderRole.TAKE_PROFIT, policy.take_profit_type, target),
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
    side = plan.side
    entries = entry_orders(plan, ClientOrderId(trade_id, OrderRole.ENTRY, 1), position_side)
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
        orders=entries,
        context=_context(plan.wish),
    )
    for leg in plan.legs:
        key = ClientOrderId(trade_id, leg.role, 1)
        order = Order(key=key, request=exit_request(trade, leg, key, plan.quantity))
        trade = trade.with_order(order)
    return trade


def entry_orders(plan: EntryPlan, key: ClientOrderId, position_side: PositionSide) -> tuple[Order, ...]:
    """The market orders that open the position, or add to it: ``key`` is that of the first."""
    keys = (ClientOrderId(key.trade_id, key.role, key.attempt + number) for number in range(len(plan.parts)))
    return tuple(
        Order(
            key=one,
            request=OrderRequest(
                symbol=plan.wish.item.asset,
                side=plan.side.entry_side,
                type=OrderType.MARKET,
                client_order_id=str(one),
                quantity=quantity,
                position_side=position_side,
            ),
        )
        for one, quantity in zip(keys, plan.parts, strict=True)
    )


def _context(wish: EntryWish) -> dict[str, Any]:
    kept = wish.item.model_dump(mode="json", include={"exit_plan", "rationale", "confidence", "risk_level"})
    return {
        name: value
        for name, value in {**kept, "source": wish.source, FLIPPED: wish.flipped}.items()
        if value is not None
    }


def position_side_for(side: TradeSide, *, is_hedge_mode: bool) -> PositionSide:
    """``BOTH`` on one-way accounts, else the side of the position."""
    if not is_hedge_mode:
        return PositionSide.BOTH
    return PositionSide.LONG if side is TradeSide.LONG else PositionSide.SHORT
