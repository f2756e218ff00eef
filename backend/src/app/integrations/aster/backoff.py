"""Growing waits with jitter, for connections that must come back."""

from __future__ import annotations

from app.domain.ports import Clock, Randomness

_EASED_FAILURES = 3


class Backoff:
    """Wait n lasts base · 2ⁿ · U(0.5, 1) seconds, at most ``longest_s``."""

    def __init__(self, clock: Clock, randomness: Randomness, *, base_s: float, longest_s: float) -> None:
        self._clock = clock
        self._randomness = randomness
        self._base_s = base_s
        self._longest_s = longest_s
        self._failures = 0

    def reset(self) -> None:
        """Begin small again: something worked."""
        self._failures = 0

    def ease(self) -> None:
        """Something worked, but not for long: from here on the waits are short, though not the shortest."""
        self._failures = min(self._failures, _EASED_FAILURES)

    async def wait(self, at_least_s: float = 0.0) -> None:
        """Wait once more, and at least as long as told."""
        grown = min(self._base_s * 2.0 ** min(self._failures, 30), self._longest_s)
        self._failures += 1
        await self._clock.sleep(max(at_least_s, grown * self._randomness.uniform(0.5, 1.0)))
