"""The commit queue decides what goes next, what is retained and what is told."""

from __future__ import annotations

import asyncio

import pytest

from app.db.commit_queue import CLOSING_ATTEMPTS, GROUP_LIMIT, LONGEST_RETRY_S, CommitQueue
from app.db.port import Landing
from app.domain.errors import InvariantBroken, StoreConflict, StoreUnavailable


def opened(capacity: int = 100) -> CommitQueue:
    queue = CommitQueue(capacity)
    queue.open(asyncio.get_running_loop())
    return queue


def put(queue: CommitQueue, *, must_land: bool = False) -> Landing:
    return queue.put((), (), must_land=must_land)


async def test_what_must_land_goes_first_after_a_failure_and_in_order() -> None:
    """Newer arrivals never overtake a record of what already happened (C2)."""
    queue = opened()
    first, second = put(queue, must_land=True), put(queue, must_land=True)
    assert queue.failed(queue.take(), "disk full") is not None
    third = put(queue)
    assert [job.landing for job in queue.take()] == [first, second, third]


async def test_a_failed_group_tells_only_those_that_need_not_land() -> None:
    """An intent is refused at once; a record waits."""
    queue = opened()
    intent, record = put(queue), put(queue, must_land=True)
    queue.failed(queue.take(), "disk full")
    with pytest.raises(StoreUnavailable, match="disk full"):
        await intent
    assert not record.done()
    assert not queue.health.is_healthy
    queue.landed(queue.take(), [()])
    assert await record == ()
    assert queue.health.is_healthy


async def test_retries_back_off_and_stay_bounded() -> None:
    """Each wait is twice the one before, up to a second."""
    queue = opened()
    put(queue, must_land=True)
    delays = [queue.failed(queue.take(), "locked") for _ in range(60)]
    assert delays[:3] == [0.05, 0.1, 0.2]
    assert max(delay for delay in delays if delay is not None) == LONGEST_RETRY_S


async def test_closing_gives_up_after_some_attempts_and_says_so() -> None:
    """A dead disk doesn't keep the process from ending."""
    queue = opened()
    record = put(queue, must_land=True)
    queue.close()
    attempts = 1
    while queue.failed(queue.take(), "disk full") is not None:
        attempts += 1
    assert attempts == CLOSING_ATTEMPTS
    with pytest.raises(StoreUnavailable):
        await record


async def test_a_full_queue_refuses_intents_before_records() -> None:
    """Every queue has a bound; what happened has room when wishes have none."""
    queue = opened(capacity=2)
    landings = [put(queue), put(queue)]
    with pytest.raises(StoreUnavailable, match="2 records wait"):
        put(queue)
    landings += [put(queue, must_land=True), put(queue, must_land=True)]
    with pytest.raises(StoreUnavailable):
        put(queue, must_land=True)
    queue.landed(queue.take(), [()] * 4)
    await asyncio.gather(*landings)
    await put_and_land(queue)


async def put_and_land(queue: CommitQueue) -> None:
    landing = put(queue)
    queue.landed(queue.take(), [()])
    await landing


async def test_groups_are_bounded() -> None:
    """Nobody waits for thousands of others."""
    queue = opened(capacity=GROUP_LIMIT * 2)
    for _ in range(GROUP_LIMIT + 1):
        put(queue)
    assert len(queue.take()) == GROUP_LIMIT
    assert len(queue.take()) == 1


async def test_a_record_that_is_refused_makes_the_store_unhealthy_for_good() -> None:
    """The record can never be right again by itself: a restart reconciles with the exchange."""
    queue = opened()
    record = put(queue, must_land=True)
    queue.landed(queue.take(), [StoreConflict("no such trade")])
    with pytest.raises(StoreConflict):
        await record
    await put_and_land(queue)
    assert "no such trade" in str(queue.health.reason)


async def test_a_conflict_of_an_intent_leaves_the_store_healthy() -> None:
    """A replayed decision is everyday life (C5)."""
    queue = opened()
    intents = [put(queue), put(queue)]
    queue.landed(queue.take(), [StoreConflict("known"), InvariantBroken("no such table")])
    with pytest.raises(StoreConflict):
        await intents[0]
    with pytest.raises(InvariantBroken):
        await intents[1]
    assert queue.health.is_healthy


async def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    """The write goes on; only its waiter has gone."""
    queue = opened()
    gone, stays = put(queue), put(queue)
    gone.cancel()
    queue.landed(queue.take(), [(), ()])
    assert await stays == ()


async def test_nothing_is_taken_before_the_start_or_after_the_close() -> None:
    """What would never be written is refused at once."""
    queue = CommitQueue()
    with pytest.raises(StoreUnavailable, match="not open"):
        put(queue)
    queue.open(asyncio.get_running_loop())
    queue.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        put(queue)
    assert queue.health.reason == "the database is closing"
