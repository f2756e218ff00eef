"""Where the database's blocking calls run: in threads, or inline when a simulation owns time.

This is the only module of the store that knows threads. A *round* commits what is waiting and returns how long to wait
for the next one: None until there is work, else seconds (0 for at once).

Reads have two lanes. What trading waits for has a thread of its own. What lists and streams show is read, decoded and
put into bytes in a process of its own: however much they ask for, they wait for each other only, and never hold the
interpreter that sends orders.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from app.db.port import OpenReader, Reader, Work
from app.db.reader_process import ReaderProcess
from app.domain.ports import Clock

LINGER_S = 0.002
"""For how long work that nobody waits for may wait for company."""
IDLE_S = 1.25
"""After so long without a round the writer keeps alive what has to be; half of what a lease lasts."""

STOP_S = 8.0
"""How long a stop lets calls end that a database has not answered."""

T = TypeVar("T")

Round: TypeAlias = Callable[[], float | None]


class Executor(Protocol):
    """Runs the writer's rounds one at a time, and reads beside them."""

    def start(self, run_round: Round, idle_round: Round) -> None:
        """Be ready to run rounds; called on the event loop. ``idle_round`` is for when there was none for a while."""
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

    async def browse(self, open_reader: OpenReader, work: Work[T]) -> T:
        """Run ``work`` with a reader that only such work uses; it keeps nothing else waiting.

        Raises:
            StoreUnavailable: no reader could be had; whatever ``work`` raises.
        """
        ...

    async def stop(self) -> bool:
        """Run rounds until one has nothing to wait for, then end. May be called without ``start``.

        Returns whether everything has ended; else, after :data:`STOP_S` seconds, a call that the database has not
        answered goes on until the process ends, and what it uses must be left alone.
        """
        ...


class Browser(Protocol):
    """Runs work of those who only look, one piece at a time. It blocks."""

    def run(self, work: Work[T]) -> T:
        """What ``work`` makes of a reader.

        Raises:
            StoreUnavailable: no reader could be had; whatever ``work`` raises.
        """
        ...

    def close(self) -> None:
        """End; may be called twice."""
        ...


class LocalBrowser:
    """Runs work in this process: for a simulation, and where nothing is traded that it could hold up."""

    def __init__(self, open_reader: OpenReader) -> None:
        self._open_reader = open_reader
        self._reader: Reader | None = None

    def run(self, work: Work[T]) -> T:
        """Open a reader for the first work, and run it."""
        if self._reader is None:
            self._reader = self._open_reader()
        return work(self._reader)

    def close(self) -> None:
        """Close the reader."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Lane:
    """One thread that makes blocking calls, one after the other.

    A daemon: a process that ends does not wait for a database that has not answered.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def call(self, function: Callable[[], T]) -> T:
        """Make a call, unless nobody waits for it any more when its turn comes."""
        if self._thread.ident is None:
            self._thread.start()
        answer: Future[T] = Future()

        def make() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function())
                except BaseException as error:  # noqa: BLE001 — whoever called gets it
                    answer.set_exception(error)

        self._calls.put(make)
        return await asyncio.wrap_future(answer)

    def end(self) -> None:
        """End after the calls that were made before."""
        self._calls.put(None)

    def _run(self) -> None:
        while (make := self._calls.get()) is not None:
            make()


class ThreadExecutor:
    """One thread for the writer, one for trading's reads, one for the process which reads for lists.

    Nothing ever blocks the event loop.
    """

    def __init__(self, browser: Callable[[OpenReader], Browser] = ReaderProcess) -> None:
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._stopping = threading.Event()
        self._reader = _Lane("store-reader")
        self._make_browser = browser
        self._browsing = _Lane("store-browser")
        self._browser: Browser | None = None
        self._writer: threading.Thread | None = None
        self._has_written: Future[None] = Future()
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended: bool | None = None

    def start(self, run_round: Round, idle_round: Round) -> None:
        """Start the writer thread."""
        # a daemon: a process that dies without closing the store must not hang on it, and recovers as from a crash
        rounds = run_round, idle_round
        self._has_written.set_running_or_notify_cancel()  # a stop that waits no longer must not cancel it
        self._writer = threading.Thread(target=self._run, args=rounds, name="store-writer", daemon=True)
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
        return await self._reader.call(function)

    async def browse(self, open_reader: OpenReader, work: Work[T]) -> T:
        """Run ``work`` in the readers' process, which is started when it is first needed."""
        if self._browser is None:
            self._browser = self._make_browser(open_reader)
        return await self._browsing.call(partial(self._browser.run, work))

    async def stop(self) -> bool:
        """Let the writer finish, then end all threads, and the readers' process."""
        if self._has_ended is None:
            self._has_ended = await self._end()
        return self._has_ended

    async def _end(self) -> bool:
        try:
            async with asyncio.timeout(STOP_S):
                if self._writer is not None:
                    self._stopping.set()
                    self.wake()
                    await asyncio.wrap_future(self._has_written)
                    self._writer = None
                await self._reader.call(lambda: None)
                browser, self._browser = self._browser, None
                if browser is not None:
                    await self._browsing.call(browser.close)
        except TimeoutError:
            return False
        finally:
            self._reader.end()
            self._browsing.end()
        return True

    def _run(self, run_round: Round, idle_round: Round) -> None:
        try:
            self._run_rounds(run_round, idle_round)
        finally:
            self._has_written.set_result(None)

    def _run_rounds(self, run_round: Round, idle_round: Round) -> None:
        delay_s = run_round()
        while not self._stopping.is_set():
            if delay_s is not None:
                self._stopping.wait(delay_s)
            elif not self._is_signalled_in_time():
                delay_s = idle_round()
                continue
            self._forget_signals()
            delay_s = run_round()
        pause = threading.Event()
        while (delay_s := run_round()) is not None:
            pause.wait(delay_s)

    def _is_signalled_in_time(self) -> bool:
        try:
            self._signals.get(timeout=IDLE_S)
        except Empty:
            return False
        return True

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
        self._browser: Browser | None = None
        self._is_scheduled = False
        self._waiting: asyncio.Task[None] | None = None

    def start(self, run_round: Round, idle_round: Round) -> None:  # noqa: ARG002 — the loop itself runs the rounds
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

    async def browse(self, open_reader: OpenReader, work: Work[T]) -> T:
        """Run ``work`` now."""
        if self._browser is None:
            self._browser = LocalBrowser(open_reader)
        return self._browser.run(work)

    async def stop(self) -> bool:
        """Run the remaining rounds."""
        if self._browser is not None:
            self._browser.close()
            self._browser = None
        run_round, self._run_round = self._run_round, None
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            self._waiting = None
        while run_round is not None and (delay_s := run_round()) is not None:
            await self._clock.sleep(delay_s)
        return True

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
