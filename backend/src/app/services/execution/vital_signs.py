"""Vital signs: how an account is at this moment, in numbers for those who watch over it. Reads, changes nothing.

Taken when somebody asks, never on the path of a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.money import ZERO
from app.domain.orders import OrderState
from app.domain.trades import Trade
from app.integrations.aster.budget import Level
from app.integrations.aster.client import AsterClient
from app.services.execution.covering import is_secured
from app.services.execution.prices import Prices
from app.services.execution.reconciliation import ReconciliationReport
from app.services.execution.risk import laid_bare
from app.services.execution.routing import StreamRouter


@dataclass(frozen=True, slots=True, kw_only=True)
class VitalSigns:
    """One account at one moment. Counts are of positions that our trades hold."""

    unprotected: int
    """Positions with an exit that was asked for and does not rest on the book in full, closing ones included."""
    past_deadline: int
    """Those that could not be protected in time, or that won't close (scenario P3)."""
    without_exits: int
    """Positions for which no exit was asked."""
    unknown_orders_s: tuple[float, ...]
    """For how many seconds each order has been out of which nobody knows what became of it (scenario U1)."""
    differences: int | None
    """How many the last reconciliation found; None before the first."""
    reconciled_s_ago: float | None
    is_user_stream_up: bool
    is_market_stream_up: bool
    weight: Level
    orders_1m: Level
    orders_10s: Level
    silent_for_s: float
    """For how long the exchange wants to hear nothing from this address; zero when we may speak."""
    clock_offset_s: float | None
    """By how much the exchange's clock is ahead of this host's; None before it was first heard."""


def look(
    client: AsterClient,
    router: StreamRouter,
    prices: Prices,
    trades: Sequence[Trade],
    last_run: ReconciliationReport | None,
    now: datetime,
) -> VitalSigns:
    """Take the vital signs of the account that all of these belong to; ``trades`` are those that have not ended."""
    exposed = [trade for trade in trades if trade.exposure > ZERO]
    orders_1m, orders_10s = client.order_levels
    return VitalSigns(
        unprotected=sum(not is_secured(trade) for trade in exposed),
        past_deadline=sum(laid_bare((trade,)) is not None for trade in exposed),
        without_exits=sum(not trade.legs for trade in exposed),
        unknown_orders_s=tuple(_seconds_unknown(trades, now)),
        differences=None if last_run is None else len(last_run.differences),
        reconciled_s_ago=None if last_run is None else (now - last_run.completed_at).total_seconds(),
        is_user_stream_up=router.is_up,
        is_market_stream_up=prices.is_up,
        weight=client.weight_level,
        orders_1m=orders_1m,
        orders_10s=orders_10s,
        silent_for_s=client.silent_for_s,
        clock_offset_s=client.clock_offset_s,
    )


def _seconds_unknown(trades: Iterable[Trade], now: datetime) -> Iterable[float]:
    for trade in trades:
        for order in trade.orders:
            if order.state in (OrderState.UNKNOWN, OrderState.RESUBMITTING) and order.submitted_at is not None:
                yield (now - order.submitted_at).total_seconds()
