"""The dispatcher: nothing lost, nothing twice, nobody slowed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Event, EventType, RecordedEvent
from app.events.dispatcher import EventDispatcher, SlowSubscriber, Subscription
from support.patience import PATIENCE_S

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Log:
    """A log in memory. Committed events may be ahead of published ones, as in life."""

    def __init__(self) -> None:
        self.committed: list[RecordedEvent] = []
        self.reads = 0

    def commit(self, kind: EventType = EventType.ORDER_PLACED) -> RecordedEvent:
        seq = len(self.committed) + 1
        event = Event(id=str(seq), type=kind, time=NOW, account_id="default", is_paper=True)
        self.committed.append(RecordedEvent(seq, event))
        return self.committed[-1]

    async def after(self, seq: int, limit: int, types: frozenset[EventType] | None) -> list[RecordedEvent]:
        self.reads += 1
        await asyncio.sleep(0)
        found = [item for item in self.committed if item.seq > seq and (types is None or item.event.type in types)]
        await asyncio.sleep(0)
        return found[:limit]


async def take(subscription: Subscription, number: int) -> list[int]:
    return [(await asyncio.wait_for(anext(subscription), PATIENCE_S)).seq for _ in range(number)]


def publish(dispatcher: EventDispatcher, events: Iterable[RecordedEvent]) -> None:
    for event in events:
        dispatcher.publish([event])


async def test_what_is_committed_but_not_published_yet_comes_once() -> None:
    """The replay may read further than the news has travelled."""
    log = Log()
    dispatcher = EventDispatcher(log)
    events = [log.commit() for _ in range(3)]
    subscription = dispatcher.subscribe(0)
    assert await take(subscription, 3) == [1, 2, 3]
    waiting = asyncio.create_task(take(subscription, 1))
    await asyncio.sleep(0.01)
    publish(dispatcher, [*events, log.commit()])
    assert await waiting == [4]


@given(st.lists(st.sampled_from(["commit", "publish", "step"]), max_size=60), st.integers(0, 5))
def test_no_interleaving_loses_or_repeats_an_event(steps: list[str], after: int) -> None:
    """Commits, news and the reader's steps in any order."""

    async def run() -> None:
        log = Log()
        dispatcher = EventDispatcher(log)
        unpublished: list[RecordedEvent] = []
        found: list[int] = []

        async def read() -> None:
            found.extend([recorded.seq async for recorded in dispatcher.subscribe(after)])

        reader = asyncio.create_task(read())
        for step in steps:
            if step == "commit":
                unpublished.append(log.commit())
            elif step == "publish" and unpublished:
                dispatcher.publish([unpublished.pop(0)])
            else:
                await asyncio.sleep(0)
        publish(dispatcher, unpublished)
        for _ in range(20):
            await asyncio.sleep(0)
        dispatcher.close()
        await asyncio.wait_for(reader, PATIENCE_S)
        assert found == list(range(after + 1, len(log.committed) + 1))

    asyncio.run(run())


async def test_what_another_process_committed_in_between_is_read_from_the_log() -> None:
    """Who followed while standing by hears everything after the takeover: only our own commits are published."""
    log = Log()
    dispatcher = EventDispatcher(log)
    subscription = dispatcher.subscribe(0)
    waiting = asyncio.create_task(take(subscription, 1))
    await asyncio.sleep(0.01)
    publish(dispatcher, [log.commit()])
    assert await waiting == [1]
    waiting = asyncio.create_task(take(subscription, 4))
    await asyncio.sleep(0.01)
    for _ in range(2):
        log.commit()
    publish(dispatcher, [log.commit(), log.commit()])
    assert await waiting == [2, 3, 4, 5]
    publish(dispatcher, [log.commit()])
    assert await take(subscription, 1) == [6]


async def test_a_slow_follower_is_dropped_and_can_resume() -> None:
    """Publishing never waits; the follower learns where it was, and misses nothing."""
    log = Log()
    dispatcher = EventDispatcher(log, queue_limit=10)
    slow, quick = dispatcher.subscribe(0), dispatcher.subscribe(0)
    publish(dispatcher, [log.commit()])
    assert await take(slow, 1) == await take(quick, 1) == [1]
    going_live = [asyncio.create_task(take(follower, 1)) for follower in (slow, quick)]
    await asyncio.sleep(0.01)
    publish(dispatcher, [log.commit()])
    await asyncio.gather(*going_live)
    for _ in range(11):
        publish(dispatcher, [log.commit()])
        await take(quick, 1)
    with pytest.raises(SlowSubscriber) as dropped:
        await anext(slow)
    assert dropped.value.last_seq == 2
    assert await take(dispatcher.subscribe(dropped.value.last_seq), 11) == list(range(3, 14))


async def test_types_that_are_not_wanted_do_not_fill_the_queue() -> None:
    """A follower of alerts is not dropped for other people's orders."""
    log = Log()
    dispatcher = EventDispatcher(log, queue_limit=2)
    subscription = dispatcher.subscribe(0, {EventType.ALERT_RAISED})
    waiting = asyncio.create_task(take(subscription, 1))
    await asyncio.sleep(0.01)
    publish(dispatcher, [log.commit() for _ in range(50)])
    publish(dispatcher, [log.commit(EventType.ALERT_RAISED)])
    assert await waiting == [51]


async def test_a_follower_of_rare_events_goes_live_without_reading_forever() -> None:
    """Pages without a wanted event still move it forward."""
    log = Log()
    dispatcher = EventDispatcher(log)
    publish(dispatcher, [log.commit() for _ in range(2000)])
    waiting = asyncio.create_task(take(dispatcher.subscribe(0, {EventType.ALERT_RAISED}), 1))
    await asyncio.sleep(0.05)
    assert log.reads == 1
    publish(dispatcher, [log.commit(EventType.ALERT_RAISED)])
    assert await waiting == [2001]


async def test_a_long_log_is_read_in_pages() -> None:
    """Nobody holds a whole log in memory."""
    log = Log()
    dispatcher = EventDispatcher(log)
    publish(dispatcher, [log.commit() for _ in range(1100)])
    assert await take(dispatcher.subscribe(0), 1100) == list(range(1, 1101))
    assert log.reads == 3


async def test_closing_ends_iteration_after_what_waits() -> None:
    """At shutdown followers get what was published, then their loops end."""
    log = Log()
    dispatcher = EventDispatcher(log)
    subscription = dispatcher.subscribe(0)
    waiting = asyncio.create_task(take(subscription, 1))
    await asyncio.sleep(0.01)
    publish(dispatcher, [log.commit(), log.commit()])
    dispatcher.close()
    assert await waiting == [1]
    assert [recorded.seq async for recorded in subscription] == [2]


async def test_a_closed_subscription_gets_nothing_more() -> None:
    """Leaving the ``async with`` is enough, also for a reader that waits."""
    log = Log()
    dispatcher = EventDispatcher(log)
    async with dispatcher.subscribe(0) as subscription:
        waiting = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0.01)
    with pytest.raises(StopAsyncIteration):
        await waiting
    publish(dispatcher, [log.commit()])
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
