"""What a symbol's longs pay its shorts, when, and what was paid."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

HOUR_MS = 3600 * 1000
DEFAULT_INTERVAL_MS = 8 * HOUR_MS
DEFAULT_RATE = Decimal("0.00010000")
HISTORY_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Funding:
    """One settlement of one symbol: the rate that longs paid at a mark price."""

    symbol: str
    rate: Decimal
    mark: Decimal
    time_ms: int


@dataclass(slots=True)
class FundingTerms:
    """The rate of the running interval, as a fraction of the notional: positive when longs pay shorts.

    The default is the interest part alone (0.01 % per eight hours), since mark and index are one here.
    """

    rate: Decimal = DEFAULT_RATE
    interval_ms: int = DEFAULT_INTERVAL_MS
    next_ms: int = 0
    history: deque[Funding] = field(default_factory=lambda: deque(maxlen=HISTORY_KEPT))

    def schedule(self, now_ms: int) -> None:
        """Put the next settlement on the interval's grid after a time."""
        self.next_ms = (now_ms // self.interval_ms + 1) * self.interval_ms
