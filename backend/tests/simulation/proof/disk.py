"""The disk: real SQLite in memory-backed files, with commits that are slow or fail, and a process that drops it.

Only fsync is replaced: the folder is on a file system in memory, where there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from app.db.commit_queue import Job, Operation, Outcome
from app.db.executors import LocalBrowser, Round
from app.db.grouped import GroupNotCommitted
from app.db.migrate import upgrade
from app.db.port import OpenReader, Read, Reader, Work
from app.db.sqlite import SqliteDatabase
from app.db.statements import Row
from app.domain.errors import StoreUnavailable
from app.domain.ports import Clock
from proof.loop import VirtualLoop
from proof.trace import Trace

_T = TypeVar("_T")
_IN_MEMORY = Path("/dev/shm")
_READ_S = 0.0005
_LINGER_S = 0.005
_NO_WAY = "no way to the database"


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone with the object, in memory where the machine has such a place."""
    return tempfile.TemporaryDirectory(prefix="tes-proof-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)


class Disk:
    """One host's disk in one run.

    ``commit_s`` is what a commit takes, about; ``failure`` the chance that one fails.
    """

    def __init__(self, loop: VirtualLoop, folder: Path, dice: random.Random, trace: Trace) -> None:
        self.loop = loop
        self.trace = trace
        self.commit_s = 0.001
        self.failure = 0.0
        self._dice = dice
        self.path = folder / "run.db"
        template = folder / "template.db"
        if not template.exists():
            upgrade(f"sqlite:///{template}")  # once for many runs: Alembic takes longer than a run
        for old in folder.glob("run.db*"):
            old.unlink()
        shutil.copyfile(template, self.path)

    @property
    def url(self) -> str:
        """Its database's URL."""
        return f"sqlite:///{self.path}"

    def delay(self) -> float:
        """What the next commit takes."""
        return self.commit_s * self._dice.lognormvariate(0.0, 0.6)

    def may_fail(self) -> None:
        """Raise what a disk raises on a bad day, at times."""
        if self.failure and self._dice.random() < self.failure:
            kind = self._dice.choice(("the disk is full", "the file is locked", "the disk answers with errors"))
            self.trace.note("commit failed", kind)
            raise GroupNotCommitted(f"a bad day: {kind}", is_everyones=True)


class DiskDatabase(SqliteDatabase):
    """The service's own database on such a disk, which can be dropped as a killed process drops it."""

    def __init__(self, disk: Disk, clock: Clock, on_commit: Callable[[], None], is_reached: Callable[[], bool]) -> None:
        super().__init__(disk.url, VirtualExecutor(disk), clock=clock, busy_timeout_ms=0)
        self._disk = disk
        self._on_commit = on_commit
        self._is_reached = is_reached

    def drop(self) -> None:
        """Let go of the file without a last word: what is committed stays, everything else is lost."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._writer._connection.close(True)
        self._reader = self._writer = None

    def _commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        self._reach()
        self._disk.may_fail()
        outcomes = super()._commit(jobs, guard)
        self._disk.trace.note("commit", str(len(jobs)))
        self._on_commit()
        return outcomes

    def _probe(self, guard: Operation | None) -> None:
        self._reach()
        self._disk.may_fail()
        super()._probe(guard)

    def _open_reader(self) -> Reader:
        return _DistantReader(super()._open_reader(), self._is_reached)

    def _reach(self) -> None:
        """Raise what a server raises that this process alone can't reach."""
        if not self._is_reached():
            self._disk.trace.note("commit failed", _NO_WAY)
            raise GroupNotCommitted(_NO_WAY)


class _DistantReader:
    """Reads as long as there is a way to the database."""

    def __init__(self, reader: Reader, is_reached: Callable[[], bool]) -> None:
        self._reader = reader
        self._is_reached = is_reached

    def __call__(self, *reads: Read) -> list[list[Row]]:
        if not self._is_reached():
            raise StoreUnavailable(_NO_WAY)
        return self._reader(*reads)

    def close(self) -> None:
        self._reader.close()


class VirtualExecutor:
    """:class:`app.db.executors.Executor` whose work takes virtual time, beside which the loop goes on."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._run_round: Round | None = None
        self._browser: LocalBrowser | None = None
        self._is_scheduled = False
        self._waiting: asyncio.TimerHandle | None = None

    def start(self, run_round: Round, idle_round: Round) -> None:
        """Remember the round; no loop of a world is held up by its own work."""
        self._run_round = run_round

    def wake(self) -> None:
        """A commit begins; what is queued until it is written shares it."""
        if self._run_round is not None and not self._is_scheduled:
            self._is_scheduled = True
            self._later(self._disk.delay())

    def wake_later(self) -> None:
        """A commit that nobody waits for begins a little later."""
        self._disk.loop.call_later(_LINGER_S, self.wake)

    async def call(self, function: Callable[[], _T]) -> _T:
        """Read, which takes a moment."""
        await asyncio.sleep(_READ_S)
        return function()

    async def browse(self, open_reader: OpenReader, work: Work[_T]) -> _T:
        """Read for somebody who only looks, which takes a moment."""
        if self._browser is None:
            self._browser = LocalBrowser(open_reader)
        await asyncio.sleep(_READ_S)
        return self._browser.run(work)

    async def stop(self) -> None:
        """Run the remaining rounds."""
        if self._browser is not None:
            self._browser.close()
            self._browser = None
        run_round, self._run_round = self._run_round, None
        if self._waiting is not None:
            self._waiting.cancel()
        if run_round is None:
            return
        while (delay_s := run_round()) is not None:
            await asyncio.sleep(delay_s)

    def _later(self, delay_s: float) -> None:
        self._waiting = self._disk.loop.call_later(delay_s, self._step)

    def _step(self) -> None:
        if self._run_round is None:
            return
        delay_s = self._run_round()
        if delay_s is None:
            self._is_scheduled = False
        else:
            self._later(max(delay_s, self._disk.delay()))
