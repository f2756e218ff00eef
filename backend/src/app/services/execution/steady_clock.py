"""The time line of the trading core: the host's wall clock without its steps.

Operators and NTP set a wall clock; a deadline, a pause and an age are durations all the same (scenario P12). On this
line every difference is a duration by the monotonic clock, and its times are those of the wall clock as long as nothing
steps. After a step the line approaches the wall clock again, slowly, so that what is recorded stays true.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.ports import Clock

_APPROACH = 0.01
"""By so much of a duration, at most, the line runs fast or slow after a step."""


class SteadyClock:
    """:class:`app.domain.ports.Clock` whose :meth:`now` never steps."""

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._read_at = host.monotonic()
        self._now = host.now()

    def now(self) -> datetime:
        """The time on the line, aware, in UTC; it only grows."""
        at = self._host.monotonic()
        passed_s = at - self._read_at
        reckoned = self._now + timedelta(seconds=passed_s)
        most_s = passed_s * _APPROACH
        behind_s = (self._host.now() - reckoned).total_seconds()
        self._read_at, self._now = at, reckoned + timedelta(seconds=max(-most_s, min(behind_s, most_s)))
        return self._now

    def from_host(self, moment: datetime) -> datetime:
        """Where a time that somebody read from a wall clock lies on the line."""
        return moment + (self.now() - self._host.now())

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean something."""
        return self._host.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long; zero or less yields once."""
        await self._host.sleep(seconds)
