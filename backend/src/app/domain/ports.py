"""The seams: everything that the pure code and the services get from outside comes through one of these.

The proof by simulation replaces exactly these. A lint test keeps all other modules from calling ``time``, ``random``,
``uuid``, ``datetime.now`` or sockets.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time and the only way to wait."""

    def now(self) -> datetime:
        """The host's wall clock, aware, in UTC. It may be set: a difference of two of its times is no duration."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long; zero or less yields once."""
        ...


class Randomness(Protocol):
    """The only source of chance: jitter and identifiers."""

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], evenly."""
        ...

    def token(self, bits: int) -> int:
        """An unsigned integer of that many random bits."""
        ...
