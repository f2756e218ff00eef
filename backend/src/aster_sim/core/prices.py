"""The prices of one symbol: mark, index and last. Bid and ask come from the book around the mark."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aster_sim.core.numbers import step_nearest


@dataclass(slots=True)
class Prices:
    """Mark, index and last traded price in quote units; ``version`` rises with each change."""

    mark: Decimal
    index: Decimal
    last: Decimal
    changed_ms: int
    version: int = 1

    def move(self, mark: Decimal, last: Decimal, at_ms: int) -> None:
        """Put mark (and index with it) and last at new values."""
        self.mark = self.index = mark
        self.last = last
        self.changed_ms = at_ms
        self.version += 1

    def trade(self, price: Decimal, at_ms: int) -> None:
        """A trade happened at a price: it is the last price now."""
        self.last = price
        self.changed_ms = at_ms
        self.version += 1


def on_tick(price: Decimal, tick: Decimal) -> Decimal:
    """A price rounded to the nearest tick, at least one tick."""
    return max(step_nearest(price, tick), tick)
