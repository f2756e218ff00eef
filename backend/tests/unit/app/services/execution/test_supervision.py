"""Tasks of a service: told of when they fail, gone when it stops."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from app.services.execution.supervision import Supervisor


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
