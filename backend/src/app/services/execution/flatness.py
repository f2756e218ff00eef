"""Flatness: what the exchange still shows of ours after everything was closed (halt with flatten, verified)."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.errors import ExchangeError
from app.domain.ids import parse_client_order_id
from app.domain.money import plain
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient


async def left_open(client: AsterClient, trades: Iterable[Trade]) -> list[str]:
    """One line for each order of ours on the book and each position that one of ``trades`` still holds; none is flat.

    A read that fails is a line, too: nothing is verified then.
    """
    try:
        orders, rows = await client.open_orders(), await client.positions()
    except ExchangeError as error:
        return [f"the exchange could not be read, so nothing is verified: {error}"]
    held = {(row.symbol, row.position_side): row.quantity for row in rows if not row.is_flat}
    left = [
        f"{trade.asset}: {plain(abs(held[trade.asset, trade.position_side]))} {trade.side.value} is still held"
        for trade in trades
        if (trade.asset, trade.position_side) in held
    ]
    left += [
        f"{order.symbol}: order {order.client_order_id} is still on the book"
        for order in orders
        if parse_client_order_id(order.client_order_id) is not None
    ]
    return left
