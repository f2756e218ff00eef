"""A virtual event loop: no waiting takes time, and the seed decides what a real loop leaves to chance.

Time stands still while anything can run, then jumps to the next timer. Everything runs in one thread; sockets, threads
and signals do not exist. What belongs to a process that has died is never run again, which is how a crash at any await
is made: nothing of the process gets a chance to tidy up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import inspect
import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")

STEPS_AT_ONE_MOMENT = 6_000
"""More steps than this without time moving is a livelock."""


class Deadlock(AssertionError):
    """Nothing can run and nothing is scheduled."""


class Livelock(AssertionError):
    """Time no longer moves."""


class OutOfTime(AssertionError):
    """The virtual time that a run may take is used up."""


class Owner:
    """Somebody whose callbacks stop for good when it dies. ``steps`` counts those that ran."""

    def __init__(self) -> None:
        self.is_dead = False
        self.steps = 0
        self.dies_at_step = 0
        """Die after that many steps; 0 is never."""
        self._ice: list[asyncio.Handle] | None = None
        self._loop: VirtualLoop | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        return self._ice is not None

    def freeze(self) -> None:
        """Run nothing from now on, and keep all of it."""
        if self._ice is None:
            self._ice = []

    def thaw(self) -> None:
        """Go on, with everything that has come up meanwhile."""
        kept, self._ice = self._ice, None
        if kept and self._loop is not None:
            self._loop._ready.extend(kept)

    def keep(self, handle: asyncio.Handle, loop: VirtualLoop) -> None:
        """Keep what can't run now."""
        assert self._ice is not None
        self._ice.append(handle)
        self._loop = loop

    def die(self) -> None:
        """Stop here."""
        self.is_dead = True


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class VirtualTask(asyncio.Task[_T]):
    """A task whose place in a set depends on nothing but the order of creation."""

    __slots__ = ("owner", "serial")

    def __init__(self, coroutine: Coroutine[Any, Any, _T], *, serial: int, **options: Any) -> None:
        self.serial = serial
        context: Context | None = options.get("context")
        self.owner = OWNER.get() if context is None else context.get(OWNER)
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.serial

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualFuture(asyncio.Future[_T]):
    """A future that knows whose it is."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = OWNER.get()
        super().__init__(loop=loop)


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in order of arrival; timers of one moment, and now and then a woken task, in the seed's order.

    Args:
        dice: decides what a real loop leaves to chance.
        unrest: chance that a callback is put behind everything that is ready, as if it had become ready later.
        limit_s: virtual seconds that a run may take.
    """

    def __init__(self, dice: random.Random, *, unrest: float = 0.0, limit_s: float = 100_000.0) -> None:
        self._dice = dice
        self._unrest = unrest
        self._limit_s = limit_s
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serial = 0
        self._is_closed = False
        self.outside = copy_context()
        """The context of what belongs to nobody who can die."""
        self.steps = 0
        self.failures: list[str] = []
        """What asyncio would have logged as an exception that nobody handled."""
        self.stopped_by: Exception | None = None
        """Set it, and :meth:`run` ends with it, whoever is running."""
        self._graves: list[VirtualTask[Any]] = []
        self._moment_began_at_step = 0

    # --- what asyncio asks of a loop --------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Run ``callback`` behind what is ready already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` at a time."""
        self._serial += 1
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` after some seconds."""
        return self.call_at(self._now + max(delay, 0.0), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return VirtualFuture(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, _T], *, name: str | None = None, context: Context | None = None
    ) -> VirtualTask[_T]:
        """A task of this loop; it belongs to whoever owns its context."""
        self._serial += 1
        return VirtualTask(coro, serial=self._serial, loop=self, name=name or "task", context=context)

    def get_debug(self) -> bool:
        """Never: debugging reads the real clock."""
        return False

    def is_running(self) -> bool:
        """Always, where anybody can ask."""
        return True

    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong unnoticed, for the rules."""
        error = context.get("exception")
        awaited = context.get("future")
        is_owned = isinstance(awaited, VirtualTask | VirtualFuture)
        if is_owned and awaited.owner is not None and awaited.owner.is_dead:
            return  # whoever would have heard of it died with it
        self.failures.append(f"{context.get('message')}: {type(error).__name__}: {error}" if error else str(context))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their time comes."""

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run ``main`` to its end.

        Raises:
            Deadlock, Livelock, OutOfTime: it would never end.
        """
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main, context=self.outside)
            while not task.done():
                self._run_one()
                if self.stopped_by is not None:
                    raise self.stopped_by
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _run_one(self) -> None:
        ready = self._ready
        if not ready:
            self._move_time()
        handle = ready.popleft()
        if handle.cancelled():
            return
        if self._unrest and len(ready) > 1 and self._dice.random() < self._unrest and _wakes_a_task(handle):
            ready.append(handle)
            return
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
        if owner is None:
            handle._run()
        elif owner.is_frozen and not owner.is_dead:
            owner.keep(handle, self)
        elif not owner.is_dead:
            owner.steps += 1
            handle._run()
            if owner.steps == owner.dies_at_step:
                owner.die()
        self.steps += 1
        if self.steps - self._moment_began_at_step > STEPS_AT_ONE_MOMENT:
            raise Livelock(f"{STEPS_AT_ONE_MOMENT} steps at {self._now:.6f} s, the last of them {handle!r}")

    def _move_time(self) -> None:
        """Jump to the next timer that is still wanted; all timers of that moment become ready."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"nothing is scheduled at {self._now:.6f} s: everybody waits for somebody else")
        self._now = timers[0][0]
        self._moment_began_at_step = self.steps
        if self._now > self._limit_s:
            raise OutOfTime(f"not over after {self._limit_s:.0f} virtual seconds")
        due: list[asyncio.Handle] = []
        while timers and timers[0][0] <= self._now:
            due.append(heapq.heappop(timers)[2])
        if len(due) > 1:
            self._dice.shuffle(due)
        self._ready.extend(due)

    # --- death ------------------------------------------------------------------------------------------------------

    def bury(self, owner: Owner) -> None:
        """Keep the tasks of a dead owner as they stand: if they were freed, their ``finally`` blocks would run."""
        self._graves += [
            task
            for task in asyncio.all_tasks(self)
            if isinstance(task, VirtualTask) and task.owner is owner and not task.done()
        ]

    def close(self) -> None:
        """Forget everything. Only call it when nothing matters any more: now buried tasks are torn down, loudly."""
        self._is_closed = True
        asyncio._set_running_loop(self)  # what is torn down may still ask which loop it is in
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torn: set[asyncio.Task[Any]] = set()
                while left := [task for task in (*self._graves, *asyncio.all_tasks(self)) if task not in torn]:
                    for task in left:  # what tidies up may start more
                        torn.add(task)
                        task._log_destroy_pending = False  # type: ignore[attr-defined]
                        with contextlib.suppress(BaseException):
                            _tear_down(task.get_coro())
                self._graves.clear()
                self._ready.clear()
                self._timers.clear()
                gc.collect()
        finally:
            sys.unraisablehook = hook
            asyncio._set_running_loop(None)


def _tear_down(coroutine: Any) -> None:
    """Close a coroutine; what it was to await and never did, as it never began, is closed too."""
    frame = coroutine.cr_frame
    never_awaited = (
        list(frame.f_locals.values()) if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED else []
    )
    coroutine.close()
    for value in never_awaited:
        if inspect.iscoroutine(value):
            value.close()


def _wakes_a_task(handle: asyncio.Handle) -> bool:
    """Whether ``handle`` goes on with a task whose future is done, which a real loop may learn a little later."""
    callback = handle._callback  # type: ignore[attr-defined]
    return isinstance(getattr(callback, "__self__", None), VirtualTask)
