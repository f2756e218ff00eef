"""What a refused key does to the requests that follow: no storm of them (scenario L6)."""

from __future__ import annotations

from app.domain.ports import Clock
from app.integrations.aster.priorities import Priority

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Access:
    """Whether the exchange takes our key, as far as it has said.

    After a refusal signed requests wait, longer each time; but for exits, which are worth a try at any time and pace
    themselves.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refusals = 0
        self._closed_until = 0.0

    @property
    def is_refused(self) -> bool:
        """Whether the last signed request was refused for who we are."""
        return self._refusals > 0

    def wait_s(self, priority: Priority) -> float:
        """Seconds until a request of this priority may be tried; zero is now."""
        if not self._refusals or priority <= Priority.CANCEL:
            return 0.0
        return max(0.0, self._closed_until - self._clock.monotonic())

    def refused(self) -> None:
        """Note a refusal. Those of requests that were on their way together count once."""
        now = self._clock.monotonic()
        if now < self._closed_until:
            return
        self._refusals += 1
        self._closed_until = now + min(_FIRST_PAUSE_S * 2.0 ** min(self._refusals - 1, 10), _LONGEST_PAUSE_S)

    def granted(self) -> None:
        """Note a signed request that was not refused for who we are."""
        self._refusals = 0
        self._closed_until = 0.0
