"""Dust: a position that is worth less than the exchange's smallest order, in hedge mode. Pure.

Reduce-only orders are exempt from that minimum (fact sheet, section 5), and hedge mode takes no reduce-only orders.
Whether AsterDEX exempts a closing order of hedge mode all the same is not public. Where it does not, the position can't
be closed until the price makes it worth enough, or its owner closes it at the website: the result of the close says so,
its stop stays, and the service tries the close again at long intervals.
"""

from __future__ import annotations

from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import plain
from app.domain.orders import Order
from app.domain.reports import PositionSide
from app.domain.trades import Trade, TradeError, TradeStatus

_BELOW_MINIMUM = -4164


def is_refused_as_dust(close: Order) -> bool:
    """Whether the exchange refused to close a position of hedge mode because it is worth too little."""
    is_in_hedge_mode = close.request.position_side is not PositionSide.BOTH
    return is_in_hedge_mode and close.refusal_code == _BELOW_MINIMUM


def is_dust(trade: Trade) -> bool:
    """Whether the exchange refused the last close of the trade for that, so that its end may never come."""
    close = trade.latest(OrderRole.CLOSE)
    return trade.status is TradeStatus.CLOSING and close is not None and is_refused_as_dust(close)


def error_of_dust(trade: Trade) -> TradeError:
    """Why it is not closed, and what to do."""
    text = (
        f"{plain(trade.exposure)} {trade.asset} can't be closed: it is worth less than the exchange's smallest order, "
        "and in hedge mode there is no exception; it is tried again every minute, or close it at the exchange's website"
    )
    return TradeError(code=ErrorCode.NOTIONAL_BELOW_MINIMUM, message=text, exchange_code=_BELOW_MINIMUM)
