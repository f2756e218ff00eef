"""The seams to the outside: wall clock, waiting, seeds and entropy. Nothing else in the package touches them."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from typing import Protocol


class SimClock(Protocol):
    """The venue's time. ``now_us`` is microseconds since 1970-01-01 UTC."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on this clock."""
        ...


class SystemClock:
    """The machine's clock and the event loop's sleep."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)


class SkewedClock:
    """A clock that a fault may set ahead or behind."""

    def __init__(self, base: SimClock, skew_us: Callable[[], int]) -> None:
        self._base = base
        self._skew_us = skew_us

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC, as the venue believes."""
        return self._base.now_us() + self._skew_us()

    async def sleep(self, seconds: float) -> None:
        """Wait on the true clock."""
        await self._base.sleep(seconds)


def seeded(seed: int, purpose: str) -> random.Random:
    """A random source of its own for one purpose, so that one consumer never shifts another's draws."""
    return random.Random(f"{seed}:{purpose}")  # noqa: S311 -- simulation, not cryptography


def entropy_hex(size: int) -> str:
    """Fresh bytes from the operating system, for credentials and listen keys."""
    return secrets.token_hex(size)


def fresh_seed() -> int:
    """A seed for a run that named none."""
    return secrets.randbits(32)
