"""What runs the service: starts it, starts it again when it is gone, and a second one beside it that stands by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.settings import Settings
from app.domain.errors import TesError
from proof.exchange import dice_for
from proof.process import Fuse, Host, Process

_LOOK_S = 0.05
_STOPPED_AFTER_LOSS_S = 2.0


@dataclass(slots=True)
class Life:
    """One process: from start to end; ``ready_at`` when it first could act."""

    number: int
    began: float
    ended: float | None = None
    """When it could act no more: its end, or the loss of the accounts to another process."""
    ready_at: float | None = None
    frozen: list[tuple[float, float]] = field(default_factory=list)

    def acts(self, start: float, end: float) -> bool:
        """Whether it lives and is awake for all of that time."""
        is_awake = all(thawed < start or end < froze for froze, thawed in self.frozen)
        return is_awake and (self.ended is None or end < self.ended)


def downtimes(lives: Sequence[Life], until: float) -> list[tuple[float, float]]:
    """When nobody could act: all processes had ended, were not ready yet, or were frozen; and a second behind it."""
    marks: list[tuple[float, int]] = []
    for life in lives:
        if life.ready_at is None:
            continue
        ended = life.ended if life.ended is not None else until
        marks += [(life.ready_at, 1), (ended, -1)]
        for start, end in life.frozen:
            start, end = max(start, life.ready_at), min(end, ended)
            if start < end:
                marks += [(start, -1), (end, 1)]
    spans, since, acting = [], 0.0, 0
    for at, change in sorted(marks):
        if not acting and change > 0:
            spans.append((since, at + 1.0))
        acting += change
        if not acting:
            since = at
    return spans if acting else [*spans, (since, until)]


class Keeper:
    """Keeps one process running, or two, of which one stands by."""

    def __init__(self, host: Host, settings: Settings, seed: int, accounts: Sequence[str]) -> None:
        self.lives: list[Life] = []
        self.fuses: list[tuple[Fuse, float]] = []
        """Crashes that wait for the next processes, each with the pause behind it."""
        self.pause_s = 0.0
        self._host = host
        self._settings = settings
        self._seed = seed
        self._accounts = accounts
        self._alive: dict[int, tuple[Process, Life]] = {}
        self._numbers = 0

    @property
    def process(self) -> Process | None:
        """The process that trades; else any that runs and is not frozen."""
        awake = [process for process, _ in self._alive.values() if not process.is_frozen]
        return next((process for process in awake if process.trades), awake[0] if awake else None)

    def service(self, account: str) -> Any:
        """An account's service, when a process is there that serves it."""
        process = self.process
        return process.service(account) if process is not None else None

    def spawn(self, work: Any) -> None:
        """Do something inside the process that trades, and care for nothing."""
        process = self.process
        if process is None:
            work.close()
            return

        async def quietly() -> None:
            with contextlib.suppress(TesError, TimeoutError):
                await work

        process.run(quietly())

    def freeze(self, seconds: float) -> None:
        """Let the process that trades stand still, as one does whose machine is out of memory."""
        process = self.process
        if process is not None:
            loop = self._host.loop
            self._alive[process.number][1].frozen.append((loop.time(), float("inf")))
            self._host.trace.note("freeze", f"process {process.number} for {seconds:.2f} s")
            if process.trades:
                self._host.trace.reach("ownership:owner frozen")
            process.freeze()
            loop.call_later(seconds, self._thaw, process, context=loop.outside)

    def _thaw(self, process: Process) -> None:
        """Let it go on, if it stands still and still lives."""
        if process.is_frozen and process.number in self._alive:
            life = self._alive[process.number][1]
            life.frozen[-1] = life.frozen[-1][0], self._host.loop.time()
            self._host.trace.note("thaw", f"process {process.number}")
            process.thaw()

    def heal(self) -> None:
        """No crash is left, and nobody stands still."""
        self.fuses.clear()
        for process, _ in self._alive.values():
            process.fuse, process.dies_at_step = None, 0
            process.has_no_database = False
            self._thaw(process)

    def kill_all(self) -> None:
        """The machine is switched off."""
        for process, _ in tuple(self._alive.values()):
            process.die()

    async def keep_alive(self) -> None:
        """Start a process whenever the last one is gone."""
        while True:
            self._numbers += 1
            number, fuse = self._numbers, None
            if self.fuses:
                fuse, self.pause_s = self.fuses.pop(0)
            life = Life(number, self._host.loop.time())
            process = Process(self._host, self._settings, number, dice_for(self._seed, f"p{number}"), fuse)
            process.on_death = self._on_death
            self.lives.append(life)
            self._alive[number] = process, life
            await asyncio.wait([process.ended])
            life.ended = life.ended or self._host.loop.time()
            del self._alive[number]
            await asyncio.sleep(self.pause_s)

    async def watch(self) -> None:
        """Note when a process became able to act, and stop one that has lost the accounts for good."""
        loop = self._host.loop
        while True:
            await asyncio.sleep(_LOOK_S)
            for process, life in tuple(self._alive.values()):
                if process.is_frozen or process.application is None:
                    continue
                if life.ready_at is None:
                    services = [process.service(account) for account in self._accounts]
                    if all(service is not None and service.readiness().is_ready for service in services):
                        life.ready_at = loop.time()
                        self._host.trace.note("ready", f"process {process.number}")
                        if self._took_over(life):
                            self._host.trace.reach("ownership:takeover")
                if process.has_lost and life.ended is None:
                    life.ended = loop.time()
                    self._host.trace.reach("ownership:lost")
                    loop.call_later(_STOPPED_AFTER_LOSS_S, process.ask_to_stop, context=loop.outside)

    def _took_over(self, life: Life) -> bool:
        """Whether it was there already when the one that traded ended, or is there beside it."""
        return any(
            other is not life and other.ready_at is not None and (other.ended is None or other.ended > life.began)
            for other in self.lives
        )

    def _on_death(self, process: Process) -> None:
        """Note in the middle of what it died."""
        reach = self._host.trace.reach
        reach(f"crash:fuse {process.fuse.what if process.fuse else 'end'}")
        if process.fuse is None:
            return
        if self._alive[process.number][1].ready_at is None:
            reach("crash:recovering")
        for account in self._accounts:
            service = process.service(account)
            for trade in service._active_trades() if service is not None else ():
                reach(f"crash:trade {trade.status.value}")
                for order in trade.orders:
                    reach(f"crash:{order.role.value} {order.state.value}".lower())
