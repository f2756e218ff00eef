"""Reconciliation: compare the record with the exchange, name each difference, and let the desks put it right.

The comparison is one pure function. It runs at start, after each gap in the stream, after an unknown outcome, on
request and periodically. A read that failed ends the run; it is never taken for "flat" or "absent" (scenario U4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.money import ZERO, plain
from app.domain.reports import BalanceReport, OrderReport, PositionReport
from app.domain.trades import Trade, TradeStatus
from app.schemas.fields import iso
from app.services.execution.projection import side_of


class Reach(StrEnum):
    """How much of the account a run reads: the whole of it when anything may have been missed."""

    WHOLE = "whole"
    IN_PLAY = "in_play"
    """Open orders only where a trade or a position is: what the periodic runs look at."""


class DifferenceKind(StrEnum):
    """What can differ between our record and the exchange (``docs/reconciliation.md``)."""

    POSITION_GONE = "position_gone"
    POSITION_SMALLER = "position_smaller"
    POSITION_LARGER = "position_larger"
    POSITION_EXTERNAL = "position_external"
    ORDER_NOT_OPEN = "order_not_open"
    ORDER_UNRECORDED = "order_unrecorded"
    ORDER_ORPHANED = "order_orphaned"
    FILLS_MISSING = "fills_missing"


ACTIONS: Mapping[DifferenceKind, str] = {
    DifferenceKind.POSITION_GONE: "position and orders are read again; the trade closes with its real fills",
    DifferenceKind.POSITION_SMALLER: "position and orders are read again; the exits follow the quantity",
    DifferenceKind.POSITION_LARGER: "the surplus is shown, not touched",
    DifferenceKind.POSITION_EXTERNAL: "shown, not touched; or given a stop",
    DifferenceKind.ORDER_NOT_OPEN: "position and orders are read again; booked, or placed again",
    DifferenceKind.ORDER_UNRECORDED: "taken over by its trade",
    DifferenceKind.ORDER_ORPHANED: "canceled, by its own id",
    DifferenceKind.FILLS_MISSING: "the executions are read",
}
"""What is done about each kind; ``docs/reconciliation.md`` says the same, and a test compares them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. ``key`` identifies it, so that two comparisons can be matched; ``action`` is what was done."""

    kind: DifferenceKind
    asset: str
    detail: str
    action: str = ""
    trade_id: str | None = None
    client_order_id: str | None = None

    @property
    def key(self) -> tuple[str, str, str | None, str | None]:
        """What makes it the same difference in another comparison."""
        return self.kind.value, self.asset, self.trade_id, self.client_order_id

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.kind.value,
            "asset": self.asset,
            "detail": self.detail,
            "action": self.action,
            "trade_id": self.trade_id,
            "client_order_id": self.client_order_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeView:
    """Bulk reads of one account."""

    positions: tuple[PositionReport, ...]
    open_orders: tuple[OrderReport, ...]
    balances: tuple[BalanceReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationReport:
    """What one run found and did."""

    account_id: str
    started_at: datetime
    completed_at: datetime
    differences: tuple[Difference, ...]
    positions: int
    open_orders: int

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "account_id": self.account_id,
            "started_at": iso(self.started_at),
            "completed_at": iso(self.completed_at),
            "differences": [difference.as_dict() for difference in self.differences],
            "positions": self.positions,
            "open_orders": self.open_orders,
        }


def differences(trades: Sequence[Trade], exchange: ExchangeView) -> list[Difference]:
    """Everything in which the record of active ``trades`` and the exchange disagree."""
    return [
        *_position_differences(trades, exchange),
        *_order_differences(trades, exchange),
        *_fill_differences(trades),
    ]


def external_positions(trades: Sequence[Trade], exchange: ExchangeView) -> list[PositionReport]:
    """Positions that no trade explains: somebody else's. An entry on its way explains one."""
    ours = {
        (trade.asset, trade.side)
        for trade in trades
        if trade.exposure > ZERO or trade.status in (TradeStatus.PENDING, TradeStatus.ENTERING)
    }
    return [row for row in exchange.positions if not row.is_flat and (row.symbol, side_of(row)) not in ours]


