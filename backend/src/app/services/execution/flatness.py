"""Flatness: what the exchange still shows of ours after everything was closed (halt with flatten, verified)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.domain.errors import ExchangeError
from app.domain.ids import parse_client_order_id
from app.domain.money import plain
from app.domain.orders import IN_FLIGHT, Order, OrderState
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient

_ON_ITS_WAY = IN_FLIGHT | {OrderState.UNKNOWN}


async def left_open(client: AsterClient, active_trades: Callable[[], Iterable[Trade]]) -> list[str]:
    """One line for each order of ours on the book, in flight or UNKNOWN, and each position that a trade holds.

    None is flat. A read that fails is a line, too: nothing is verified then.
    """
    try:
        orders, rows = await client.open_orders(), await client.positions()
    except ExchangeError as error:
        return [f"the exchange could not be read, so nothing is verified: {error}"]
    shown = {(row.symbol, row.position_side): abs(row.quantity) for row in rows if not row.is_flat}
    left: list[str] = []
    for trade in active_trades():  # as they are by now: what was filled during the reads is held
        held = shown.get((trade.asset, trade.position_side)) or trade.exposure
        if held:
            left.append(f"{trade.asset}: {plain(held)} {trade.side.value} is still held")
        left += [f"{trade.asset}: {_doubt(order)}" for order in trade.orders if order.state in _ON_ITS_WAY]
    left += [
        f"{order.symbol}: order {order.client_order_id} is still on the book"
        for order in orders
        if parse_client_order_id(order.client_order_id) is not None
    ]
    return left


def _doubt(order: Order) -> str:
    where = "in flight" if order.state in IN_FLIGHT else OrderState.UNKNOWN.value
    return f"order {order.client_order_id} is {where}"
