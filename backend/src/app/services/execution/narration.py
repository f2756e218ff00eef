"""Narration: the events that tell what changed between two states of a trade. Pure but for the ids it is given.

Events are derived from the difference, so nothing that changes can be forgotten and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.commissions import commissions_of
from app.domain.events import Event, EventType
from app.domain.money import plain
from app.domain.orders import Order, OrderState
from app.domain.trades import CloseReason, Trade, TradeStatus
from app.schemas.commissions import told
from app.schemas.fields import iso
from app.services.execution.commands import Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrator:
    """Makes events for one account."""

    account_id: str
    is_paper: bool
    new_id: Callable[[], str]
    now: Callable[[], datetime]

    def event(
        self,
        type_: EventType,
        data: dict[str, Any],
        *,
        trade: Trade | None = None,
        decision_id: str | None = None,
        asset: str | None = None,
    ) -> Event:
        """One event; what a trade knows of itself is filled in."""
        return Event(
            id=self.new_id(),
            type=type_,
            time=self.now(),
            account_id=self.account_id,
            is_paper=self.is_paper,
            decision_id=trade.decision_id if trade else decision_id,
            trade_id=trade.id if trade else None,
            asset=trade.asset if trade else asset,
            data=data,
        )

    def alert(self, alert: Alert, *, trade: Trade | None = None, asset: str | None = None) -> Event:
        """``AlertRaised``."""
        data = {"severity": alert.severity.value, "code": alert.code, "message": alert.message}
        return self.event(EventType.ALERT_RAISED, data, trade=trade, asset=asset)

    def changes(self, before: Trade | None, after: Trade) -> list[Event]:
        """Everything worth telling between two states of one trade; ``before`` is None for a new one."""
        told: list[Event] = []
        for order in after.orders:
            earlier = before.order(order.client_order_id) if before else None
            if earlier is order:
                continue
            if order_news := _order_news(earlier, order):
                data = order_data(order) | self._doubt(earlier, order)
                told += [self.event(type_, data, trade=after) for type_ in order_news]
        if trade_news := _trade_news(before, after):
            data = trade_data(after)
            if before is not None and before.status is after.status is TradeStatus.CLOSED:
                data["is_correction"] = True
            told += [self.event(type_, data, trade=after) for type_ in trade_news]
        return told

    def _doubt(self, before: Order | None, after: Order) -> dict[str, float]:
        """For how long nobody has known what became of an order; told while it lasts and when it ends (U1)."""
        is_in_doubt = OrderState.UNKNOWN in (after.state, before.state if before else None)
        if not is_in_doubt or after.submitted_at is None:
            return {}
        return {"unknown_seconds": round((self.now() - after.submitted_at).total_seconds(), 3)}


def _order_news(before: Order | None, after: Order) -> list[EventType]:
    news: list[EventType] = []
    if after.acknowledged_at is not None and (before is None or before.acknowledged_at is None):
        news.append(EventType.ORDER_PLACED)
    was = before.state if before else OrderState.PLANNED
    executed_before = before.executed_quantity if before else None
    if after.state is OrderState.FILLED and was is not OrderState.FILLED:
        news.append(EventType.ORDER_FILLED)
    elif after.state is OrderState.REJECTED and was is not OrderState.REJECTED:
        news.append(EventType.ORDER_REJECTED)
    elif after.state is OrderState.CANCELED and was is not OrderState.CANCELED:
        news.append(EventType.ORDER_CANCELED)
    elif not news and (after.state is not was or (before and after.executed_quantity != executed_before)):
        news.append(EventType.ORDER_UPDATED)
    return news


def _trade_news(before: Trade | None, after: Trade) -> list[EventType]:
    news: list[EventType] = []
    was = before.status if before else None
    if after.first_fill_at is not None and (before is None or before.first_fill_at is None):
        news.append(EventType.TRADE_OPENED)
    if after.protection_failed and not (before and before.protection_failed):
        news.append(EventType.PROTECTION_FAILED)
    if after.close_reason is CloseReason.EMERGENCY and not (before and before.close_reason):
        news.append(EventType.EMERGENCY_CLOSE)
    if after.legs and after.status is TradeStatus.OPEN and was is not TradeStatus.OPEN:
        news.append(EventType.TRADE_PROTECTED)
    is_corrected = before is not None and before.funding != after.funding
    if after.status is TradeStatus.CLOSED and (was is not TradeStatus.CLOSED or is_corrected):
        news.append(EventType.TRADE_CLOSED)  # again where funding was booked after the end
    return news


def order_data(order: Order) -> dict[str, Any]:
    """An order as event data."""
    request = order.request
    return {
        "client_order_id": order.client_order_id,
        "order_id": order.exchange_order_id,
        "role": order.role.value,
        "side": request.side.value,
        "type": request.type.value,
        "status": order.state.value,
        "quantity": _text(request.quantity),
        "price": _text(request.price),
        "stop_price": _text(request.stop_price),
        "executed_quantity": plain(order.executed_quantity),
        "average_price": plain(order.average_price),
        "reason": order.refusal_message,
        "exchange_code": order.refusal_code,
    }


def trade_data(trade: Trade) -> dict[str, Any]:
    """A trade as event data."""
    data: dict[str, Any] = {
        "status": trade.status.value,
        "side": trade.side.value,
        "quantity": plain(trade.quantity),
        "filled_quantity": plain(trade.entered_quantity),
        "exposure": plain(trade.exposure),
        "entry_price": _text(trade.entry_price),
        "leverage": trade.leverage,
        "deadline_at": iso(trade.deadline_at) if trade.deadline_at else None,
    }
    if trade.status is TradeStatus.CLOSED:
        data |= {
            "close_reason": trade.close_reason.value if trade.close_reason else None,
            "exit_price": _text(trade.exit_price),
            "realised_pnl": plain(trade.realised_pnl),
            "funding": plain(trade.funding),
            **_commission(trade),
        }
    if trade.error is not None:
        data["error"] = {"code": trade.error.code.value, "message": trade.error.message}
    return data


def _commission(trade: Trade) -> dict[str, Any]:
    commission, asset, several = told(commissions_of(trade.fills))
    single = {"commission": _text(commission), "commission_asset": asset}
    return single | ({"commissions": [one.model_dump(mode="json") for one in several]} if several else {})


def _text(value: Any) -> str | None:
    return None if value is None else plain(value)
