"""Routing: each event of the user stream goes to whoever must know (fills are the fast path to protection)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from app.domain.events import Event, EventType
from app.domain.ids import ClientOrderId, OrderRole, parse_client_order_id
from app.domain.money import plain
from app.domain.ports import Clock
from app.domain.reports import (
    AccountConfigUpdate,
    AccountUpdate,
    FillReport,
    MarginCall,
    OrderUpdate,
    StreamDown,
    StreamUp,
    UnrecognisedEvent,
    UserEvent,
)
from app.integrations.aster.market_stream import Followed, PriceListener
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.commands import Alert, Severity
from app.services.execution.exits import forced_reason
from app.services.execution.hearing import Hearing
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciliation import Reach
from app.services.execution.telling import record_or_warn

log = structlog.get_logger(__name__)

_BY_AN_ORDER = "ORDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """An account's streams: each of ``runs`` is a task that never ends by itself; ``doubt`` replaces the user stream
    for the reason given."""

    runs: Sequence[Callable[[], Awaitable[None]]]
    doubt: Callable[[str], None]


StreamBuilder = Callable[[Callable[[UserEvent], None], PriceListener, Followed], Streams]
"""Builds the streams, given where user events and prices go, and whose best prices are wanted."""


@dataclass(kw_only=True)
class StreamRouter:
    """Takes the user stream's events; :attr:`is_up` tells whether the stream is connected."""

    projection: Projection
    market: Market
    narrator: Narrator
    trades: TradeRepository
    clock: Clock
    on_order: Callable[[str, ClientOrderId, facts.Fact], None]
    on_forced: Callable[[str], None]
    """The exchange itself reduces the position on a symbol."""
    on_position: Callable[[str], None]
    """The position on a symbol has changed, and something is held."""
    request_reconciliation: Callable[[Reach], None]
    on_fill: Callable[[FillReport], None]
    """Any execution of the account, ours or not."""
    on_booking: Callable[[], None]
    """Money has moved without an execution: funding, a liquidation, a transfer."""
    has_external_stop: Callable[[str], bool]
    """Whether a stop of ours protects somebody else's position on an asset."""
    hearing: Hearing
    exchange_time: Callable[[], datetime]
    is_up: bool = False

    def take(self, event: UserEvent) -> None:
        """Hand one event on. Never waits."""
        if not isinstance(event, StreamUp | StreamDown):
            self.hearing.heard(None if isinstance(event, UnrecognisedEvent) else event.event_time)
        match event:
            case OrderUpdate():
                self._order(event)
            case AccountUpdate():
                self._account(event)
            case AccountConfigUpdate():
                self.market.on_config(event)
                self.market.margin.void()
            case MarginCall():
                symbols = ", ".join(event.symbols)
                text = f"margin call on {symbols}: add margin or reduce the position"
                self._tell_alert(Alert(Severity.CRITICAL, "margin_call", text))
            case StreamUp(had_gap=had_gap):
                self.is_up = True
                self.market.margin.void()
                self.hearing.connected(self.exchange_time())
                self._tell(EventType.STREAM_CONNECTED, {"had_gap": had_gap})
                self.request_reconciliation(Reach.WHOLE if had_gap else Reach.IN_PLAY)
            case StreamDown(reason=reason):
                self.is_up = False
                self.hearing.lost()
                self._tell(EventType.STREAM_LOST, {"reason": reason})
            case UnrecognisedEvent(kind=kind):
                log.info("stream.unrecognised_event", kind=kind)

    def _order(self, event: OrderUpdate) -> None:
        if event.fill is not None:
            self.on_fill(event.fill)
        key = parse_client_order_id(event.order.client_order_id)
        self.market.foreign_conditionals.learn(event.order)
        if key is None:
            self.market.margin.void()
            if event.fill is not None and forced_reason(event.order.client_order_id) is not None:
                self.on_forced(event.order.symbol)  # liquidation or ADL (W6)
            return  # somebody else's order
        if key.role is OrderRole.EXTERNAL_STOP:
            self.request_reconciliation(Reach.IN_PLAY)
            return  # it belongs to no trade
        fact = facts.OrderStreamed(at=self.clock.now(), report=event.order, fill=event.fill)
        self.on_order(event.order.symbol, key, fact)

    def _account(self, event: AccountUpdate) -> None:
        if event.reason == _BY_AN_ORDER:
            self.market.margin.note_change()  # the order's own event tells whether it was ours
        else:
            self.market.margin.void()
            self.on_booking()
        self.market.on_account(event)
        for row in self.projection.apply(event, self.clock.now()):
            data = {
                "quantity": plain(row.quantity),
                "entry_price": plain(row.entry_price),
                "unrealised_pnl": plain(row.unrealised_pnl),
                "position_side": row.position_side.value,
                "reason": event.reason,
            }
            self._tell(EventType.POSITION_UPDATED, data, asset=row.symbol)
            if row.quantity:
                self.on_position(row.symbol)
            if self.has_external_stop(row.symbol):
                self.request_reconciliation(Reach.IN_PLAY)

    def _tell(self, type_: EventType, data: dict[str, Any], asset: str | None = None) -> None:
        self._record(self.narrator.event(type_, data, asset=asset))

    def _tell_alert(self, alert: Alert) -> None:
        self._record(self.narrator.alert(alert))

    def _record(self, event: Event) -> None:
        record_or_warn(self.trades, event)
