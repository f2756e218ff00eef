"""Synthetic prices: a seeded random walk per symbol from the fixed start prices, calm by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from aster_sim.clock import SimClock
from aster_sim.core.numbers import MONEY_STEP, ONE, ZERO, parse_decimal, step_down
from aster_sim.core.prices import on_tick
from aster_sim.core.venue import Venue

if TYPE_CHECKING:
    from random import Random

TICK_S = 0.5
STEP_PPM = 60
JUMP_PPM = 20_000
_DRAWS = 4
_PPM = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Weather:
    """How wild it is: ``volatility`` scales each step, ``jumps`` is the chance of a jump at each step (0 to 1)."""

    volatility: Decimal = ONE
    jumps: Decimal = ZERO


CALM = Weather()


def weather_of(text: str) -> Weather:
    """Weather from ``volatility=3,jumps=0.001``; either may be left out.  Raises ValueError."""
    found = {"volatility": ONE, "jumps": ZERO}
    for part in text.split(","):
        name, _, value = part.partition("=")
        number = parse_decimal(value)
        if name not in found or number is None or number < 0 or (name == "jumps" and number > 1):
            raise ValueError(f"prices synthetic: {part!r} is neither volatility=NUMBER nor jumps=0..1")
        found[name] = number
    return Weather(**found)


class SyntheticFeed:
    """Moves every priced symbol twice a second by about 0.7 basis points (one per second, 0.6 % per hour) when calm.

    A jump is up to 2 % either way, times the volatility.
    """

    name = "synthetic"

    def __init__(
        self,
        venue: Venue,
        clock: SimClock,
        rng: Random,
        settle: Callable[[], None],
        weather: Weather = CALM,
    ) -> None:
        self._spread = max(1, int(STEP_PPM * weather.volatility))
        self._jump_one_in = int(1 / weather.jumps) if weather.jumps else 0
        self._jump_spread = max(1, int(JUMP_PPM * weather.volatility))
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
            draw = sum(self._rng.randint(-self._spread, self._spread) for _ in range(_DRAWS))
            if self._jump_one_in and not self._rng.randrange(self._jump_one_in):
                draw += self._rng.randint(-self._jump_spread, self._jump_spread)
            path = max(step_down(path * (ONE + draw * _PPM), MONEY_STEP), tick)
            self._paths[symbol] = path
            self._venue.jump(symbol, path)
        self._settle()
