"""The service as a process: it is started, it may be stopped, and it is killed at any await."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

from app.bootstrap import Application, Outside, running
from app.core.settings import Settings
from app.integrations.aster.transport import StreamConnector, Transport
from app.services.execution.service import ExecutionService
from proof.disk import Disk, DiskDatabase
from proof.loop import OWNER, Owner, VirtualLoop
from proof.seams import HostClock, SeededRandomness
from proof.trace import Trace
from proof.wire import Wire, WireConnector, WireTransport

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


class Host:
    """What processes of one machine share."""

    def __init__(self, loop: VirtualLoop, clock: HostClock, wire: Wire, disk: Disk, trace: Trace) -> None:
        self.loop = loop
        self.clock = clock
        self.wire = wire
        self.disk = disk
        self.trace = trace


class Fuse:
    """Kills its process after so many more of something: ``step``, ``commit`` (done), or ``mutation`` (sent).

    ``entry`` and ``exit`` count only such orders, which is where a crash hurts most.
    """

    def __init__(self, what: str, count: int) -> None:
        self.what = what
        self.left = count


class Process(Owner):
    """One life of the service, from start to stop or death."""

    def __init__(self, host: Host, settings: Settings, number: int, dice: random.Random, fuse: Fuse | None) -> None:
        super().__init__()
        self.on_death: Callable[[Process], None] = lambda _: None
        self.number = number
        self.application: Application | None = None
        self.has_stopped = False
        self.has_no_database = False
        """Whether it, and nobody else, finds no way to the database."""
        self._host = host
        self._settings = settings
        self._randomness = SeededRandomness(dice)
        self._databases: list[DiskDatabase] = []
        self._stop = asyncio.Event()
        self.fuse: Fuse | None = None
        self.context: Context = host.loop.outside.copy()
        self.context.run(OWNER.set, self)
        self.ended = host.loop.create_future()
        if fuse is not None:
            self.light(fuse)
        host.trace.note("start", f"process {number}")
        host.loop.create_task(self._live(), context=self.context)

    # --- what the world asks ----------------------------------------------------------------------------------------

    def service(self, account: str) -> ExecutionService | None:
        """The account's service, once it has started."""
        if self.is_dead or self.has_stopped or self.application is None or self.has_lost:
            return None
        return self.application.services.get(account)

    @property
    def has_lost(self) -> bool:
        """Whether another process has taken the accounts over."""
        return self.application is not None and self.application.ownership.is_lost

    @property
    def trades(self) -> bool:
        """Whether it is the one that serves accounts."""
        return self.application is not None and bool(self.application.services) and not self.has_lost

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Do something inside the process; the future never ends if the process dies first."""
        return self._host.loop.create_task(work, context=self.context)

    def ask_to_stop(self) -> None:
        """As SIGTERM does."""
        self._stop.set()

    # --- death ------------------------------------------------------------------------------------------------------

    def light(self, fuse: Fuse) -> None:
        """Arm a crash."""
        self.fuse = fuse
        if fuse.what == "step":
            self.dies_at_step = self.steps + fuse.left

    def die(self) -> None:
        """Killed: not one more instruction is run."""
        if self.is_dead or self.has_stopped:
            return
        self.on_death(self)  # while it still tells what it died in the middle of
        super().die()
        host = self._host
        host.trace.note(
            "crash", f"process {self.number} after {self.steps} steps ({self.fuse.what if self.fuse else ''})"
        )
        host.loop.bury(self)
        for database in self._databases:
            database.drop()
        host.wire.drop(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def _on_mutation(self, role: str) -> None:
        self._burn("mutation")
        self._burn(role)

    def _burn(self, what: str) -> None:
        fuse = self.fuse
        if fuse is None or fuse.what != what or self.is_dead:
            return
        fuse.left -= 1
        if fuse.left == 0:
            self.dies_at_step = self.steps  # at the end of this step: at the next await

    # --- life -------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        outside = Outside(
            clock=self._host.clock,
            randomness=self._randomness,
            database=self._database,
            transport=self._transport,
            connector=self._connector,
        )
        async with running(self._settings, outside=outside) as application:
            self.application = application
            await self._stop.wait()
        self.has_stopped = True
        self._host.trace.note("stop", f"process {self.number}")
        if not self.ended.done():
            self.ended.set_result(None)

    def _database(self, _url: str) -> DiskDatabase:
        database = DiskDatabase(
            self._host.disk, self._host.clock, lambda: self._burn("commit"), lambda: not self.has_no_database
        )
        self._databases.append(database)
        return database

    def _transport(self, _url: str, may_send: Callable[[], bool]) -> Transport:
        return WireTransport(self._host.wire, self, self.number, may_send, self._on_mutation)

    def _connector(self, _url: str) -> StreamConnector:
        return WireConnector(self._host.wire, self)