def protects(order: OrderReport, row: PositionReport) -> bool:
    """Whether ``order`` is a stop of ours for the external position ``row``."""
    key = parse_client_order_id(order.client_order_id)
    if key is None or key.role is not OrderRole.EXTERNAL_STOP or order.symbol != row.symbol:
        return False
    return order.position_side is row.position_side and order.side is side_of(row).exit_side


def _position_differences(trades: Sequence[Trade], exchange: ExchangeView) -> list[Difference]:
    found: list[Difference] = []
    held_by_side = {(row.symbol, side_of(row)): abs(row.quantity) for row in exchange.positions if not row.is_flat}
    for trade in trades:
        held = held_by_side.get((trade.asset, trade.side), ZERO)
        if held == trade.exposure or trade.exposure == ZERO:
            continue
        if held == ZERO:
            kind = DifferenceKind.POSITION_GONE
        elif held < trade.exposure:
            kind = DifferenceKind.POSITION_SMALLER
        else:
            kind = DifferenceKind.POSITION_LARGER
        detail = f"recorded {plain(trade.exposure)} {trade.side.value}, on the exchange {plain(held)}"
        found.append(Difference(kind=kind, asset=trade.asset, detail=detail, trade_id=trade.id))
    for row in external_positions(trades, exchange):
        detail = f"{plain(abs(row.quantity))} {side_of(row).value} that the service did not open"
        found.append(Difference(kind=DifferenceKind.POSITION_EXTERNAL, asset=row.symbol, detail=detail))
    return found


def _order_differences(trades: Sequence[Trade], exchange: ExchangeView) -> list[Difference]:
    found: list[Difference] = []
    open_by_id = {report.client_order_id: report for report in exchange.open_orders}
    by_id = {trade.id: trade for trade in trades}
    external: dict[str, list[PositionReport]] = {}
    for row in external_positions(trades, exchange):
        external.setdefault(row.symbol, []).append(row)
    for trade in trades:
        for order in trade.orders:
            if order.is_live and order.client_order_id not in open_by_id:
                detail = f"{order.role.value} recorded as {order.state.value}, not open on the exchange"
                found.append(
                    Difference(
                        kind=DifferenceKind.ORDER_NOT_OPEN,
                        asset=trade.asset,
                        detail=detail,
                        trade_id=trade.id,
                        client_order_id=order.client_order_id,
                    )
                )
    for report in exchange.open_orders:
        key = parse_client_order_id(report.client_order_id)
        if key is None:
            continue  # somebody else's: shown by the exchange, never touched (H2)
        if any(protects(report, row) for row in external.get(report.symbol, ())):
            continue  # it belongs to no trade
        owner = by_id.get(key.trade_id)
        recorded = owner.order(report.client_order_id) if owner is not None else None
        if owner is None:
            kind, detail = DifferenceKind.ORDER_ORPHANED, "our order without an active trade"
        elif recorded is None or not recorded.is_live:
            state = recorded.state.value if recorded is not None else "unknown to the record"
            kind, detail = DifferenceKind.ORDER_UNRECORDED, f"open on the exchange, recorded as {state}"
        else:
            continue
        found.append(
            Difference(
                kind=kind,
                asset=report.symbol,
                detail=detail,
                trade_id=key.trade_id,
                client_order_id=report.client_order_id,
            )
        )
    return found


def _fill_differences(trades: Sequence[Trade]) -> list[Difference]:
    """Executed quantities whose executions nobody described: their frames got lost, in a crash for one."""
    return [
        Difference(
            kind=DifferenceKind.FILLS_MISSING,
            asset=trade.asset,
            detail="executed quantities without their executions",
            trade_id=trade.id,
        )
        for trade in trades
        if trade.exposure > ZERO and not trade.is_every_fill_known
    ]


def confirmed(before: Sequence[Difference], after: Sequence[Difference]) -> list[Difference]:
    """Differences found both with the record before the reads and with the one after them.

    The reads take a while, and trades go on meanwhile; what was only true on one side of them is no difference.
    """
    keys = {difference.key for difference in before}
    return [difference for difference in after if difference.key in keys]
