"""Nonces: microseconds of the exchange's clock that only rise (fact sheet, section 2; scenario L3)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

USELESS_LEAD_US = 60_000_000


class NonceAllocator:
    """One per signer and process. Thread-safe by a lock.

    The exchange remembers a signer's last 100 nonces and refuses repeats, so two allocators for one signer collide:
    accounts that share a signer share its allocator.

    Args:
        now_us: the exchange's time in microseconds since the epoch.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._last = 0
        self._lock = Lock()

    def allocate(self) -> int:
        """A nonce above all earlier ones: the exchange's time, or one more than the last if time has not moved.

        A last nonce more than a window ahead of the exchange's time came from a clock reading that turned out wrong.
        The exchange refused it and all that follow it, so rising from there would refuse everything: start again.
        """
        with self._lock:
            now = self._now_us()
            last = self._last if self._last - now <= USELESS_LEAD_US else 0
            self._last = max(last + 1, now)
            return self._last
