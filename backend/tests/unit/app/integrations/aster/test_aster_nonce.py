"""Nonces rise, whatever the clock and the threads do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.integrations.aster.nonce import NonceAllocator


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


def test_allocator_recovers_from_a_clock_that_was_far_ahead() -> None:
    times = iter([10_000_000_000, 5_000_000, 5_000_000])
    allocator = NonceAllocator(lambda: next(times))
    assert [allocator.allocate() for _ in range(3)] == [10_000_000_000, 5_000_000, 5_000_001]
