"""Synthetic liquidity: what other people offer around the mark price.

The shape (half spread, spacing, size of each level) is drawn once per symbol from the venue's seed and
then follows the mark. It refills at once: each taker meets the whole depth again, so the venue's answers
depend on seed, mark and order only, never on how fast earlier takers came.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from aster_sim.core.catalogue import Instrument
from aster_sim.core.numbers import ONE, ZERO, step_down, step_up

if TYPE_CHECKING:
    from random import Random

Level = tuple[Decimal, Decimal]
LEVELS = 40
_PPM = Decimal("0.000001")
_TOP_NOTIONAL = {"BTC": 150_000, "ETH": 100_000}
_TOP_NOTIONAL_OTHERS = 30_000


class Liquidity:
    """The synthetic book of one symbol; notionals in quote units, distances in millionths of the mark."""

    __slots__ = ("_drawn", "_half_spread", "_instrument", "_sizes", "_spacing")

    def __init__(self, instrument: Instrument, rng: Random, depth: Decimal) -> None:
        """Draw the shape; ``depth`` scales every level (1 is normal, 0.01 a thin book)."""
        self._instrument = instrument
        self._half_spread = rng.randint(10, 40) * _PPM
        self._spacing = rng.randint(60, 140) * _PPM
        self._drawn: dict[bool, tuple[Decimal, list[Level], Iterator[Level]]] = {}
        top = Decimal(_TOP_NOTIONAL.get(instrument.base_asset, _TOP_NOTIONAL_OTHERS)) * depth
        self._sizes = {
            True: [top * (100 + 10 * level) * rng.randint(60, 140) / 10_000 for level in range(LEVELS)],
            False: [top * (100 + 10 * level) * rng.randint(60, 140) / 10_000 for level in range(LEVELS)],
        }

    def levels(self, mark: Decimal, *, asks: bool) -> Iterator[Level]:
        """(price, quantity) from the best level outward; prices on the tick, quantities on the step.

        They depend on the mark alone, so what was worked out for it is kept until it moves.
        """
        drawn = self._drawn.get(asks)
        if drawn is None or drawn[0] != mark:
            drawn = self._drawn[asks] = (mark, [], self._draw(mark, asks=asks))
        _, known, rest = drawn
        at = 0
        while True:
            if at == len(known):
                level = next(rest, None)
                if level is None:
                    return
                known.append(level)
            yield known[at]
            at += 1

    def _draw(self, mark: Decimal, *, asks: bool) -> Iterator[Level]:
        tick, step = self._instrument.tick, self._instrument.step
        away = ONE if asks else -ONE
        best = mark * (ONE + away * self._half_spread)
        best = step_up(best, tick) if asks else step_down(best, tick)
        spacing = step_down(mark * self._spacing, tick)
        for level, size in enumerate(self._sizes[asks]):
            price = best + away * max(level * tick, level * spacing)
            if price <= ZERO:
                return
            yield price, max(step_down(size / price, step), step)

    def best(self, mark: Decimal, *, asks: bool) -> Level:
        """The best level; a venue without bids (mark at one tick) shows zero."""
        return next(self.levels(mark, asks=asks), (ZERO, ZERO))
