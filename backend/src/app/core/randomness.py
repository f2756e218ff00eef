"""The machine's own chance: the only module of the program that draws random numbers."""

from __future__ import annotations

import secrets


class SystemRandomness:
    """:class:`app.domain.ports.Randomness` from the operating system, so that identifiers can't be guessed."""

    def __init__(self) -> None:
        self._source = secrets.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], evenly."""
        return self._source.uniform(low, high)

    def token(self, bits: int) -> int:
        """An unsigned integer of that many random bits."""
        return secrets.randbits(bits)
