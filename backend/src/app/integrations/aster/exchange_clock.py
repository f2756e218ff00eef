"""The exchange's time, as well as it can be known from here (scenario L2).

It is an offset to the host's *monotonic* clock: a local wall clock that is wrong, or is set while we run, changes
nothing. Reading never blocks; whoever owns a connection feeds samples in.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.domain.errors import NotSent
from app.domain.ports import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REFRESH_AFTER_S = 60.0
LONGEST_ROUND_TRIP_S = 4.0
_DRIFT_PER_S = 1e-4
_RESOLUTION_S = 0.001


class ClockNotSynchronised(NotSent):
    """The exchange's time was asked for before the first sample. Nothing can be stamped; call ``start()`` first."""

    def __init__(self) -> None:
        super().__init__("the exchange's time is not known yet: call start() or sync_time() first")


def datetime_from_us(microseconds: int) -> datetime:
    """Aware UTC time of microseconds since the epoch, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def datetime_from_ms(milliseconds: int) -> datetime:
    """Aware UTC time of milliseconds since the epoch, exactly."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def ms_from_datetime(at: datetime) -> int:
    """Whole milliseconds since the epoch, rounded down."""
    return (at - EPOCH) // timedelta(milliseconds=1)


class ExchangeClock:
    """Keeps the sample that bounds the exchange's time most tightly.

    A sample taken over a round trip of r seconds is wrong by at most r/2; with age the bound widens by the drift of two
    quartzes. A new sample replaces the old one when its bound is the tighter of the two, or when both can't be true:
    then the exchange's clock was set.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._base_us = 0
        self._base_monotonic = 0.0
        self._error_s = 0.0
        self._sampled_at: float | None = None
        self.moved_s = 0.0
        """By how many seconds the last sample lies outside of what the estimate before it allowed; ahead is above 0."""

    @property
    def is_synchronised(self) -> bool:
        """Whether a sample was ever accepted."""
        return self._sampled_at is not None

    @property
    def error_bound_s(self) -> float:
        """Seconds by which :meth:`now_us` may be wrong.

        Raises:
            ClockNotSynchronised: before the first sample.
        """
        if self._sampled_at is None:
            raise ClockNotSynchronised
        return self._error_s + (self._clock.monotonic() - self._base_monotonic) * _DRIFT_PER_S

    @property
    def wants_sample(self) -> bool:
        """Whether the last sample is older than a minute, or there is none."""
        return self._sampled_at is None or self._clock.monotonic() - self._sampled_at > REFRESH_AFTER_S

    def observe(self, server_ms: int, sent_at: float, received_at: float) -> bool:
        """Take a sample: the server said ``server_ms`` between two monotonic instants. False when it is too slow."""
        round_trip = received_at - sent_at
        if round_trip > LONGEST_ROUND_TRIP_S:
            return False
        error_s = round_trip / 2
        self.moved_s = self._contradiction_s(server_ms, sent_at + error_s, error_s)
        if self._sampled_at is None or self.moved_s or error_s <= self.error_bound_s:
            self._base_us = server_ms * 1000
            self._base_monotonic = sent_at + error_s
            self._error_s = error_s
        self._sampled_at = received_at
        return True

    def _contradiction_s(self, server_ms: int, at: float, error_s: float) -> float:
        """How far apart the estimate and a sample taken ``at`` are, beyond what both may be wrong by."""
        if self._sampled_at is None:
            return 0.0
        expected_us = self._base_us + (at - self._base_monotonic) * 1_000_000
        apart_s = server_ms / 1000 - expected_us / 1_000_000
        allowed_s = self.error_bound_s + error_s + _RESOLUTION_S
        if abs(apart_s) <= allowed_s:
            return 0.0
        return apart_s - allowed_s if apart_s > 0 else apart_s + allowed_s

    def now_us(self) -> int:
        """The exchange's time in microseconds since the epoch.

        Raises:
            ClockNotSynchronised: before the first sample.
        """
        if self._sampled_at is None:
            raise ClockNotSynchronised
        return self._base_us + int((self._clock.monotonic() - self._base_monotonic) * 1_000_000)

    def now(self) -> datetime:
        """The exchange's time, aware, in UTC.

        Raises:
            ClockNotSynchronised: before the first sample.
        """
        return datetime_from_us(self.now_us())
