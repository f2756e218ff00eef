"""One symbol's market: its rules, prices, brackets, synthetic liquidity, client book and triggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from aster_sim.core.book import ClientBook
from aster_sim.core.brackets import Bracket
from aster_sim.core.catalogue import Instrument
from aster_sim.core.funding_terms import FundingTerms
from aster_sim.core.liquidity import Liquidity
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import RPI, Order
from aster_sim.core.prices import Prices
from aster_sim.core.triggers import TriggerIndex


@dataclass(slots=True)
class Market:
    """All that one symbol needs; ``prices.mark`` is zero as long as no price is known.

    ``holders`` are the names of the accounts with a position here; who does something to all of them goes by name,
    so that a restart changes no order of events. ``interest_cap`` is the most that clients may hold together, in
    quote units, None for no cap.
    """

    instrument: Instrument
    brackets: tuple[Bracket, ...]
    liquidity: Liquidity
    prices: Prices
    book: ClientBook = field(default_factory=ClientBook)
    triggers: TriggerIndex = field(default_factory=TriggerIndex)
    holders: set[str] = field(default_factory=set)
    funding: FundingTerms = field(default_factory=FundingTerms)
    interest_cap: Decimal | None = None

    @property
    def max_leverage(self) -> int:
        """The highest leverage of any tier."""
        return self.brackets[0].max_leverage

    @property
    def priced(self) -> bool:
        """Whether a price is known."""
        return self.prices.mark > ZERO

    def best(self, *, asks: bool) -> tuple[Decimal, Decimal]:
        """Best visible price and its quantity over synthetic and client orders; zeros when nothing is offered."""
        price, quantity = self.liquidity.best(self.prices.mark, asks=asks) if self.priced else (ZERO, ZERO)
        if self.book.empty(asks=asks):
            return price, quantity
        client = next((order for order in self.book.orders(asks=asks) if not order.hidden), None)
        if client is None:
            return price, quantity
        better = not price or (client.price < price if asks else client.price > price)
        if not better and client.price != price:
            return price, quantity
        own = ZERO
        for order in self.book.orders(asks=asks):
            if order.price != client.price or order.hidden:
                break
            own += order.remaining
        return client.price, own if better else own + quantity

    def depth(self, limit: int, *, asks: bool) -> list[tuple[Decimal, Decimal]]:
        """Up to ``limit`` levels of one side as the public sees it, best first."""
        return self._levels([row for row in self.book.orders(asks=asks) if not row.hidden], asks=asks)[:limit]

    def depth_for(self, taker: Order) -> list[tuple[Decimal, Decimal]]:
        """All levels that a taker can hit, best first; hidden orders included."""
        asks = taker.buys
        rows = [row for row in self.book.orders(asks=asks) if taker.retail or row.time_in_force != RPI]
        return self._levels(rows, asks=asks)

    def _levels(self, orders: list[Order], *, asks: bool) -> list[tuple[Decimal, Decimal]]:
        levels: dict[Decimal, Decimal] = {}
        if self.priced:
            levels.update(self.liquidity.levels(self.prices.mark, asks=asks))
        for order in orders:
            levels[order.price] = levels.get(order.price, ZERO) + order.remaining
        return sorted(levels.items(), reverse=not asks)
