"""The life of one order: a value, and one literal table of what may happen to it.

The table is the whole truth about states. A pair that it does not have raises :class:`IllegalTransition`; odd rows
carry their reason. Facts come from three sources that overtake each other (the reply, the stream, a query), so late
news about a finished order must be harmless: such rows lead to the state they start from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import IllegalTransition, Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO
from app.domain.reports import ExchangeOrderStatus, OrderReport, OrderRequest, PositionSide, RequestStamp


class OrderState(StrEnum):
    """Where an order is. The exchange's spelling where the exchange has a word for it."""

    PLANNED = "PLANNED"
    """Recorded, not sent."""
    SUBMITTING = "SUBMITTING"
    """Sent for the first time; no answer yet."""
    RESUBMITTING = "RESUBMITTING"
    """Sent again under the same id while the fate of an earlier transmission is unknown (exits only)."""
    UNKNOWN = "UNKNOWN"
    """Sent; nobody knows what became of it. Only evidence leads out of here."""
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELING = "CANCELING"
    """On the book; we asked for its cancellation."""
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    """The exchange refused it."""
    EXPIRED = "EXPIRED"
    NOT_PLACED = "NOT_PLACED"
    """Proven never to have reached the book: nothing was sent, or it is absent after the fence."""


class OrderTrigger(StrEnum):
    """What can happen to an order."""

    SUBMIT = "submit"
    RESUBMIT = "resubmit"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    LOST = "lost"
    IN_POSITION = "in_position"
    """The position shows something that only this entry explains (scenario U11)."""
    ABSENT = "absent"
    PART_FILLED = "part_filled"
    ALL_FILLED = "all_filled"
    CANCEL_SENT = "cancel_sent"
    CANCEL_FAILED = "cancel_failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


_S, _T = OrderState, OrderTrigger

_SEEN: dict[OrderTrigger, OrderState] = {
    # the exchange shows the order: true wherever we come from
    _T.ACCEPTED: _S.NEW,
    _T.PART_FILLED: _S.PARTIALLY_FILLED,
    _T.ALL_FILLED: _S.FILLED,
    _T.CANCELED: _S.CANCELED,
    _T.EXPIRED: _S.EXPIRED,
    _T.REJECTED: _S.REJECTED,
}

