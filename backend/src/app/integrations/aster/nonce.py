"""Nonces: microseconds of the exchange's clock that only rise (fact sheet, section 2; scenario L3)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from threading import Lock

USELESS_LEAD_US = 60_000_000
NEWEST_KEPT = 50
"""Half of what the exchange remembers: an earlier nonce may be overtaken by as many again before it arrives."""
MOST_OVERTAKING = 75
"""Three quarters of what the exchange remembers: once so many later ones have left, a nonce is drawn anew."""


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
        self._newest: list[int] = []
        self._left: list[int] = []
        self._lock = Lock()

    def allocate(self) -> int:
        """A nonce above all earlier ones: the exchange's time, or one more than the last if time has not moved.

        A last nonce more than a window ahead of the exchange's time came from a clock reading that turned out wrong.
        The exchange refused it and all that follow it, so rising from there would refuse everything: start again.
        """
        with self._lock:
            now = self._now_us()
            return self._rise(now)

    def allocate_earlier(self, age_us: int) -> int:
        """An unused nonce from ``age_us`` ago, or from as long ago as the exchange will certainly take.

        It refuses what is older than the signer's newest hundred. Of those we only know the ones given out here, so the
        nonce is younger than the fiftieth newest of them, and than the first: on a busy account, and after a start, it
        is hardly an earlier one at all. Whoever takes it must reckon with the nonce, not with ``age_us``.
        """
        with self._lock:
            now = self._now_us()
            newest = self._newest
            nonce = max(now - age_us, newest[0] + 1) if newest else now
            while (at := bisect_left(newest, nonce)) < len(newest) and newest[at] == nonce:
                nonce += 1
            if nonce >= now:
                return self._rise(now)
            self._last = max(self._last, nonce)
            insort(newest, nonce)
            del newest[:-NEWEST_KEPT]
            return nonce

    def leaves(self, nonce: int) -> None:
        """Note a nonce whose request leaves now."""
        with self._lock:
            insort(self._left, nonce)
            del self._left[:-MOST_OVERTAKING]

    def is_overtaken(self, nonce: int) -> bool:
        """Whether so many later nonces have left that this one may be refused when it arrives (scenario L2)."""
        with self._lock:
            return len(self._left) == MOST_OVERTAKING and nonce < self._left[0]

    def _rise(self, now: int) -> int:
        if self._last - now > USELESS_LEAD_US:
            self._last = 0
            self._newest.clear()
            self._left.clear()
        self._last = max(self._last + 1, now)
        self._newest.append(self._last)
        del self._newest[:-NEWEST_KEPT]
        return self._last
