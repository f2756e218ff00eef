"""What a trade can learn. Facts come from replies, the stream, queries, timers and people, in any order.

``at`` is the host's time at which the fact reached us. Every fact may come twice or late: folding it in is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.reports import FillReport, OrderReport, Placement, RequestStamp
from app.domain.trades import Adjustment, CloseReason, TradeError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySent(_Fact):
    """The intent is durable, and the entry is being handed to the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAnew(_Fact):
    """An order leaves with another nonce: the first got old, or was refused, which proves it not executed (L2).

    ``was_refused``: it left with the first one.
    """

    client_order_id: str
    stamp: RequestStamp
    was_refused: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryShrunk(_Fact):
    """The price has moved before an entry was sent: only ``quantity`` of it may leave (Z7)."""

    client_order_id: str
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(_Fact):
    """The attempt to place an order ended in ``placement``; ``error`` tells why we held it back, when it was us."""

    client_order_id: str
    placement: Placement
    error: TradeError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAnswered(_Fact):
    """The attempt to cancel an order ended in ``placement``."""

    client_order_id: str
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStreamed(_Fact):
    """The user stream described one of our orders, with the execution that caused it, if any."""

    report: OrderReport
    fill: FillReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderQueried(_Fact):
    """A query described one of our orders as it stands: conclusive, unlike the stream (scenario P8)."""

    report: OrderReport


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAbsent(_Fact):
    """Order, user trades and position agree, after the fence, that an order was never placed (scenario U3).

    ``transmissions`` is how often it had been sent when the question was asked: of a later one this says nothing.
    """

    client_order_id: str
    transmissions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryInPosition(_Fact):
    """The position holds ``quantity`` that only this entry explains, or nothing any more (scenario U11)."""

    client_order_id: str
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMissed(_Fact):
    """A query did not find an order although its fence has passed: it may have vanished (scenarios P5, U8).

    That is a doubt, no verdict: :class:`OrderAbsent` is, once executions and lists have been asked too.
    """

    client_order_id: str
    transmissions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionShown(_Fact):
    """The exchange's position on the asset, read *before* all our unfinished orders were queried and folded in.

    ``quantity`` is signed. Because of that order, whatever is missing was taken by somebody else. ``entered_before`` is
    the executed quantity of the entry that was known before the read, ``transmissions_before`` how often orders of the
    trade had been sent: when either has grown since, the read is too old to tell. ``changed_at`` is the exchange's time
    of the position's last change, None where it showed no row.
    """

    quantity: Decimal
    entered_before: Decimal
    transmissions_before: int
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAsked(_Fact):
    """Somebody wants the position closed."""

    reason: CloseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentAsked(_Fact):
    """A decision changes the trade; ``order``, where there is one, is being made durable and then sent.

    ``further`` are the parts that follow it, where it is not for all of the quantity.
    """

    adjustment: Adjustment
    order: Order | None = None
    further: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentSent(_Fact):
    """The adjustment's intent is durable, and its order is being handed to the network."""

    decision_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentFailed(_Fact):
    """Nothing of the adjustment was sent."""

    decision_id: str
    error: TradeError


@dataclass(frozen=True, slots=True, kw_only=True)
class FillsBooked(_Fact):
    """Executions of our orders as the exchange booked them, read before the trade is over."""

    fills: tuple[FillReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted(_Fact):
    """Every execution of the trade as the exchange booked it, and the funding received while it was open.

    ``overshoot`` is what plain closes of ours opened on the other side: what still stands there, and what the trade
    knew before to have been taken back.
    """

    fills: tuple[FillReport, ...]
    funding: Decimal
    overshoot: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingBooked(_Fact):
    """All funding of a trade that is over, as booked by now; ``looks_left``: how often it is looked for again."""

    funding: Decimal
    looks_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked(_Fact):
    """Time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted(_Fact):
    """The process that was handling the trade is gone; what it had in flight is unknown."""


Fact = (
    EntrySent
    | EntryShrunk
    | SignedAnew
    | Placed
    | CancelAnswered
    | OrderStreamed
    | OrderQueried
    | OrderAbsent
    | EntryInPosition
    | OrderMissed
    | PositionShown
    | CloseAsked
    | AdjustmentAsked
    | AdjustmentSent
    | AdjustmentFailed
    | FillsBooked
    | Accounted
    | FundingBooked
    | Ticked
    | Restarted
)
