"""The broadcast: nothing lost, nothing twice, a stalled reader costs nobody anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_dispatcher import Log

from app.core.clock import SystemClock
from app.domain.events import EventType, RecordedEvent
from app.events.broadcast import Broadcast
from app.events.dispatcher import EventDispatcher, SlowSubscriber
from app.repositories.events import EventPage, LogHead
from support.patience import PATIENCE_S


class Reader:
    """Takes what comes while ``is_ready``."""

    def __init__(self) -> None:
        self.is_ready = True
        self.got: list[int] = []

    def write(self, data: bytes) -> None:
        self.got += map(int, data.split())

    async def drain(self) -> None:
        await asyncio.sleep(0)


class Pages:
    """The log as its pages are shown; a page may end early, as a large one does."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def shown_after(
        self, seq: int, limit: int, types: frozenset[EventType] | None, show: Callable[[RecordedEvent], bytes]
    ) -> EventPage:
        found = await self._log.after(seq, limit, types)
        page = found[: max(1, limit // 2)]
        is_last = len(page) == len(found) < limit
        return EventPage(
            tuple(map(show, page)), page[-1].seq if page else seq, is_last, LogHead("log", len(self._log.committed))
        )


def shown(recorded: RecordedEvent) -> bytes:
    return b"%d " % recorded.seq


@asynccontextmanager
async def hall(log: Log, limit: int = 1000) -> AsyncIterator[tuple[EventDispatcher, Broadcast]]:
    dispatcher = EventDispatcher(log)
    broadcast = Broadcast(dispatcher, Pages(log), SystemClock(), shown, limit=limit)
    running = asyncio.create_task(broadcast.run(len(log.committed)))
    await asyncio.sleep(0.01)
    try:
        yield dispatcher, broadcast
    finally:
        dispatcher.close()
        await asyncio.wait_for(running, PATIENCE_S)


async def until_got(reader: Reader, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(reader.got) < count:
            await asyncio.sleep(0.001)


@given(st.lists(st.sampled_from(["commit", "publish", "step"]), max_size=60), st.integers(0, 5), st.integers(0, 3))
def test_no_interleaving_loses_or_repeats_an_event(steps: list[str], after: int, before: int) -> None:
    async def run() -> None:
        log = Log()
        for _ in range(before):
            log.commit()
        async with hall(log) as (dispatcher, broadcast):
            reader = Reader()
            unpublished = []
            following = asyncio.create_task(broadcast.follow(after, None, reader))
            for step in steps:
                if step == "commit":
                    unpublished.append(log.commit())
                elif step == "publish" and unpublished:
                    dispatcher.publish([unpublished.pop(0)])
                else:
                    await asyncio.sleep(0)
            dispatcher.publish(unpublished)
            await until_got(reader, len(log.committed) - after)
        await following
        assert reader.got == list(range(after + 1, len(log.committed) + 1))

    asyncio.run(run())


async def test_a_stalled_reader_is_dropped_where_it_was_and_the_others_get_everything() -> None:
    log = Log()
    async with hall(log, limit=10) as (dispatcher, broadcast):
        stalled, quick = Reader(), Reader()
        followers = [asyncio.create_task(broadcast.follow(0, None, one)) for one in (stalled, quick)]
        await asyncio.sleep(0)
        dispatcher.publish([log.commit()])
        await until_got(stalled, 1)
        stalled.is_ready = False
        for _ in range(30):
            dispatcher.publish([log.commit()])
            await until_got(quick, len(log.committed))
        with pytest.raises(SlowSubscriber) as caught:
            await asyncio.wait_for(followers[0], PATIENCE_S)
        assert caught.value.last_seq == 1
        assert quick.got == list(range(1, 32))
    await followers[1]


async def test_a_reader_that_was_busy_for_a_moment_gets_the_rest() -> None:
    log = Log()
    async with hall(log) as (dispatcher, broadcast):
        reader = Reader()
        reader.is_ready = False
        following = asyncio.create_task(broadcast.follow(0, None, reader))
        await asyncio.sleep(0)
        dispatcher.publish([log.commit() for _ in range(250)])
        await asyncio.sleep(0.05)
        assert reader.got == []
        reader.is_ready = True
        await until_got(reader, 250)
    await following


async def test_filters_leave_out_and_do_not_fall_behind() -> None:
    log = Log()
    async with hall(log, limit=5) as (dispatcher, broadcast):
        reader, witness = Reader(), Reader()
        followers = [
            asyncio.create_task(broadcast.follow(0, frozenset({EventType.HALTED}), reader)),
            asyncio.create_task(broadcast.follow(0, None, witness)),
        ]
        await asyncio.sleep(0)
        for _ in range(30):
            dispatcher.publish([log.commit()])
            await until_got(witness, len(log.committed))
        dispatcher.publish([log.commit(EventType.HALTED)])
        await until_got(reader, 1)
        assert reader.got == [31]
    await asyncio.gather(*followers)
