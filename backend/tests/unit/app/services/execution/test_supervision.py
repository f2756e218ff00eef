"""Tasks of a service: told of when they fail, gone when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

from app.services.execution.supervision import Supervisor
from support.patience import PATIENCE_S


async def test_work_stopped_before_its_first_step_leaves_nothing_behind() -> None:
    clock: Any = None
    began: list[bool] = []

    async def work() -> None:
        began.append(True)

    supervisor = Supervisor(clock, began.append)
    supervisor.start(work())
    await supervisor.stop()
    gc.collect()
    await asyncio.sleep(0)
    assert began == []


async def test_a_call_that_breaks_is_told_like_a_task_that_does() -> None:
    clock: Any = None
    told: list[Exception] = []
    supervisor = Supervisor(clock, told.append)

    def broken() -> None:
        raise LookupError("nobody would have heard of it")

    supervisor.soon(broken)
    await supervisor.stop()
    await asyncio.sleep(0)
    assert [type(error) for error in told] == [LookupError]


async def test_a_call_is_made_behind_what_a_new_task_sends_and_in_order() -> None:
    """An HTTP client writes in a task that the sending task starts: exits leave before it is told that they left."""
    clock: Any = None
    made: list[str] = []
    supervisor = Supervisor(clock, lambda _: None)

    async def write() -> None:
        made.append("written")

    async def send() -> None:
        await asyncio.create_task(write())

    supervisor.start(send())
    supervisor.soon(lambda: made.append("first"))
    supervisor.soon(lambda: made.append("second"))
    while len(made) < 3:
        await asyncio.sleep(0)
    assert made == ["written", "first", "second"]
    await supervisor.stop()


async def test_a_call_that_is_still_due_is_made_at_the_stop_and_only_once() -> None:
    clock: Any = None
    made: list[bool] = []
    supervisor = Supervisor(clock, lambda _: None)
    supervisor.soon(lambda: made.append(True))
    await supervisor.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert made == [True]


async def test_a_stop_ends_what_forgot_its_cancellation_and_what_was_begun_meanwhile() -> None:
    clock: Any = None
    supervisor = Supervisor(clock, lambda _: None)

    async def forgetful() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        supervisor.start(asyncio.sleep(3600))
        await asyncio.sleep(3600)

    supervisor.start(forgetful())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await supervisor.stop()
