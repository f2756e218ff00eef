"""Sending: one request, once, and what is known of it, whatever breaks on the way."""

from __future__ import annotations

from datetime import timedelta

import structlog

from app.domain.ids import OrderRole
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement, RequestStamp, Unknown
from app.integrations.aster.client import AsterClient

log = structlog.get_logger(__name__)

_STAMPED = (OrderRole.ENTRY, OrderRole.REDUCE, OrderRole.TAKE_BACK)
"""Sent once, under the stamp that is on record before."""
_BROKEN_TRANSMISSION_FENCE = timedelta(seconds=65)


def stamp_for(client: AsterClient, role: OrderRole) -> RequestStamp:
    """The stamp to put on record before an order is sent; an entry dies early, what reduces keeps the whole window.

    Raises:
        NotSent: too many requests are out.
    """
    return client.entry_stamp() if role is OrderRole.ENTRY else client.stamp()


async def transmit(client: AsterClient, order: Order) -> Placement:
    """Send once. Should our own code break on the way, the request may have left: that is unknown, not failed."""
    try:
        return await client.place_order(order.request, order.stamp if order.role in _STAMPED else None)
    except Exception as error:  # whatever broke, an order in flight must not be taken for one that was not sent
        log.exception("sending.broke", asset=order.request.symbol, client_order_id=order.client_order_id)
        dead_after = client.exchange_time() + _BROKEN_TRANSMISSION_FENCE
        stamp = order.stamp or RequestStamp(value=0, dead_after=dead_after)
        return Unknown(reason=f"{type(error).__name__} while sending", stamp=stamp)


async def cancel(client: AsterClient, asset: str, client_order_id: str) -> Placement:
    """Ask for an order of ours to be taken off the book. Should our own code break, a query tells what became of it."""
    try:
        return await client.cancel_order(asset, client_order_id)
    except Exception as error:  # whatever broke, the order must not wait for this answer for ever
        log.exception("sending.cancel_broke", asset=asset, client_order_id=client_order_id)
        return NeverSent(reason=f"{type(error).__name__} while canceling")
