"""What a taker meets: the best offers of synthetic liquidity and resting client orders, in one sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from aster_sim.core.market import Market
from aster_sim.core.numbers import ONE, ZERO
from aster_sim.core.orders import BUY, COUNTERPARTY, LIMIT, Order, OrderRequest


@dataclass(slots=True)
class Offer:
    """Something to hit: a client's resting order, or a level of synthetic liquidity (``maker`` is None)."""

    price: Decimal
    quantity: Decimal
    maker: Order | None


class Offers:
    """The offers against one taker, best first; client orders go before synthetic ones at one price."""

    __slots__ = ("_asks", "_level", "_levels", "_market", "_retail")

    def __init__(self, market: Market, *, taker_buys: bool, retail: bool) -> None:
        """``retail``: the taker is a person at the website."""
        self._market = market
        self._retail = retail
        self._asks = taker_buys
        self._levels: Iterator[tuple[Decimal, Decimal]] = market.liquidity.levels(market.prices.mark, asks=taker_buys)
        self._level: Offer | None = None
        self._advance()

    def _advance(self) -> None:
        level = next(self._levels, None)
        self._level = Offer(level[0], level[1], None) if level else None

    def best(self) -> Offer | None:
        """The best offer now; None when nothing is left."""
        client = self._market.book.best(asks=self._asks, retail=self._retail)
        level = self._level
        if client is None:
            return level
        if level is not None and (level.price < client.price if self._asks else level.price > client.price):
            return level
        return Offer(client.price, client.remaining, client)

    def take(self, offer: Offer, quantity: Decimal) -> None:
        """Use up part of a synthetic level; client orders shrink by their own fills."""
        if offer.maker is None:
            offer.quantity -= quantity
            if offer.quantity <= ZERO:
                self._advance()


def pegged(market: Market, request: OrderRequest) -> OrderRequest:
    """A pegged order with its price: the best one of the other side (COUNTERPARTY_1) or its own (QUEUE_1), plus offset.

    The price is found once, as the order comes in, and does not follow the book afterwards.
    """
    other = request.peg_price_type == COUNTERPARTY
    best, _ = market.best(asks=(request.side == BUY) == other)
    return msgspec.structs.replace(request, price=best + request.peg_offset)


def price_bound(market: Market, order: Order) -> Decimal:
    """The worst price at which a taker may trade: its limit, or marketTakeBound around the mark."""
    if order.type == LIMIT:
        return order.price
    bound = market.instrument.market_take_bound
    return market.prices.mark * (ONE + bound if order.buys else ONE - bound)


def acceptable(order: Order, price: Decimal, bound: Decimal) -> bool:
    """Whether a price is no worse than the bound."""
    return price <= bound if order.buys else price >= bound


def crosses(market: Market, order: Order) -> bool:
    """Whether a limit order would take at once, hidden orders included."""
    client = market.book.best(asks=order.buys, retail=order.retail)
    if client is not None and acceptable(order, client.price, order.price):
        return True
    price, quantity = market.best(asks=order.buys)
    return quantity > ZERO and acceptable(order, price, order.price)


def can_fill_whole(market: Market, order: Order) -> bool:
    """Whether the offers within the order's bound cover it (FOK)."""
    bound = price_bound(market, order)
    missing = order.remaining
    for price, quantity in market.depth_for(order):
        if not acceptable(order, price, bound):
            break
        missing -= quantity
    return missing <= ZERO
