"""Following the log of a real database while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.db.port import Database, Unit
from app.domain.events import Event, EventType
from app.events.dispatcher import EventDispatcher
from app.repositories.events import EventRepository
from support.patience import PATIENCE_S

MakeEvent = Callable[..., Event]


async def follow(dispatcher: EventDispatcher, after: int, until: int, types: set[EventType] | None = None) -> list[int]:
    async with dispatcher.subscribe(after, types) as subscription:
        found: list[int] = []
        async for recorded in subscription:
            found.append(recorded.seq)
            if recorded.seq >= until:
                break
        return found


async def test_followers_who_join_at_any_time_see_every_event_once(database: Database, make_event: MakeEvent) -> None:
    """Replay and live meet without a gap and without a repetition."""
    dispatcher = EventDispatcher(EventRepository(database))
    database.follow(dispatcher.publish)
    total = 1500
    followers = []
    for number in range(total):
        kind = EventType.ALERT_RAISED if number % 10 == 9 else EventType.ORDER_PLACED
        landing = database.enqueue(Unit((), (make_event(kind),)))
        if number % 100 == 0:
            followers.append((number, asyncio.create_task(follow(dispatcher, number // 2, total))))
        if number % 7 == 0:
            await landing
    alerts = asyncio.create_task(follow(dispatcher, 0, total, {EventType.ALERT_RAISED}))
    for number, task in followers:
        assert await asyncio.wait_for(task, PATIENCE_S) == list(range(number // 2 + 1, total + 1))
    assert await asyncio.wait_for(alerts, PATIENCE_S) == list(range(10, total + 1, 10))


async def test_a_follower_after_a_restart_resumes_where_it_was(database: Database, make_event: MakeEvent) -> None:
    """The dispatcher is new and has published nothing; the log remembers."""
    for _ in range(5):
        await database.commit(Unit((), (make_event(),)))
    dispatcher = EventDispatcher(EventRepository(database))
    database.follow(dispatcher.publish)
    task = asyncio.create_task(follow(dispatcher, 3, 6))
    await database.commit(Unit((), (make_event(),)))
    assert await asyncio.wait_for(task, PATIENCE_S) == [4, 5, 6]
