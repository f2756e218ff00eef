"""The trading core's time line: durations by the monotonic clock, whatever becomes of the wall clock (P12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.services.execution.steady_clock import SteadyClock

START = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


class Host:
    """A host whose wall clock is ``set_s`` seconds ahead."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.set_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s + self.set_s)

    def monotonic(self) -> float:
        return 1000.0 + self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


def test_it_is_the_wall_clock_as_long_as_nothing_steps() -> None:
    host = Host()
    clock = SteadyClock(host)
    for _ in range(50):
        host.passed_s += 0.1234567
        assert abs(clock.now() - host.now()) <= timedelta(microseconds=2)


@pytest.mark.parametrize("set_s", [-3600.0, -60.0, 60.0, 3600.0])
def test_a_step_of_the_wall_clock_changes_no_duration(set_s: float) -> None:
    host = Host()
    clock = SteadyClock(host)
    before = clock.now()
    host.set_s = set_s
    host.passed_s += 10
    assert (clock.now() - before).total_seconds() == pytest.approx(10, rel=0.011)


@pytest.mark.parametrize("set_s", [-60.0, 60.0])
def test_after_a_step_it_approaches_the_wall_clock_and_only_grows(set_s: float) -> None:
    host = Host()
    clock = SteadyClock(host)
    host.set_s = set_s
    last = clock.now()
    for _ in range(8000):
        host.passed_s += 1
        assert clock.now() > last
        last = clock.now()
    assert abs(last - host.now()) < timedelta(milliseconds=1)


def test_a_time_of_the_wall_clock_finds_its_place_on_the_line() -> None:
    host = Host()
    clock = SteadyClock(host)
    host.set_s = 600
    ten_seconds_ago = host.now() - timedelta(seconds=10)
    assert clock.now() - clock.from_host(ten_seconds_ago) == timedelta(seconds=10)


async def test_it_waits_as_its_host_does() -> None:
    host = Host()
    await SteadyClock(host).sleep(3)
    assert host.passed_s == 3
