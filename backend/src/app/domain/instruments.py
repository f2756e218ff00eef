"""What the exchange allows to be ordered: tick, step, lot, notional and percent-price rules of a symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.domain.money import ZERO, divide_down, is_multiple, round_down_to_step, round_nearest_to_step


@dataclass(frozen=True, slots=True)
class LotRule:
    """Bounds of a quantity, in base units. A bound of zero is off."""

    minimum: Decimal
    maximum: Decimal
    step: Decimal


@dataclass(frozen=True, slots=True)
class Instrument:
    """One perpetual future's trading rules (fact sheet, section 5).

    Prices are in quote units per base unit, ``minimum_notional`` in quote units. ``percent_up`` and
    ``percent_down`` are multipliers of the mark price: a BUY may not be above ``mark * percent_up``, a SELL not
    below ``mark * percent_down``.
    ``market_take_bound`` is the largest deviation of a market fill from the mark price, as a fraction (0.05 is 5 %).
    """

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    tick_size: Decimal
    minimum_price: Decimal
    maximum_price: Decimal
    lot: LotRule
    market_lot: LotRule
    minimum_notional: Decimal
    percent_up: Decimal
    percent_down: Decimal
    market_take_bound: Decimal
    trigger_protect: Decimal
    maximum_orders: int
    maximum_algo_orders: int
    order_types: frozenset[str]
    times_in_force: frozenset[str]

    @property
    def is_trading(self) -> bool:
        """Whether new positions may be opened (scenario H3)."""
        return self.status == "TRADING"

    @property
    def market_step(self) -> Decimal:
        """Coarser of the two steps: a market quantity must be a multiple of both filters' steps."""
        return max(self.lot.step, self.market_lot.step)

    @property
    def market_minimum(self) -> Decimal:
        """Smallest quantity of a market order."""
        return max(self.lot.minimum, self.market_lot.minimum)

    @property
    def market_maximum(self) -> Decimal:
        """Largest quantity of a market order; zero when there is no bound."""
        bounds = [bound for bound in (self.lot.maximum, self.market_lot.maximum) if bound > ZERO]
        return min(bounds) if bounds else ZERO

    def market_quantity_within(self, notional: Decimal, price: Decimal) -> Decimal:
        """Largest market quantity whose value at ``price`` does not exceed ``notional`` (rounded down, scenario Z1)."""
        return round_down_to_step(divide_down(notional, price), self.market_step)

    def price_at_nearest_tick(self, price: Decimal) -> Decimal:
        """``price`` rounded to the nearest tick counted from the minimum price."""
        return round_nearest_to_step(price - self.minimum_price, self.tick_size) + self.minimum_price

    def is_price_on_tick(self, price: Decimal) -> bool:
        """Whether PRICE_FILTER accepts ``price``."""
        if self.minimum_price > ZERO and price < self.minimum_price:
            return False
        if self.maximum_price > ZERO and price > self.maximum_price:
            return False
        return is_multiple(price - self.minimum_price, self.tick_size)
