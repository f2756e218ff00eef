"""A trade: a decision's whole life on one asset, from the plan to the last accounted fill.

Statuses and their moves are one literal table. What follows from the facts (which order to send, when to give up) is
decided in ``services.execution.transitions``; this module only holds the facts and what can be derived from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.domain.errors import ErrorCode, IllegalTransition, InvariantBroken
from app.domain.ids import OrderRole
from app.domain.money import ZERO, round_up_to_step
from app.domain.orders import Order, OrderState
from app.domain.reports import FillReport, OrderType, PositionSide, Side, WorkingType


class TradeSide(StrEnum):
    """Direction of the position."""

    LONG = "long"
    SHORT = "short"

    @property
    def entry_side(self) -> Side:
        """Direction of the entry order."""
        return Side.BUY if self is TradeSide.LONG else Side.SELL

    @property
    def exit_side(self) -> Side:
        """Direction of every exit order."""
        return self.entry_side.opposite

    @property
    def sign(self) -> int:
        """+1 for long, -1 for short: the sign of the position's quantity."""
        return 1 if self is TradeSide.LONG else -1


class TradeStatus(StrEnum):
    """Where a trade is (contract, section 6)."""

    PENDING = "pending"
    """Planned; nothing sent."""
    ENTERING = "entering"
    """The entry is sent, or its fate is unknown; nothing filled that we know of."""
    PROTECTING = "protecting"
    """Something is filled; not every requested exit is shown on the book."""
    OPEN = "open"
    """Filled, and every requested exit rests on the book."""
    CLOSING = "closing"
    """On the way out, or flat with something still to clean up or to account for."""
    CLOSED = "closed"
    REJECTED = "rejected"
    """Ended before anything was sent."""
    FAILED = "failed"
    """The entry was refused, or proven not to have been executed."""


class TradeTrigger(StrEnum):
    """What moves a trade from one status to the next."""

    SUBMIT = "submit"
    EXPOSED = "exposed"
    SECURED = "secured"
    LAID_BARE = "laid_bare"
    CLOSE = "close"
    SETTLED = "settled"
    ENTRY_REFUSED = "entry_refused"
    ENTRY_NOT_SENT = "entry_not_sent"


_S, _T = TradeStatus, TradeTrigger

TRADE_TABLE: dict[TradeStatus, dict[TradeTrigger, TradeStatus]] = {
    _S.PENDING: {
        _T.SUBMIT: _S.ENTERING,
        _T.ENTRY_NOT_SENT: _S.REJECTED,
        _T.EXPOSED: _S.PROTECTING,  # a crash fell between sending and recording
    },
    _S.ENTERING: {
        _T.EXPOSED: _S.PROTECTING,
        _T.ENTRY_REFUSED: _S.FAILED,
        _T.ENTRY_NOT_SENT: _S.REJECTED,
    },
    _S.PROTECTING: {
        _T.EXPOSED: _S.PROTECTING,
        _T.SECURED: _S.OPEN,
        _T.LAID_BARE: _S.PROTECTING,
        _T.CLOSE: _S.CLOSING,
    },
    _S.OPEN: {
        _T.EXPOSED: _S.OPEN,
        _T.SECURED: _S.OPEN,
        _T.LAID_BARE: _S.PROTECTING,  # a stop that disappeared is restored (P5)
        _T.CLOSE: _S.CLOSING,
    },
    _S.CLOSING: {
        _T.EXPOSED: _S.CLOSING,
        _T.CLOSE: _S.CLOSING,
        _T.SETTLED: _S.CLOSED,
        _T.ENTRY_REFUSED: _S.FAILED,  # the position that showed the entry turned out to be somebody else's (U11)
    },
    _S.CLOSED: {
        _T.EXPOSED: _S.CLOSING,  # a fill of ours turned up after the end: it is closed, never left (U10)
    },
    _S.REJECTED: {
        _T.EXPOSED: _S.PROTECTING,
    },
    _S.FAILED: {
        _T.EXPOSED: _S.PROTECTING,  # a fill that turns up after the entry was given up reopens the trade (U10)
    },
}

ENDED = frozenset({_S.CLOSED, _S.REJECTED, _S.FAILED})


