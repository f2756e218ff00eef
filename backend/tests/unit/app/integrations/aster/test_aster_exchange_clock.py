"""The exchange's time is known within half a round trip, and never from the host's wall clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aster_doubles import LeapingClock

from app.domain.errors import NotSent
from app.integrations.aster.exchange_clock import ExchangeClock, datetime_from_ms, ms_from_datetime


def test_time_before_the_first_sample_fails_clearly() -> None:
    clock = ExchangeClock(LeapingClock())
    assert not clock.is_synchronised
    with pytest.raises(NotSent, match="start"):
        clock.now()


def test_time_runs_on_from_the_middle_of_the_round_trip() -> None:
    host = LeapingClock()
    clock = ExchangeClock(host)
    host.seconds = 1000.2
    assert clock.observe(1_700_000_000_000, 1000.0, 1000.2)
    assert clock.now_us() == pytest.approx(1_700_000_000_100_000, abs=2)
    host.seconds += 10
    assert clock.now_us() == pytest.approx(1_700_000_010_100_000, abs=2)
    assert clock.error_bound_s == pytest.approx(0.1 + 10.1 * 1e-4)


def test_quicker_sample_wins_and_slower_one_does_not() -> None:
    clock = ExchangeClock(LeapingClock())
    clock.observe(1_999_800, 999.0, 1000.0)
    clock.observe(2_000_000, 999.99, 1000.0)
    assert clock.now_us() == pytest.approx(2_000_005_000, abs=2)
    clock.observe(1_999_900, 999.5, 1000.0)
    assert clock.now_us() == pytest.approx(2_000_005_000, abs=2)
    assert clock.moved_s == 0


def test_sample_that_contradicts_the_estimate_wins_however_slow_it_is() -> None:
    """Scenario L2: the exchange's clock was set."""
    clock = ExchangeClock(LeapingClock())
    clock.observe(2_000_000, 999.999, 1000.0)
    clock.observe(2_010_000, 999.0, 1000.0)
    assert clock.now_us() == pytest.approx(2_010_500_000, abs=2)
    assert clock.moved_s == pytest.approx(9.999, abs=0.01)


def test_old_estimate_gives_way_to_a_slower_sample_in_time() -> None:
    host = LeapingClock()
    clock = ExchangeClock(host)
    clock.observe(0, 1000.0, 1000.01)
    host.seconds = 5000.0
    clock.observe(77_000_000, 4999.8, 5000.0)
    assert clock.now_us() == pytest.approx(77_000_100_000, abs=2)


def test_sample_too_slow_to_trust_is_not_taken() -> None:
    clock = ExchangeClock(LeapingClock())
    assert not clock.observe(1, 990.0, 1000.0)
    assert not clock.is_synchronised


def test_milliseconds_survive_the_way_to_datetime_and_back() -> None:
    for milliseconds in (0, 1_776_800_300_736, 253_402_300_799_999):
        assert ms_from_datetime(datetime_from_ms(milliseconds)) == milliseconds
    assert datetime_from_ms(1_749_806_368_527) == datetime(2025, 6, 13, 9, 19, 28, 527_000, tzinfo=UTC)
