"""Synthetic prices: a seeded random walk per symbol from the fixed start prices, calm by default."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from aster_sim.clock import SimClock
from aster_sim.core.numbers import MONEY_STEP, ONE, step_down
from aster_sim.core.prices import on_tick
from aster_sim.core.venue import Venue

if TYPE_CHECKING:
    from random import Random

TICK_S = 0.5
STEP_PPM = 60
_DRAWS = 4
_PPM = Decimal("0.000001")


class SyntheticFeed:
    """Moves every priced symbol twice a second by about 0.7 basis points (one per second, 0.6 % per hour)."""

    name = "synthetic"

    def __init__(self, venue: Venue, clock: SimClock, rng: Random, settle: Callable[[], None]) -> None:
        self._venue = venue
        self._clock = clock
        self._rng = rng
        self._settle = settle
        self._paths: dict[str, Decimal] = {}

    async def run(self) -> None:
        """Walk until cancelled."""
        while True:
            await self._clock.sleep(TICK_S)
            self.tick()

    async def close(self) -> None:
        """Nothing is held open."""

    def tick(self) -> None:
        """One step of every symbol that has a price.

        The walk keeps more digits than the tick; when somebody else moved the price, it goes on from there.
        """
        for symbol, market in self._venue.state.markets.items():
            if not market.priced:
                continue
            tick = market.instrument.tick
            path = self._paths.get(symbol, market.prices.mark)
            if on_tick(path, tick) != market.prices.mark:
                path = market.prices.mark
            draw = sum(self._rng.randint(-STEP_PPM, STEP_PPM) for _ in range(_DRAWS))
            path = max(step_down(path * (ONE + draw * _PPM), MONEY_STEP), tick)
            self._paths[symbol] = path
            self._venue.jump(symbol, path)
        self._settle()
