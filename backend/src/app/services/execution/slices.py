"""Slices: the part of a position that one order may be. Pure.

At market that is bounded by MARKET_LOT_SIZE, and what is larger goes in several orders (scenario O7).

Where the exchange refuses a market order for want of counter-offers, or fills it only in part, a limit that takes
whatever is there at once (IOC) goes on (scenario O5). Its price follows the book, and keeps the percent-price filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.instruments import Instrument
from app.domain.money import BPS, ZERO, round_down_to_step
from app.domain.reports import OrderBook, Side

_PAD_BPS = Decimal(10)
_LARGEST_PAD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRoom:
    """What an exit finds at the exchange: the book and the mark price, read at ``at``, and the rules.

    ``rules_at``: when the rules were asked for anew, if they were.
    """

    instrument: Instrument
    mark: Decimal
    book: OrderBook
    at: datetime
    rules_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of an exit: ``quantity`` in base units on the step, ``price`` on the tick and within the filters."""

    quantity: Decimal
    price: Decimal


def market_part(
    wanted: Decimal, instrument: Instrument | None, most: Decimal | None = None, price: Decimal | None = None
) -> Decimal:
    """What the next of the market orders for ``wanted`` asks for: the whole, or the largest part that is allowed.

    The rest is left large enough for an order of its own, and where a ``price`` is known, worth enough for one: only
    reduce-only orders are exempt from that minimum. ``most`` bounds the part further, where the exchange has refused
    more than that.
    """
    bounds = [bound for bound in (instrument.market_maximum if instrument else ZERO, most or ZERO) if bound > ZERO]
    if not bounds or wanted <= min(bounds):
        return wanted
    part = min(bounds)
    if instrument is None:
        return part
    rest = max(instrument.market_minimum, min(_worth_an_order(instrument, price), wanted / 2))
    part = round_down_to_step(min(part, wanted - rest), instrument.market_step)
    return max(part, instrument.market_minimum)


def _worth_an_order(instrument: Instrument, price: Decimal | None) -> Decimal:
    """A quantity that is worth the exchange's smallest order, also when the price falls by half."""
    if not price:
        return ZERO
    return round_down_to_step(2 * instrument.minimum_notional / price, instrument.market_step) + instrument.market_step


def cut(
    quantity: Decimal, instrument: Instrument | None, price: Decimal, most: Decimal | None = None
) -> tuple[Decimal, ...]:
    """All the market orders for ``quantity`` at about ``price``, each of ``most`` at most; mostly one."""
    parts: list[Decimal] = []
    left = quantity
    while left > ZERO:
        parts.append(market_part(left, instrument, most, price))
        left -= parts[-1]
    return tuple(parts) or (quantity,)


def next_slice(side: Side, wanted: Decimal, room: ExitRoom, attempt: int) -> Slice:
    """As much of ``wanted`` as the book shows within the filter, priced to take it.

    The book moves between the look and the order, so the price reaches beyond its last level by 10 bps per attempt,
    200 at most. A book that shows nothing is tried at the filter's bound: somebody may have come since.
    """
    is_sell = side is Side.SELL
    bound = _bound(room, is_sell=is_sell)
    shown, last = ZERO, None
    for price, quantity in room.book.bids if is_sell else room.book.asks:
        if shown >= wanted or (price < bound if is_sell else price > bound):
            break
        shown, last = shown + quantity, price
    most = min(wanted, room.instrument.lot.maximum) if room.instrument.lot.maximum else wanted
    if last is None:
        return Slice(quantity=most, price=bound)
    pad = last * _PAD_BPS * min(attempt, _LARGEST_PAD) / BPS
    price = room.instrument.price_at_nearest_tick(last - pad if is_sell else last + pad)
    part = round_down_to_step(min(most, shown), room.instrument.lot.step)
    return Slice(quantity=part or most, price=max(price, bound) if is_sell else min(price, bound))


def _bound(room: ExitRoom, *, is_sell: bool) -> Decimal:
    """The worst price that PERCENT_PRICE and PRICE_FILTER allow, rounded to the tick towards the mark price."""
    rules = room.instrument
    worst = room.mark * (rules.percent_down if is_sell else rules.percent_up)
    tick = rules.price_at_nearest_tick(worst)
    if is_sell:
        tick = tick + rules.tick_size if tick < worst else tick
        return max(tick, rules.minimum_price)
    tick = tick - rules.tick_size if tick > worst else tick
    return min(tick, rules.maximum_price) if rules.maximum_price else tick
