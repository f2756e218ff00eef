"""Sending: one request, once, and what is known of it, whatever breaks on the way."""

from __future__ import annotations

from datetime import timedelta

import structlog

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement, Refused, RequestStamp, Unknown
from app.services.execution.desk_tools import DeskTools
from app.services.execution.halting import refused_key

log = structlog.get_logger(__name__)

_STAMPED = (OrderRole.ENTRY, OrderRole.REDUCE)
"""Sent once, under the stamp that is on record before."""
_BROKEN_TRANSMISSION_FENCE = timedelta(seconds=65)


async def transmit(tools: DeskTools, order: Order) -> Placement:
    """Send once. Should our own code break on the way, the request may have left: that is unknown, not failed."""
    client = tools.client
    try:
        placement = await client.place_order(order.request, order.stamp if order.role in _STAMPED else None)
    except Exception as error:  # whatever broke, an order in flight must not be taken for one that was not sent
        log.exception("desk.transmission_broke", client_order_id=order.client_order_id)
        dead_after = client.exchange_time() + _BROKEN_TRANSMISSION_FENCE
        stamp = order.stamp or RequestStamp(value=0, dead_after=dead_after)
        return Unknown(reason=f"{type(error).__name__} while sending", stamp=stamp)
    _heed(tools, placement)
    return placement


async def cancel(tools: DeskTools, asset: str, client_order_id: str) -> Placement:
    """Ask for an order of ours to be taken off the book."""
    try:
        placement = await tools.client.cancel_order(asset, client_order_id)
    except Exception as error:  # whatever broke, the order must not wait for this answer for ever
        log.exception("desk.cancel_broke", client_order_id=client_order_id)
        return NeverSent(reason=f"{type(error).__name__} while canceling")
    _heed(tools, placement)
    return placement


def _heed(tools: DeskTools, placement: Placement) -> None:
    """A refused key stops entries: nothing that is signed with it will be taken (scenario L6)."""
    if isinstance(placement, Refused) and placement.family is Refusal.AUTH:
        tools.stop_entries(refused_key(placement.message, placement.code))
