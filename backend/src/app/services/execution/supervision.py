"""Supervision: tasks that belong to a service, none orphaned, whose unexpected failures are told and survived."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from app.domain.ports import Clock

log = structlog.get_logger(__name__)

_RESTART_PAUSE_S = 1.0
_CANCELED_AGAIN_S = 1.0
_TURNS_TO_LEAVE = 3
"""Turns of the loop until the request of a new task is at the socket: the HTTP client writes in one of its own."""


class Supervisor:
    """Runs tasks until it is stopped; ``on_failure`` hears of each that ended with an unexpected error."""

    def __init__(self, clock: Clock, on_failure: Callable[[Exception], None]) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: deque[Callable[[], None]] = deque()

    def start(self, work: Awaitable[object], then: Callable[[], None] | None = None) -> asyncio.Task[None]:
        """Run ``work`` once, beside everything else; should it fail, ``then`` is called."""
        task = asyncio.ensure_future(self._reported(work, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(work, Coroutine):
            # a task that is cancelled before its first step never gets to its work
            task.add_done_callback(lambda _: work.close())
        return task

    def keep_running(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` again and again: what it does must never stop for good."""
        self.start(self._repeated(work))

    def soon(self, call: Callable[[], None]) -> None:
        """Make ``call`` behind everything that is about to leave; it is made even when the service is being stopped."""
        self._calls.append(call)
        self._after(_TURNS_TO_LEAVE)

    async def caught_up(self) -> None:
        """Wait until everything that :meth:`soon` was given before has been made."""
        made = asyncio.Event()
        self.soon(made.set)
        await made.wait()

    def _after(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._after, turns - 1)
        else:
            loop.call_soon(self._make_one_call)

    def _make_one_call(self) -> None:
        if not self._calls:
            return  # made at the stop
        self.attempt(self._calls.popleft())

    def attempt(self, call: Callable[[], None]) -> bool:
        """Make ``call``, and tell of its failure as of a task's; returns whether it went well."""
        try:
            call()
        except Exception as error:  # as in _reported: nobody else would hear of it
            log.exception("supervisor.call_failed")
            self._on_failure(error)
            return False
        return True

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended; what has lost its cancellation, or came since, once more."""
        while tasks := tuple(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCELED_AGAIN_S)
        while self._calls:
            self._make_one_call()

    async def _reported(self, work: Awaitable[object], then: Callable[[], None] | None = None) -> None:
        try:
            await work
        except Exception as error:  # the supervisor: one task's bug must not take the others down
            log.exception("supervisor.task_failed")
            self._on_failure(error)
            if then is not None:
                then()

    async def _repeated(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._reported(work())
            await self._clock.sleep(_RESTART_PAUSE_S)
