"""Repeats: what goes wrong again and again the same way is one alert, not one each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from app.domain.ports import Clock

_WINDOW_S = 900.0
_MOST_KEPT = 1_000


class Repeats:
    """Remembers what was told lately, in this process."""

    def __init__(self, clock: Clock, window_s: float = _WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._seen_at: OrderedDict[Hashable, float] = OrderedDict()

    def is_first(self, key: Hashable) -> bool:
        """Whether it has not come within the window; a repetition makes the window begin anew."""
        now = self._clock.monotonic()
        before = self._seen_at.pop(key, None)
        self._seen_at[key] = now
        if len(self._seen_at) > _MOST_KEPT:
            self._seen_at.popitem(last=False)
        return before is None or now - before > self._window_s
