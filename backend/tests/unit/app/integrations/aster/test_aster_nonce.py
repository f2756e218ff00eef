"""Nonces rise, whatever the clock and the threads do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from app.integrations.aster.nonce import NEWEST_KEPT, NonceAllocator


def test_nonce_is_the_exchange_time_in_microseconds() -> None:
    assert NonceAllocator(lambda: 1_748_310_859_508_867).allocate() == 1_748_310_859_508_867


def test_nonces_rise_while_time_stands_still_or_goes_back() -> None:
    times = iter([100, 100, 90, 101, 500])
    allocator = NonceAllocator(lambda: next(times))
    assert [allocator.allocate() for _ in range(5)] == [100, 101, 102, 103, 500]


def test_no_nonce_is_given_out_twice_to_threads() -> None:
    allocator = NonceAllocator(lambda: 1_000)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: [allocator.allocate() for _ in range(500)], range(8)))
    nonces = [nonce for batch in batches for nonce in batch]
    assert len(set(nonces)) == len(nonces) == 4000


class Time:
    """Microseconds that a test moves."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def test_an_earlier_nonce_is_as_old_as_was_asked_and_does_not_hold_the_others_back() -> None:
    time = Time(1_000)
    allocator = NonceAllocator(time)
    allocator.allocate()
    time.now_us = 100_000
    assert allocator.allocate_earlier(60_000) == 40_000
    assert allocator.allocate() == 100_000


def test_an_earlier_nonce_is_never_one_that_was_used() -> None:
    time = Time(1_000)
    allocator = NonceAllocator(time)
    used = {allocator.allocate()}
    for time.now_us in range(40_000, 40_005):
        used.add(allocator.allocate())
    time.now_us = 100_000
    earlier = [allocator.allocate_earlier(60_000) for _ in range(10)]
    assert earlier == list(range(40_005, 40_015))
    assert not used & set(earlier)


def test_an_earlier_nonce_stays_among_the_newest_the_exchange_remembers() -> None:
    time = Time(0)
    allocator = NonceAllocator(time)
    for time.now_us in range(1_000, 200_000, 1_000):
        allocator.allocate()
    nonce = allocator.allocate_earlier(150_000)
    assert sum(later > nonce for later in range(1_000, 200_000, 1_000)) == NEWEST_KEPT - 1


def test_nothing_is_earlier_than_what_this_process_knows_of() -> None:
    """An earlier process may have used what lies before; the exchange would refuse it."""
    time = Time(1_000)
    allocator = NonceAllocator(time)
    assert allocator.allocate_earlier(900) == 1_000
    time.now_us = 1_500
    assert allocator.allocate_earlier(900) == 1_001
    time.now_us = 2_000
    assert allocator.allocate_earlier(900) == 1_100


def test_after_a_clock_far_ahead_earlier_nonces_start_again_too() -> None:
    time = Time(10_000_000_000)
    allocator = NonceAllocator(time)
    allocator.allocate()
    time.now_us = 5_000_000
    allocator.allocate()
    time.now_us = 9_000_000
    assert allocator.allocate_earlier(1_000_000) == 8_000_000


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(0, 500)), max_size=300))
def test_no_nonce_is_given_out_twice_whatever_the_mixture(steps: list[tuple[int, bool, int]]) -> None:
    time = Time(1_000)
    allocator = NonceAllocator(time)
    given_out, rising = [], []
    for step_us, is_earlier, age_us in steps:
        time.now_us += step_us
        if is_earlier:
            given_out.append(allocator.allocate_earlier(age_us))
        else:
            rising.append(allocator.allocate())
            given_out.append(rising[-1])
    assert len(set(given_out)) == len(given_out)
    assert rising == sorted(rising)


def test_allocator_recovers_from_a_clock_that_was_far_ahead() -> None:
    times = iter([10_000_000_000, 5_000_000, 5_000_000])
    allocator = NonceAllocator(lambda: next(times))
    assert [allocator.allocate() for _ in range(3)] == [10_000_000_000, 5_000_000, 5_000_001]