def next_trade_status(status: TradeStatus, trigger: TradeTrigger) -> TradeStatus:
    """Look up the table.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    try:
        return TRADE_TABLE[status][trigger]
    except KeyError:
        raise IllegalTransition(f"a trade in status {status} can't take {trigger}") from None


class CloseReason(StrEnum):
    """Why a trade ended (contract, section 6)."""

    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    MANUAL = "manual"
    DECISION = "decision"
    EMERGENCY = "emergency"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    RECONCILED = "reconciled"
    HALT = "halt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A wished exit: take profit, stop loss or trailing stop.

    ``trigger_price`` is on the tick; ``limit_price`` only for order types that rest as limits. ``attempts`` counts
    placements towards the failure policy; resizing is not an attempt. ``retry_at`` is the earliest next placement.

    A trailing stop triggers ``callback_rate`` percent from the best price since it was active: at once, or from
    ``activation_price`` on. Its ``trigger_price`` is the planned one, should the market turn as soon as it is active.

    ``quantity_step`` is there once the exchange's step has become too coarse for what is held (scenario H8).
    """

    role: OrderRole
    order_type: OrderType
    trigger_price: Decimal
    limit_price: Decimal | None = None
    activation_price: Decimal | None = None
    callback_rate: Decimal | None = None
    working_type: WorkingType = WorkingType.MARK_PRICE
    attempts: int = 0
    retry_at: datetime | None = None
    quantity_step: Decimal | None = None

    def quantity_for(self, exposure: Decimal) -> Decimal:
        """What an order for all that is held asks for: rounded up, since it can't execute more than is held."""
        return exposure if self.quantity_step is None else round_up_to_step(exposure, self.quantity_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeError:
    """Why a trade did not go as wished; becomes ``error`` in the result."""

    code: ErrorCode
    message: str
    exchange_code: int | None = None
    retry_after_s: float | None = None


class AdjustmentKind(StrEnum):
    """What is changed."""

    ADD = "add"
    """A further entry, wished for by ``buy`` or ``sell``."""
    INCREASE = "increase"
    """A further entry, wished for by ``adjust_position``."""
    DECREASE = "decrease"
    """A part of the position is closed."""
    EXITS = "exits"
    """Take profit or stop loss are moved, added or dropped; the size stays."""
    FLIP = "flip"
    """The position is closed because the decision wants the other side."""
    CLOSE = "close"
    """The position is closed because the decision says so: this names the trade that it meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What a later decision changes in a trade, from its durable intent to its end.

    Each belongs to a decision of its own, which is answered from it; its order, where it has one, is an order of the
    trade (an entry of attempt n, or a reduction). ``reference_price`` is the mark price at that time; zero where a
    close was asked for while none was known. ``quantity`` is what was to be added or taken off, in base units;
    zero when only exits change. ``legs`` take the place of the trade's exits, ``drops`` are exits to give up: both once
    the order has executed something, at once where there is none; ``is_applied`` says that this is done. ``error`` is
    why it failed, or why an exit stayed as it was although the size has changed.
    """

    decision_id: str
    kind: AdjustmentKind
    received_at: datetime
    asked_at: datetime
    reference_price: Decimal
    quantity: Decimal = ZERO
    leverage: int | None = None
    requested_leverage: int | None = None
    client_order_id: str | None = None
    legs: tuple[Leg, ...] = ()
    drops: tuple[OrderRole, ...] = ()
    is_applied: bool = False
    sent_at: datetime | None = None
    filled_at: datetime | None = None
    ended_at: datetime | None = None
    error: TradeError | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it is still at work."""
        return self.ended_at is None

    @property
    def closes(self) -> bool:
        """Whether the whole position goes: it is closed once this is on record."""
        if self.kind is AdjustmentKind.DECREASE:
            return self.client_order_id is None
        return self.kind in (AdjustmentKind.CLOSE, AdjustmentKind.FLIP)

    @property
    def roles(self) -> frozenset[OrderRole]:
        """Exits that it touches."""
        return frozenset(leg.role for leg in self.legs) | frozenset(self.drops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """All facts of one trade. Quantities in base units, prices and money in quote units.

    ``deadline_at`` is when an exposure that is not fully protected must be given up. ``externally_reduced`` is what
    somebody else (the account's owner, a liquidation) took off the position. ``funding`` is what we received (negative:
    paid); once the trade is over it is looked for ``funding_looks`` times more. ``is_accounted`` once every execution's
    fee and PnL came from the exchange (scenario H5). ``overshoot`` is what plain closes of ours executed beyond the
    position, and so opened on the other side.
    """

    id: str
    account_id: str
    decision_id: str
    asset: str
    side: TradeSide
    quantity: Decimal
    leverage: int
    requested_leverage: int | None
    reference_price: Decimal
    received_at: datetime
    created_at: datetime
    position_side: PositionSide = PositionSide.BOTH
    status: TradeStatus = TradeStatus.PENDING
    legs: tuple[Leg, ...] = ()
    orders: tuple[Order, ...] = ()
    fills: tuple[FillReport, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    externally_reduced: Decimal = ZERO
    entry_sent_at: datetime | None = None
    first_fill_at: datetime | None = None
    filled_at: datetime | None = None
    protected_at: datetime | None = None
    closed_at: datetime | None = None
    deadline_at: datetime | None = None
    close_reason: CloseReason | None = None
    close_attempts: int = 0
    close_retry_at: datetime | None = None
    protection_failed: bool = False
    is_accounted: bool = False
    overshoot: Decimal = ZERO
    funding: Decimal = ZERO
    funding_looks: int = 0
    error: TradeError | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    """``exit_plan``, ``rationale``, ``confidence``, ``risk_level`` as they came with the decision."""

    # --- orders ---------------------------------------------------------------------------------------------------

    @property
    def entry(self) -> Order:
        """The order that opens the position; later ones, which add to it, are among :attr:`entries`."""
        for order in self.orders:
            if order.key.role is OrderRole.ENTRY:
                return order
        raise InvariantBroken(f"trade {self.id} has no entry")

    @property
    def entries(self) -> tuple[Order, ...]:
        """Every order that opens the position or adds to it, oldest first."""
        return self.orders_of(OrderRole.ENTRY)

    def order(self, client_order_id: str) -> Order | None:
        """The order with that id, if it is one of this trade."""
        for order in self.orders:
            if order.request.client_order_id == client_order_id:
                return order
        return None

    def order_of(self, adjustment: Adjustment) -> Order | None:
        """The order that changes the size for an adjustment, where there is one: the first of its :mod:`.parts`."""
        return self.order(adjustment.client_order_id) if adjustment.client_order_id is not None else None

    def orders_of(self, role: OrderRole) -> tuple[Order, ...]:
        """Orders of one role, oldest attempt first."""
        found = [order for order in self.orders if order.role is role]
        return tuple(sorted(found, key=lambda order: order.key.attempt))  # one may have been found later than its next

    def latest(self, role: OrderRole) -> Order | None:
        """The newest attempt of a role."""
        orders = self.orders_of(role)
        return orders[-1] if orders else None

    def leg(self, role: OrderRole) -> Leg | None:
        """The wished exit of that role, if one was wished."""
        return next((leg for leg in self.legs if leg.role is role), None)

    def with_order(self, order: Order) -> Trade:
        """The trade with ``order`` put in the place of the one with its id, or appended."""
        if self.order(order.client_order_id) is None:
            return replace(self, orders=(*self.orders, order))
        swapped = tuple(order if old.client_order_id == order.client_order_id else old for old in self.orders)
        return replace(self, orders=swapped)

    def with_leg(self, leg: Leg) -> Trade:
        """The trade with ``leg`` put in the place of the one with its role."""
        return replace(self, legs=tuple(leg if old.role is leg.role else old for old in self.legs))

    def with_adjustment(self, adjustment: Adjustment) -> Trade:
        """The trade with ``adjustment`` put in the place of the one of its decision, or appended."""
        others = self.adjustments
        if all(old.decision_id != adjustment.decision_id for old in others):
            return replace(self, adjustments=(*others, adjustment))
        swapped = (adjustment if old.decision_id == adjustment.decision_id else old for old in others)
        return replace(self, adjustments=tuple(swapped))

    def after(self, trigger: TradeTrigger) -> Trade:
        """The trade after ``trigger``.

        Raises:
            IllegalTransition: see :data:`TRADE_TABLE`.
        """
        status = next_trade_status(self.status, trigger)
        return self if status is self.status else replace(self, status=status)

    # --- what follows from the facts ------------------------------------------------------------------------------

    @property
    def is_ended(self) -> bool:
        """Whether the trade is over: closed, rejected or failed."""
        return self.status in ENDED

    def executed(self, order: Order) -> Decimal:
        """What is known to be executed of ``order``: the larger of its cumulative report and the fills seen."""
        filled = ZERO
        for fill in self.fills:
            if fill.order_id == order.exchange_order_id:
                filled += fill.quantity
        return max(order.executed_quantity, filled)

    @property
    def is_leaving(self) -> bool:
        """Whether it is to be closed, for whatever reason; nothing may be added to it any more."""
        closes = (one for one in self.adjustments if one.kind is AdjustmentKind.CLOSE)
        return self.close_reason is not None or any(one.is_pending for one in closes)

    @property
    def entered_quantity(self) -> Decimal:
        """Executed quantity of all entries, and of what was taken back of closes that went too far."""
        return sum((self.executed(order) for order in self.entries), start=ZERO) + self.taken_back

    @property
    def taken_back(self) -> Decimal:
        """How much of the overshoot has been taken back."""
        return sum((self.executed(order) for order in self.orders_of(OrderRole.TAKE_BACK)), start=ZERO)

    @property
    def exited_quantity(self) -> Decimal:
        """Executed quantity of all exits, others' included."""
        ours = sum((self.executed(order) for order in self.orders if order.role.is_exit), start=ZERO)
        return ours + self.externally_reduced

    @property
    def exposure(self) -> Decimal:
        """What is still held because of this trade, never negative."""
        return max(self.entered_quantity - self.exited_quantity, ZERO)

    @property
    def entering_quantity(self) -> Decimal:
        """What entries may still add: counted as held, until they are final."""
        return sum((order.quantity - self.executed(order) for order in self.entries if not order.is_final), start=ZERO)

    @property
    def last_entry_at(self) -> datetime | None:
        """When an entry was last sent that may have been, or was, executed (for the cooldown)."""
        sent = (
            order.submitted_at
            for order in self.entries
            if order.submitted_at is not None and (not order.is_final or self.executed(order))
        )
        return max(sent, default=None)

    @property
    def has_unknown_order(self) -> bool:
        """Whether the fate of any placement is unknown; then no entry on the asset may be sent."""
        return any(order.state in (OrderState.UNKNOWN, OrderState.RESUBMITTING) for order in self.orders)

    @property
    def transmissions(self) -> int:
        """How often orders of this trade were sent."""
        return sum(order.transmissions for order in self.orders)

    def fills_of(self, order: Order) -> tuple[FillReport, ...]:
        """The executions seen of one order."""
        return tuple(fill for fill in self.fills if fill.order_id == order.exchange_order_id)

    @property
    def is_every_fill_known(self) -> bool:
        """Whether each executed quantity is explained by executions, price and fee included."""
        return all(
            sum((fill.quantity for fill in self.fills_of(order)), start=ZERO) == self.executed(order)
            for order in self.orders
        )

    @property
    def exit_fills(self) -> tuple[FillReport, ...]:
        """Every execution that reduced the position, ours or not."""
        entry_ids = {order.exchange_order_id for order in self.orders if not order.role.is_exit}
        return tuple(fill for fill in self.fills if fill.order_id not in entry_ids)

    @property
    def entry_price(self) -> Decimal | None:
        """Volume-weighted price of all entries; None until it is known of each."""
        return self.price_of_all(self.entries)

    def price_of_all(self, orders: tuple[Order, ...]) -> Decimal | None:
        """Volume-weighted price of several orders; None until it is known of each that executed anything."""
        executed = [(self.price_of(order), quantity) for order in orders if (quantity := self.executed(order))]
        if len(executed) <= 1:
            return executed[0][0] if executed else None
        parts = [(price * quantity, quantity) for price, quantity in executed if price is not None]
        if len(parts) < len(executed):
            return None
        return sum((value for value, _ in parts), start=ZERO) / sum((quantity for _, quantity in parts), start=ZERO)

    def price_of(self, order: Order) -> Decimal | None:
        """Average price of one order, from its fills where all are known, else the exchange's average."""
        executed = self.executed(order)
        if not executed:
            return None
        fills = self.fills_of(order)
        if fills and sum((fill.quantity for fill in fills), start=ZERO) == executed:
            return average_price(fills)
        return order.average_price or None

    @property
    def exit_price(self) -> Decimal | None:
        """Volume-weighted price of everything that reduced the position."""
        return average_price(self.exit_fills) if self.exit_fills else None

    @property
    def realised_pnl(self) -> Decimal:
        """Sum of the exchange's realised PnL over all fills, before commission and funding."""
        return sum((fill.realised_pnl for fill in self.fills), start=ZERO)


def average_price(fills: tuple[FillReport, ...]) -> Decimal:
    """Volume-weighted average of at least one fill."""
    quantity = sum((fill.quantity for fill in fills), start=ZERO)
    value = sum((fill.quantity * fill.price for fill in fills), start=ZERO)
    return value / quantity
