"""Room kept in a limit for what is sure to follow: an entry's own exits, and exits that were told to wait (L7)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from app.domain.ports import Clock
from app.integrations.aster.priorities import Priority

LONGEST_S = 60.0
"""As long as the longest window: what has not been sent by then is no part of the same burst."""


@dataclass(slots=True)
class _Kept:
    until: float
    amounts: Counter[Priority] = field(default_factory=Counter)


class KeptRoom:
    """Amounts of one limit by their owner, a trade, and by the priority of the requests that they are kept for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._totals: Counter[Priority] = Counter()

    @property
    def total(self) -> int:
        """All that is kept."""
        self._expire()
        return self._totals.total()

    def ahead_of(self, priority: Priority) -> int:
        """What is kept for requests that go ahead of one with this priority."""
        if not self._kept:
            return 0
        self._expire()
        return sum(amount for other, amount in self._totals.items() if other < priority)

    def keep(self, owner: str, priority: Priority, amount: int, for_s: float = LONGEST_S) -> None:
        """Keep room for so many requests of ``owner``, for so long at most."""
        until = self._clock.monotonic() + min(for_s, LONGEST_S)
        kept = self._kept.setdefault(owner, _Kept(until))
        kept.until = max(kept.until, until)
        kept.amounts[priority] += amount
        self._totals[priority] += amount

    def holds(self, owner: str, priority: Priority) -> bool:
        """Whether room is kept for a request of ``owner``."""
        kept = self._kept.get(owner)
        return kept is not None and kept.amounts[priority] > 0

    def use(self, owner: str, priority: Priority, amount: int) -> None:
        """A request leaves: the room that was kept for it is its own now."""
        kept = self._kept.get(owner)
        if kept is not None:
            used = min(amount, kept.amounts[priority])
            kept.amounts[priority] -= used
            self._totals[priority] -= used

    def release(self, owner: str) -> None:
        """Keep nothing more for ``owner``."""
        kept = self._kept.pop(owner, None)
        if kept is not None:
            self._totals.subtract(kept.amounts)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for owner in [owner for owner, kept in self._kept.items() if kept.until <= now]:
            self.release(owner)