ORDER_TABLE: dict[OrderState, dict[OrderTrigger, OrderState]] = {
    _S.PLANNED: {
        **_SEEN,  # found on the exchange after a crash between sending and recording
        _T.SUBMIT: _S.SUBMITTING,
        _T.LOST: _S.UNKNOWN,  # after a restart nobody knows whether it was sent
        _T.ABSENT: _S.NOT_PLACED,
        _T.NOT_SENT: _S.NOT_PLACED,
    },
    _S.SUBMITTING: {
        **_SEEN,
        _T.REFUSED: _S.REJECTED,
        _T.NOT_SENT: _S.NOT_PLACED,
        _T.LOST: _S.UNKNOWN,
    },
    _S.RESUBMITTING: {
        **_SEEN,
        _T.REFUSED: _S.UNKNOWN,  # the refusal speaks of this transmission; the earlier one may still land
        _T.NOT_SENT: _S.UNKNOWN,
        _T.LOST: _S.UNKNOWN,
        _T.ABSENT: _S.RESUBMITTING,  # asked before this transmission could arrive
    },
    _S.UNKNOWN: {
        **_SEEN,
        _T.RESUBMIT: _S.RESUBMITTING,
        _T.LOST: _S.UNKNOWN,
        _T.IN_POSITION: _S.UNKNOWN,  # how much came in is known then; the order itself is still to be shown
        _T.ABSENT: _S.NOT_PLACED,
    },
    _S.NEW: {
        **_SEEN,
        _T.LOST: _S.NEW,  # the stream was faster than the reply that never came
        _T.ABSENT: _S.CANCELED,  # unfilled orders vanish from queries when they are gone for long (U8)
        _T.CANCEL_SENT: _S.CANCELING,
        _T.CANCEL_FAILED: _S.NEW,
    },
    _S.PARTIALLY_FILLED: {
        **_SEEN,
        _T.ACCEPTED: _S.PARTIALLY_FILLED,  # late
        _T.LOST: _S.PARTIALLY_FILLED,
        _T.ABSENT: _S.CANCELED,
        _T.CANCEL_SENT: _S.CANCELING,
        _T.CANCEL_FAILED: _S.PARTIALLY_FILLED,
    },
    _S.CANCELING: {
        **_SEEN,
        _T.ACCEPTED: _S.CANCELING,  # a query that overtook the cancel
        _T.PART_FILLED: _S.CANCELING,
        _T.LOST: _S.CANCELING,
        _T.ABSENT: _S.CANCELED,
        _T.CANCEL_SENT: _S.CANCELING,
        _T.CANCEL_FAILED: _S.NEW,
    },
    _S.FILLED: {
        # nothing that comes late changes a fill
        _T.ACCEPTED: _S.FILLED,
        _T.PART_FILLED: _S.FILLED,
        _T.ALL_FILLED: _S.FILLED,
        _T.CANCELED: _S.FILLED,
        _T.EXPIRED: _S.FILLED,
        _T.LOST: _S.FILLED,
        _T.ABSENT: _S.FILLED,
        _T.CANCEL_FAILED: _S.FILLED,
    },
    _S.CANCELED: {
        _T.ACCEPTED: _S.CANCELED,
        _T.PART_FILLED: _S.CANCELED,  # a fill after a cancel is legal: the quantity grows, the order stays final (U7)
        _T.ALL_FILLED: _S.FILLED,
        _T.CANCELED: _S.CANCELED,
        _T.EXPIRED: _S.CANCELED,
        _T.LOST: _S.CANCELED,
        _T.ABSENT: _S.CANCELED,
        _T.CANCEL_FAILED: _S.CANCELED,
    },
    _S.EXPIRED: {
        _T.ACCEPTED: _S.EXPIRED,
        _T.PART_FILLED: _S.EXPIRED,  # the executed part of a market order whose remainder expired (Z2)
        _T.ALL_FILLED: _S.FILLED,
        _T.CANCELED: _S.EXPIRED,
        _T.EXPIRED: _S.EXPIRED,
        _T.LOST: _S.EXPIRED,
        _T.ABSENT: _S.EXPIRED,
        _T.CANCEL_FAILED: _S.EXPIRED,
    },
    _S.REJECTED: {
        **_SEEN,  # what the exchange shows beats what it said
        _T.ABSENT: _S.REJECTED,
        _T.LOST: _S.REJECTED,
    },
    _S.NOT_PLACED: {
        **_SEEN,  # a fill or order that turns up after the fence reopens the trade (U10)
        _T.ABSENT: _S.NOT_PLACED,
        _T.LOST: _S.NOT_PLACED,
        _T.IN_POSITION: _S.UNKNOWN,  # given up too early
    },
}

LIVE = frozenset({_S.NEW, _S.PARTIALLY_FILLED, _S.CANCELING})
FINAL = frozenset({_S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED, _S.NOT_PLACED})
IN_FLIGHT = frozenset({_S.SUBMITTING, _S.RESUBMITTING})
_TAKE_OFF = frozenset({OrderRole.CLOSE, OrderRole.REDUCE, OrderRole.TAKE_BACK})


