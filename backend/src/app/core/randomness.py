"""The machine's own chance: the only module of the program that draws random numbers."""

from __future__ import annotations

import secrets

_POOL_BYTES = 4096


class SystemRandomness:
    """:class:`app.domain.ports.Randomness` from the operating system, so that identifiers can't be guessed.

    Drawn in pools, because each event has an identifier and each draw is a call of the operating system.
    """

    def __init__(self) -> None:
        self._source = secrets.SystemRandom()
        self._pool = b""
        self._used = 0

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], evenly."""
        return self._source.uniform(low, high)

    def token(self, bits: int) -> int:
        """An unsigned integer of that many random bits."""
        return int.from_bytes(self._draw((bits + 7) // 8)) >> (-bits % 8)

    def _draw(self, count: int) -> bytes:
        """Bytes that nobody was given before."""
        if self._used + count > len(self._pool):
            self._pool, self._used = secrets.token_bytes(max(_POOL_BYTES, count)), 0
        drawn = self._pool[self._used : self._used + count]
        self._used += count
        return drawn
