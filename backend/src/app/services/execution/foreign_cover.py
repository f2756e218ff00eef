"""Foreign cover: resting orders of others for whose sake the exchange refuses our reduce-only orders. Pure.

The exchange answers -2022 while resting orders on the closing side cover the whole position, whoever placed them and
whether they are reduce-only or not (fact sheet, section 13). Then what takes off can't be reduce-only (O8, P13).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.ids import parse_client_order_id
from app.domain.money import ZERO, plain
from app.domain.orders import Order
from app.domain.reports import OrderReport, Side
from app.domain.trades import Trade

_NAMED = 5
"""An alert names so many orders at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCover:
    """What the exchange shows of a position and of the others' orders on the ``side`` that closes it, from ``at`` on.

    ``held`` is what an order on that side would take off: zero when the position is flat or on the other side.
    """

    side: Side
    held: Decimal
    orders: tuple[OrderReport, ...]
    at: datetime

    @property
    def is_whole(self) -> bool:
        """Whether these orders alone explain that the exchange refuses any reduce-only close."""
        covered = sum((order.original_quantity - order.executed_quantity for order in self.orders), start=ZERO)
        return ZERO < self.held <= covered

    @property
    def text(self) -> str:
        """The orders by name, for a person."""
        named = [
            f"{order.order_id} ({order.side.value} {plain(order.original_quantity)} at {plain(order.price)})"
            for order in self.orders[:_NAMED]
        ]
        more = len(self.orders) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")


def covering_orders(trade: Trade, side: Side, resting: Iterable[OrderReport]) -> tuple[OrderReport, ...]:
    """Others' orders that rest in the book on a side of the trade's position. Waiting triggers do not count."""
    return tuple(
        order
        for order in resting
        if order.type_text == "LIMIT"
        and order.side is side
        and order.position_side is trade.position_side
        and parse_client_order_id(order.client_order_id) is None
    )


def cover_since(refused: Order, cover: ForeignCover | None) -> ForeignCover | None:
    """What others' orders cover on the side of a refused one, as read after the refusal that they may explain."""
    if cover is None or refused.finished_at is None:
        return None
    return cover if cover.side is refused.request.side and cover.at >= refused.finished_at else None
