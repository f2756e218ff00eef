"""A plain close: a market order that is not reduce-only, where orders of others make the exchange refuse any other.

It could open the other side, so it is sent once, from a record, and only while the exchange shows what it is to close
(scenario O8). What a race makes of it all the same is found in the exchange's executions, and taken back; what went too
far may be taken back by a plain order as well.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from app.domain.errors import ExchangeError, Refusal
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.ports import Clock
from app.domain.reports import Accepted, FillReport, NeverSent, Placement, PositionReport, PositionSide, Refused, Side
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.integrations.aster.priorities import Priority
from app.services.execution import facts
from app.services.execution.evidence import Evidence
from app.services.execution.foreign_cover import ForeignCover, covering_orders
from app.services.execution.sending import cancel, transmit

_LOOK_BACK = timedelta(minutes=2)
_SETTLED_AFTER_S = 65.0
"""A busy exchange may need tens of seconds to show what it booked (scenario U3)."""
_FIRST_PAUSE_S = 0.2
_LOOK_AGAIN_S = 0.3


async def read_cover(evidence: Evidence, trade: Trade, side: Side) -> ForeignCover:
    """What an order on that side would take off, and the others' orders that cover it.

    Raises:
        ExchangeError: a read failed.
    """
    at = evidence.clock.now()
    resting, held = await asyncio.gather(
        evidence.client.open_orders(trade.asset, Priority.QUERY), evidence.position(trade)
    )
    return ForeignCover(side=side, held=_on(side, held), orders=covering_orders(trade, side, resting), at=at)


def _on(side: Side, position: Decimal) -> Decimal:
    """What of a signed position an order on that side takes off."""
    return max(position if side is Side.SELL else -position, ZERO)


async def cancel_covering(client: AsterClient, cover: ForeignCover, clock: Clock) -> ForeignCover:
    """Take others' orders off the book. The cover without those that are gone; pauses where some are left."""
    left = []
    for order in cover.orders:
        placement = await cancel(client, order.symbol, order.client_order_id)
        is_gone = isinstance(placement, Refused) and placement.family is Refusal.ORDER_NOT_FOUND
        if not is_gone and not isinstance(placement, Accepted):
            left.append(order)
    if left:
        await clock.sleep(_FIRST_PAUSE_S)
    return replace(cover, orders=tuple(left))


async def send_plain(evidence: Evidence, trade: Trade | None, order: Order) -> Placement:
    """Send the order unless the position, read once more, is smaller than it by now. Its intent is on record."""
    try:
        position = await evidence.position(trade) if trade is not None else ZERO
    except ExchangeError as error:
        return NeverSent(reason=f"the position could not be read: {error}")
    held = _on(order.request.side, position)
    if trade is None or min(held, _of_ours(trade, order)) < order.quantity:
        return NeverSent(reason="the position is smaller by now")
    return await transmit(evidence.client, order)


def _of_ours(trade: Trade, order: Order) -> Decimal:
    return trade.overshoot - trade.taken_back if order.role is OrderRole.TAKE_BACK else trade.exposure


async def with_overshoot(evidence: Evidence, trade: Trade, accounted: facts.Accounted) -> facts.Accounted:
    """What plain closes opened on the other side, told beside what was booked.

    It follows from the position and the executions that led to it. A list of executions that ends before the position
    last changed is late, and is read again.

    Raises:
        ExchangeError: a read failed; that proves nothing, ask again.
    """
    plain = {order.exchange_order_id for order in trade.orders if order.is_plain and trade.executed(order)}
    if not plain:
        return accounted
    since = min(fill.time for fill in accounted.fills if fill.order_id in plain) - _LOOK_BACK
    waited_s = 0.0
    while True:
        rows = await evidence.client.positions(trade.asset)
        fills = await evidence.client.user_trades(trade.asset, since)
        row = next((row for row in rows if row.position_side is PositionSide.BOTH), None)
        if row is None or _is_explained(row, fills) or waited_s >= _SETTLED_AFTER_S:
            break
        await evidence.clock.sleep(_LOOK_AGAIN_S)
        waited_s += _LOOK_AGAIN_S
    held = row.quantity if row is not None else ZERO
    beyond = _beyond(trade, plain, held, fills)
    if beyond < ZERO and (row is None or not _is_explained(row, fills)):
        beyond = ZERO
    return replace(accounted, overshoot=trade.taken_back + beyond)


def _is_explained(row: PositionReport, fills: list[FillReport]) -> bool:
    return bool(fills) and max(fill.time for fill in fills) >= row.updated_at


def _beyond(trade: Trade, plain: set[int | None], held: Decimal, fills: list[FillReport]) -> Decimal:
    """How much of the position on the other side plain orders opened and nobody has taken back since.

    Negative is what is held on the trade's own side since a take-back went too far, and was not closed yet.
    """
    roles = {order.exchange_order_id: order.role for order in trade.orders if order.role is not OrderRole.ENTRY}
    ordered = sorted(fills, key=lambda fill: fill.exchange_trade_id)
    signed = [fill.quantity * (1 if fill.side is Side.BUY else -1) * trade.side.sign for fill in ordered]
    after = held * trade.side.sign - sum(signed, start=ZERO)
    opened = beyond = ZERO
    for fill, change in zip(ordered, signed, strict=True):
        after += change
        role = roles.get(fill.order_id)
        if role is OrderRole.TAKE_BACK:
            beyond -= change
        elif fill.order_id in plain:
            crossed = min(-change, max(-after, ZERO))
            opened += crossed
            beyond = beyond + crossed if beyond >= ZERO else min(beyond - change, crossed)
        elif role is not None:
            beyond = max(beyond, min(beyond - change, ZERO))
        # what others took of it is gone
        beyond = min(max(beyond, -max(after, ZERO)), max(-after, ZERO))
    return min(beyond, max(opened - trade.taken_back, ZERO))
