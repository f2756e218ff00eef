"""Trailing: whether a trailing stop of a new size has followed the price as far as the one before it (P15).

A new order follows from the price at which it is placed, and knows nothing of the peak that the old one has seen. So
both stay until the new one is as tight. The exchange does not tell a peak, but it has candles of the price: what they
show too much counts for the old one, and what they show too little for the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from app.domain.errors import ExchangeError
from app.domain.orders import Order
from app.domain.reports import Candle, Side, WorkingType
from app.services.execution.evidence import Evidence

log = structlog.get_logger(__name__)

_INTERVALS = (("1m", timedelta(minutes=1)), ("15m", timedelta(minutes=15)), ("4h", timedelta(hours=4)))
_MOST_CANDLES = 499
_COMPARE_AGAIN_S = 5.0


async def is_as_tight_or_pause(evidence: Evidence, old: Order | None, new: Order | None) -> bool:
    """As :func:`is_as_tight`; where it is not, after a pause, for it is asked again at once."""
    is_tight = await is_as_tight(evidence, old, new)
    if not is_tight:
        await evidence.clock.sleep(_COMPARE_AGAIN_S)
    return is_tight


async def is_as_tight(evidence: Evidence, old: Order | None, new: Order | None) -> bool:
    """Whether the old trailing stop may go. Not where the candles can't be read: that proves nothing (U4)."""
    if old is None or new is None or old.acknowledged_at is None or new.acknowledged_at is None:
        return False
    since, changed_at = (evidence.exchange_time(at) for at in (old.acknowledged_at, new.acknowledged_at))
    span = evidence.client.exchange_time() - since
    name, length = next((one for one in _INTERVALS if span < one[1] * (_MOST_CANDLES - 1)), _INTERVALS[-1])
    of_mark = old.request.working_type is WorkingType.MARK_PRICE
    try:
        read = evidence.client.candles(old.request.symbol, name, since - length, _MOST_CANDLES, of_mark=of_mark)
        candles = await read
    except ExchangeError as error:
        log.info("trailing.candles_not_read", asset=old.request.symbol, error=str(error))
        return False
    return has_followed_as_far(old, new, [row for row in candles if row.opened_at + length > since], changed_at)


def has_followed_as_far(old: Order, new: Order, candles: Sequence[Candle], changed_at: datetime) -> bool:
    """Whether the new one has seen a price as good as the best one that the old one may have seen.

    ``candles``, oldest first, cover the old one's life; ``changed_at`` is when the new one was placed, by the
    exchange's clock.
    """
    if not candles:
        return False
    follows_up = old.request.side is Side.SELL
    best = max if follows_up else min
    seen_by_old = best(row.high if follows_up else row.low for row in candles)
    since_then = [row.high if follows_up else row.low for row in candles if row.opened_at >= changed_at]
    seen_by_new = best([candles[-1].close, *since_then])
    if not _is_active(old, seen_by_old):
        return True
    return _is_active(new, seen_by_new) and best(seen_by_old, seen_by_new) == seen_by_new


def _is_active(order: Order, seen: Decimal) -> bool:
    activation = order.request.activation_price
    if activation is None:
        return True
    return seen >= activation if order.request.side is Side.SELL else seen <= activation
