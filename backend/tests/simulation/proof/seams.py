"""What the service gets from outside, virtual: its host's clock and its chance."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

from proof.loop import VirtualLoop

EPOCH = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
"""The true time at which every run begins."""
EPOCH_US = int(EPOCH.timestamp()) * 1_000_000


class HostClock:
    """The clock of the service's machine: it drifts, and somebody may set it.

    Args:
        drift: seconds gained per second; waits are measured by it too, as they would be.
    """

    def __init__(self, loop: VirtualLoop, *, drift: float = 0.0) -> None:
        self._loop = loop
        self._rate = 1.0 + drift
        self.skew_s = 0.0
        """How far the wall clock is set ahead."""

    def now(self) -> datetime:
        """The host's wall clock."""
        return EPOCH + timedelta(seconds=self._loop.time() * self._rate + self.skew_s)

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return self._loop.time() * self._rate

    async def sleep(self, seconds: float) -> None:
        """Wait, without waiting."""
        await asyncio.sleep(max(0.0, seconds / self._rate))


class TrueClock:
    """The venue's clock before any fault sets it wrong."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return EPOCH_US + int(self._loop.time() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Wait, without waiting."""
        await asyncio.sleep(max(0.0, seconds))


class SeededRandomness:
    """The service's chance."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high]."""
        return self._dice.uniform(low, high)

    def token(self, bits: int) -> int:
        """Random bits."""
        return self._dice.getrandbits(bits)
