"""Who waits for a turn leaves by importance (L2, L7)."""

from __future__ import annotations

import asyncio

import pytest

from app.integrations.aster.priorities import Priority
from app.integrations.aster.send_queue import SendQueue
from support.patience import PATIENCE_S


async def _leave(queue: SendQueue, priority: Priority, left: list[Priority], until: asyncio.Event) -> None:
    async with queue.turn(priority):
        left.append(priority)
        await until.wait()


async def test_those_that_wait_leave_by_importance() -> None:
    queue, left, answered = SendQueue(at_once=1, for_exits=0), list[Priority](), asyncio.Event()
    order = (Priority.QUERY, Priority.ENTRY, Priority.TARGET, Priority.PROTECT, Priority.CLOSE)
    tasks = [asyncio.create_task(_leave(queue, priority, left, answered)) for priority in order]
    await asyncio.sleep(0)
    assert left == [Priority.QUERY]
    answered.set()
    await asyncio.gather(*tasks)
    assert left == [Priority.QUERY, Priority.CLOSE, Priority.PROTECT, Priority.TARGET, Priority.ENTRY]


async def test_exits_have_turns_that_nothing_else_takes() -> None:
    queue, left, answered = SendQueue(at_once=3, for_exits=1), list[Priority](), asyncio.Event()
    order = (Priority.QUERY, Priority.ENTRY, Priority.ENTRY, Priority.PROTECT)
    tasks = [asyncio.create_task(_leave(queue, priority, left, answered)) for priority in order]
    await asyncio.sleep(0)
    assert left == [Priority.QUERY, Priority.ENTRY, Priority.PROTECT]
    answered.set()
    await asyncio.gather(*tasks)
    assert len(left) == 4


@pytest.mark.parametrize("is_given", [True, False])
async def test_a_turn_that_nobody_takes_is_passed_on(is_given: bool) -> None:
    queue, left, answered = SendQueue(at_once=1, for_exits=0), list[Priority](), asyncio.Event()
    tasks = [asyncio.create_task(_leave(queue, Priority.CLOSE, left, answered)) for _ in range(3)]
    await asyncio.sleep(0)
    if is_given:
        answered.set()
        while not tasks[0].done():
            await asyncio.sleep(0)
    tasks[1].cancel()
    answered.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(_leave(queue, Priority.ENTRY, left, answered), PATIENCE_S)
    assert left[-1] is Priority.ENTRY
