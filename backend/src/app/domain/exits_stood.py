"""When a trade was protected, as far as there was anything to protect it with."""

from __future__ import annotations

from datetime import datetime

from app.domain.ids import OrderRole
from app.domain.trades import Trade

_RESTING_EXITS = frozenset({OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.TRAILING_STOP})


def exits_stood_at(trade: Trade) -> datetime | None:
    """When exits that were asked for first rested on the book, all of them; None where none ever did.

    ``protected_at`` is noted for a trade without any, too: all that it asked for was there.
    """
    shown = (order.acknowledged_at for order in trade.orders if order.role in _RESTING_EXITS)
    first = min((at for at in shown if at is not None), default=None)
    return None if first is None or trade.protected_at is None else max(first, trade.protected_at)