def next_order_state(state: OrderState, trigger: OrderTrigger) -> OrderState:
    """Look up the table.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    try:
        return ORDER_TABLE[state][trigger]
    except KeyError:
        raise IllegalTransition(f"an order in state {state} can't take {trigger}") from None


_STATUS_TRIGGER = {
    ExchangeOrderStatus.NEW: _T.ACCEPTED,
    ExchangeOrderStatus.PARTIALLY_FILLED: _T.PART_FILLED,
    ExchangeOrderStatus.FILLED: _T.ALL_FILLED,
    ExchangeOrderStatus.CANCELED: _T.CANCELED,
    ExchangeOrderStatus.EXPIRED: _T.EXPIRED,
    ExchangeOrderStatus.REJECTED: _T.REJECTED,
}
_ENDS = frozenset({_T.ALL_FILLED, _T.CANCELED, _T.EXPIRED, _T.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One of our orders, with everything that is known about it.

    ``executed_quantity`` is cumulative and only grows; ``average_price`` is zero until something is executed. While the
    order is UNKNOWN, it is what the position shows of it (:attr:`is_presumed`), and follows the position.
    ``transmissions`` counts how often it was sent. ``needs_query`` is set when the stream said something inconclusive
    (scenario P8: a conditional order EXPIRED with nothing executed may just have been triggered). ``triggered_at`` is
    when we learned that it had become a plain order.
    """

    key: ClientOrderId
    request: OrderRequest
    state: OrderState = OrderState.PLANNED
    exchange_order_id: int | None = None
    executed_quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    stamp: RequestStamp | None = None
    submitted_at: datetime | None = None
    acknowledged_at: datetime | None = None
    triggered_at: datetime | None = None
    finished_at: datetime | None = None
    transmissions: int = 0
    refusal: Refusal | None = None
    refusal_code: int | None = None
    refusal_message: str | None = None
    needs_query: bool = False

    @property
    def client_order_id(self) -> str:
        """The id that the exchange knows it by."""
        return self.request.client_order_id

    @property
    def role(self) -> OrderRole:
        """What the order is for."""
        return self.key.role

    @property
    def is_plain(self) -> bool:
        """Whether it takes off without reduce-only, and so could open the other side: sent once, like an entry."""
        is_one_way = self.request.position_side is PositionSide.BOTH
        return self.role in _TAKE_OFF and is_one_way and not self.request.reduce_only

    @property
    def quantity(self) -> Decimal:
        """Ordered quantity in base units; zero with ``closePosition``."""
        return self.request.quantity or ZERO

    @property
    def remaining(self) -> Decimal:
        """What a live order can still execute."""
        return max(self.quantity - self.executed_quantity, ZERO)

    @property
    def is_live(self) -> bool:
        """Whether the exchange has shown it on the book and not yet shown its end."""
        return self.state in LIVE

    @property
    def is_final(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.state in FINAL

    @property
    def is_presumed(self) -> bool:
        """Whether only the position shows what was executed of it (scenario U11)."""
        return self.state is OrderState.UNKNOWN and self.executed_quantity > ZERO

    def is_contradicted_by(self, report: OrderReport) -> bool:
        """Whether it tells of an empty end, while the position tells of an execution: then the position wins (U7)."""
        return self.is_presumed and _STATUS_TRIGGER.get(report.status) in _ENDS and not report.executed_quantity

    def in_position(self, quantity: Decimal, at: datetime) -> Order:
        """The order after the position showed ``quantity`` that only this order explains; zero takes that back."""
        if self.state is OrderState.NOT_PLACED and not quantity:
            return self
        order = self.after(OrderTrigger.IN_POSITION, at)
        return replace(order, executed_quantity=quantity, finished_at=None)

    def after(self, trigger: OrderTrigger, at: datetime) -> Order:
        """The order after ``trigger``, with its times kept.

        Raises:
            IllegalTransition: see :data:`ORDER_TABLE`.
        """
        state = next_order_state(self.state, trigger)
        if state is OrderState.NEW and self.executed_quantity > ZERO:
            state = OrderState.PARTIALLY_FILLED
        order = self if state is self.state else replace(self, state=state)
        if trigger in (OrderTrigger.SUBMIT, OrderTrigger.RESUBMIT):
            order = replace(order, transmissions=order.transmissions + 1, submitted_at=order.submitted_at or at)
        if order.acknowledged_at is None and trigger in _SEEN:
            order = replace(order, acknowledged_at=at, refusal=None, refusal_code=None, refusal_message=None)
        if order.is_final and order.finished_at is None:
            order = replace(order, finished_at=at)
        if order.state is OrderState.NOT_PLACED and order.executed_quantity:
            order = replace(order, executed_quantity=ZERO)  # what the position showed was somebody else's
        return order

    def refused(self, family: Refusal, code: int | None, message: str, at: datetime) -> Order:
        """The order after the exchange refused the request that was in flight."""
        order = self.after(OrderTrigger.REFUSED, at)
        return replace(order, refusal=family, refusal_code=code, refusal_message=message)

    def seen(self, report: OrderReport, at: datetime) -> Order:
        """The order after the exchange described it; out-of-order and repeated descriptions are harmless (W4)."""
        if self.is_contradicted_by(report):
            return replace(self, exchange_order_id=report.order_id)
        order = self
        if order.exchange_order_id is not None and report.order_id != order.exchange_order_id:
            if report.order_id < order.exchange_order_id:
                return self
            # ids are unique only among open orders (U5): a second transmission landed after the first one's end
            order = replace(order, exchange_order_id=report.order_id, state=OrderState.UNKNOWN)
            order = replace(order, triggered_at=None, finished_at=None)
        is_ended = _STATUS_TRIGGER.get(report.status) in _ENDS
        if report.executed_quantity > order.executed_quantity or (self.is_presumed and is_ended):
            order = replace(order, executed_quantity=report.executed_quantity, average_price=report.average_price)
        elif report.executed_quantity == order.executed_quantity and report.average_price > ZERO:
            order = replace(order, average_price=report.average_price)
        if order.exchange_order_id is None:
            order = replace(order, exchange_order_id=report.order_id)
        if report.is_triggered and order.triggered_at is None:
            order = replace(order, triggered_at=at)
        trigger = _STATUS_TRIGGER.get(report.status)
        if trigger is None:
            return replace(order, needs_query=True)
        return order.after(trigger, at)
