"""Unexplained: what of a position only an entry in doubt can explain (scenario U11). Pure.

The answer to an entry and its frame get lost, and a busy exchange shows orders and executions late, while the position
shows the entry at once. Then the position is the evidence. It counts as long as the exchange's lists do not reach the
moment at which the position changed, or show another order there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.money import ZERO, plain
from app.domain.orders import Order, OrderState
from app.domain.reports import FillReport, PositionReport, PositionSide
from app.domain.trades import Trade
from app.services.execution.commands import Alert, Severity
from app.services.execution.facts import PositionShown

_SAME_MOMENT = timedelta(seconds=0.1)
"""A frame marks a position as changed a little later than the execution that changed it."""
_SAME_INSTANT = timedelta(milliseconds=5)
"""So does a row that was read, by less."""


def surplus(trade: Trade, entry: Order, trades: Iterable[Trade], rows: Iterable[PositionReport]) -> Decimal:
    """What the position holds beyond what is known of ``trades``, at most the quantity of ``entry``.

    Zero as long as another entry is on its way, which would explain it as well.
    """
    without = trade.with_order(replace(entry, executed_quantity=ZERO))
    others = [other for other in trades if other.id != trade.id and other.position_side is trade.position_side]
    entries = (one for other in (*others, without) for one in other.entries)
    if any(_may_come_in(one) and one.client_order_id != entry.client_order_id for one in entries):
        return ZERO
    known = sum(
        (other.side.sign * (other.entered_quantity - other.exited_quantity) for other in (*others, without)),
        start=ZERO,
    )
    held = sum((_signed(row) for row in rows if row.position_side is trade.position_side), start=ZERO)
    return min(max((held - known) * trade.side.sign, ZERO), entry.quantity)


def _may_come_in(entry: Order) -> bool:
    """A part whose turn has not come explains nothing (scenario O7)."""
    return not entry.is_final and entry.state is not OrderState.PLANNED


def changed_at(trade: Trade, rows: Iterable[PositionReport]) -> datetime | None:
    """When the trade's position last changed, as far as rows and known executions tell; None where neither does."""
    times = [row.updated_at for row in rows if row.position_side is trade.position_side]
    return max((*times, *(fill.time for fill in trade.fills)), default=None)


def has_moved(trade: Trade, trades: Iterable[Trade], rows: Iterable[PositionReport]) -> bool:
    """Whether the position has changed since the newest execution that ``trades`` know of it."""
    sharing = [one for one in trades if one.asset == trade.asset and one.position_side is trade.position_side]
    executed_at = max((fill.time for one in sharing for fill in one.fills), default=None)
    shown = [row for row in rows if row.symbol == trade.asset and row.position_side is trade.position_side]
    return executed_at is not None and any(row.updated_at > executed_at + _SAME_INSTANT for row in shown)


def reach(fills: Iterable[FillReport], at: datetime) -> bool:
    """Whether the list of executions reaches the position's change at ``at``."""
    return any(fill.time >= at - _SAME_MOMENT for fill in fills)


def are_others(entry: Order, fills: Iterable[FillReport], names: Mapping[int, str]) -> bool:
    """Whether each execution is known to be another order's; ``names`` are client order ids by the exchange's ids."""
    own = entry.client_order_id
    return all(names.get(fill.order_id, own) != own for fill in fills)


def is_untouched(trade: Trade | None, trades: Iterable[Trade], shown: PositionShown) -> bool:
    """Whether the position is just as the executions of ``trades`` left it, with nothing of ours sent since the read.

    Then nobody else holds the same side, and what is in doubt has not been executed so far (scenario O9).
    """
    if trade is None:
        return False
    sharing = [one for one in trades if one.position_side is trade.position_side]
    known = sum((one.side.sign * (one.entered_quantity - one.exited_quantity) for one in sharing), start=ZERO)
    executed_at = [fill.time for one in sharing for fill in one.fills]
    if shown.changed_at is None or not executed_at or shown.transmissions_before != trade.transmissions:
        return False
    return shown.quantity == known and shown.changed_at <= max(executed_at) + _SAME_INSTANT


def alert_of(before: Trade, after: Trade) -> Alert | None:
    """What a person should hear when a position begins, or ceases, to count as an entry that nobody has shown."""
    for entry in after.entries:
        earlier = before.order(entry.client_order_id)
        was_presumed = earlier is not None and earlier.is_presumed
        if entry.is_presumed and not was_presumed:
            what = f"{after.asset}: a position of {plain(entry.executed_quantity)} {after.side.value}"
            text = (
                f"{what} that only the entry {entry.client_order_id} explains, which the exchange does not show; it "
                "counts as that entry and gets its exits until the exchange shows what it is: check it"
            )
            return Alert(Severity.CRITICAL, "position_unexplained", text)
        if was_presumed and not entry.executed_quantity:
            text = (
                f"{after.asset}: the position shows nothing of the entry {entry.client_order_id} any more: it is gone, "
                "or the exchange shows whose it is; what is held is not ours and has no stop of ours: check it"
            )
            return Alert(Severity.WARNING, "position_explained", text)
    return None


def _signed(row: PositionReport) -> Decimal:
    """In hedge mode the exchange may show a short's quantity without a sign; the side tells."""
    if row.position_side is PositionSide.BOTH:
        return row.quantity
    return abs(row.quantity) * (1 if row.position_side is PositionSide.LONG else -1)
