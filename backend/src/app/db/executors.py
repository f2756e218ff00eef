"""Where the database's blocking calls run: in threads, or inline when a simulation owns time.

This is the only module of the store that knows threads. A *round* commits what is waiting and returns how long to wait
for the next one: None until there is work, else seconds (0 for at once).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from app.domain.ports import Clock

LINGER_S = 0.002
"""For how long work that nobody waits for may wait for company."""

T = TypeVar("T")

Round: TypeAlias = Callable[[], float | None]


class Executor(Protocol):
    """Runs the writer's rounds one at a time, and reads beside them."""

    def start(self, run_round: Round) -> None:
        """Be ready to run rounds; called on the event loop."""
        ...

    def wake(self) -> None:
        """There is work: run a round soon. A wait between two rounds is not cut short."""
        ...

    def wake_later(self) -> None:
        """There is work that nobody waits for: run a round a moment later, with what comes until then."""
        ...

    async def call(self, function: Callable[[], T]) -> T:
        """Run something that blocks, beside the writer's rounds."""
        ...

    async def stop(self) -> None:
        """Run rounds until one has nothing to wait for, then end. May be called without ``start``."""
        ...


class ThreadExecutor:
    """One thread for the writer, one for reads: nothing ever blocks the event loop."""

    def __init__(self) -> None:
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._stopping = threading.Event()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._writer: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, run_round: Round) -> None:
        """Start the writer thread."""
        # a daemon: a process that dies without closing the store must not hang on it, and recovers as from a crash
        self._writer = threading.Thread(target=self._run, args=(run_round,), name="store-writer", daemon=True)
        self._writer.start()

    def wake(self) -> None:
        """Signal the writer thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._signals.put(None)

    def wake_later(self) -> None:
        """Signal the writer thread in :data:`LINGER_S` seconds, unless somebody does before."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self.wake)

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in the reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function)

    async def stop(self) -> None:
        """Let the writer finish, then end both threads."""
        if self._writer is not None:
            self._stopping.set()
            self.wake()
            await self.call(self._writer.join)
            self._writer = None
        self._reader.shutdown()

    def _run(self, run_round: Round) -> None:
        delay_s = run_round()
        while not self._stopping.is_set():
            if delay_s is None:
                self._signals.get()
            else:
                self._stopping.wait(delay_s)
            self._forget_signals()
            delay_s = run_round()
        pause = threading.Event()
        while (delay_s := run_round()) is not None:
            pause.wait(delay_s)

    def _forget_signals(self) -> None:
        """Whatever was signalled so far is seen by the round that follows."""
        try:
            while True:
                self._signals.get_nowait()
        except Empty:
            return


class InlineExecutor:
    """Everything on the event loop, for simulation: waits on the injected clock, so that a seed replays exactly."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._run_round: Round | None = None
        self._is_scheduled = False
        self._waiting: asyncio.Task[None] | None = None

    def start(self, run_round: Round) -> None:
        """Remember the round."""
        self._run_round = run_round

    def wake(self) -> None:
        """Run a round in the loop's next iteration: what is enqueued until then shares its commit."""
        if self._run_round is not None and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def wake_later(self) -> None:
        """As :meth:`wake`: time is the simulation's, and there is no thread to keep quiet."""
        self.wake()

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` now."""
        return function()

    async def stop(self) -> None:
        """Run the remaining rounds."""
        run_round, self._run_round = self._run_round, None
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            self._waiting = None
        if run_round is None:
            return
        while (delay_s := run_round()) is not None:
            await self._clock.sleep(delay_s)

    def _step(self) -> None:
        if self._run_round is None:
            return
        delay_s = self._run_round()
        if delay_s is None:
            self._is_scheduled = False
        elif delay_s > 0:
            self._waiting = asyncio.get_running_loop().create_task(self._step_after(delay_s))
        else:
            asyncio.get_running_loop().call_soon(self._step)

    async def _step_after(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._step()
