"""Exchange filters on an order, in the order in which a client meets them (asterdex-facts.md section 5)."""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core import errors
from aster_sim.core.catalogue import Instrument
from aster_sim.core.numbers import ZERO, plain, step_down, step_up
from aster_sim.core.orders import BUY, LIMIT, LIMIT_PRICED_TYPES, LONG, MARKET, SELL, SHORT, STOP_TYPES, OrderRequest


def _too_precise(value: Decimal, decimals: int) -> bool:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= -decimals:
        return False
    return value != value.quantize(Decimal(1).scaleb(-decimals))


def check_price(instrument: Instrument, price: Decimal) -> None:
    """PRICE_FILTER on a limit price; a bound of zero is switched off."""
    if price <= ZERO:
        raise errors.PRICE_BELOW_ZERO.error()
    if _too_precise(price, max(instrument.price_precision, instrument.price_decimals)):
        raise errors.BAD_PRECISION.error()
    if instrument.max_price and price > instrument.max_price:
        raise errors.PRICE_ABOVE_MAX.error()
    if instrument.min_price and price < instrument.min_price:
        raise errors.PRICE_BELOW_MIN.error()
    if (price - instrument.min_price) % instrument.tick:
        raise errors.PRICE_OFF_TICK.error()


def check_stop_price(instrument: Instrument, price: Decimal) -> None:
    """PRICE_FILTER on a trigger price."""
    if price <= ZERO:
        raise errors.STOP_BELOW_ZERO.error()
    if _too_precise(price, max(instrument.price_precision, instrument.price_decimals)):
        raise errors.BAD_PRECISION.error()
    if instrument.max_price and price > instrument.max_price:
        raise errors.STOP_ABOVE_MAX.error()
    if (price - instrument.min_price) % instrument.tick:
        raise errors.PRICE_OFF_TICK.error()


def check_quantity(instrument: Instrument, quantity: Decimal, *, market: bool) -> None:
    """LOT_SIZE, or MARKET_LOT_SIZE for MARKET orders."""
    if quantity <= ZERO:
        raise errors.QTY_BELOW_ZERO.error()
    if _too_precise(quantity, max(instrument.quantity_precision, instrument.quantity_decimals)):
        raise errors.BAD_PRECISION.error()
    low = instrument.market_min_qty if market else instrument.min_qty
    high = instrument.market_max_qty if market else instrument.max_qty
    step = instrument.market_step if market else instrument.step
    if quantity < low:
        raise errors.QTY_BELOW_MIN.error()
    if quantity > high:
        raise errors.QTY_ABOVE_MAX.error()
    if step and (quantity - low) % step:
        raise errors.QTY_OFF_STEP.error()


def check_percent_price(instrument: Instrument, side: str, price: Decimal, mark: Decimal) -> None:
    """PERCENT_PRICE, one-sided: a BUY not above mark·up, a SELL not below mark·down."""
    if side == BUY:
        limit = mark * instrument.multiplier_up
        if price > limit:
            raise errors.PRICE_TOO_HIGH.error(limit=plain(step_down(limit, instrument.tick)))
    else:
        limit = mark * instrument.multiplier_down
        if price < limit:
            raise errors.PRICE_TOO_LOW.error(limit=plain(step_up(limit, instrument.tick)))


def _check_stop_limit(instrument: Instrument, request: OrderRequest) -> None:
    if request.side == BUY:
        limit = request.stop_price * instrument.multiplier_up
        if request.price > limit:
            raise errors.STOP_LIMIT_TOO_HIGH.error(limit=plain(step_down(limit, instrument.tick)))
    else:
        limit = request.stop_price * instrument.multiplier_down
        if request.price < limit:
            raise errors.STOP_LIMIT_TOO_LOW.error(limit=plain(step_up(limit, instrument.tick)))


def check_order(
    instrument: Instrument, request: OrderRequest, mark: Decimal, *, exempts_hedge_closes: bool = False
) -> None:
    """All filters on a new order; ``mark`` is the current mark price.

    ``exempts_hedge_closes``: MIN_NOTIONAL does not hold for what closes a position of hedge mode.

    Raises VenueError with the code of the first filter that refuses.
    """
    if request.type in LIMIT_PRICED_TYPES:
        check_price(instrument, request.price)
    if request.type in STOP_TYPES:
        check_stop_price(instrument, request.stop_price)
    if request.activation_price:
        check_stop_price(instrument, request.activation_price)
    if request.close_position:
        return
    check_quantity(instrument, request.quantity, market=request.type == MARKET)
    if request.type == LIMIT:
        check_percent_price(instrument, request.side, request.price, mark)
    elif request.type in LIMIT_PRICED_TYPES:
        _check_stop_limit(instrument, request)
    if not (exempts_hedge_closes and _closes_in_hedge_mode(request)):
        check_min_notional(instrument, request, mark)


def _closes_in_hedge_mode(request: OrderRequest) -> bool:
    return (request.position_side, request.side) in {(LONG, SELL), (SHORT, BUY)}


def check_min_notional(instrument: Instrument, request: OrderRequest, mark: Decimal) -> None:
    """MIN_NOTIONAL: price times quantity, the mark price where the order has none; reduce-only is exempt."""
    if request.reduce_only:
        return
    price = request.price or request.stop_price or mark
    if price * request.quantity < instrument.min_notional:
        raise errors.MIN_NOTIONAL.error(limit=plain(instrument.min_notional))
