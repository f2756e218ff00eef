"""The delivery of alerts to one channel: its own task and its own thread, so that a channel holds nobody else up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Any

import structlog

from app.domain.ports import Clock
from app.events.alerts.channels import Channel
from app.events.alerts.digest import Digest, Message, Notice
from app.events.alerts.letters import Letter, compose

ATTEMPT_TIMEOUT_S = 20.0
"""Services that Apprise knows answer within its own 8 seconds, and some are made to wait 6 before."""
RETRY_DELAYS_S = (1.0, 5.0, 25.0)
"""Between the attempts of one message: a restart of the other side, or a cut of half a minute."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Flight:
    letter: Letter
    outcome: asyncio.Future[str | None]


class Carrier:
    """Carries one letter at a time, in a thread. A thread that hangs can't be ended: it is waited for, not doubled.

    The threads are daemons: an ordinary one that hangs would keep the process from ending.
    """

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._flight: _Flight | None = None

    async def carry(self, letter: Letter, timeout_s: float = ATTEMPT_TIMEOUT_S) -> str | None:
        """Hand over a letter; why it failed, without the channel's address, or None.

        After ``no answer`` the same letter is not sent again while its first sending is still under way.
        """
        flight = self._flight or self._start(letter)
        try:
            async with asyncio.timeout(timeout_s):
                failure = await asyncio.shield(flight.outcome)
        except TimeoutError:
            return "no answer"
        self._flight = None
        return failure if flight.letter is letter else await self.carry(letter, timeout_s)

    def _start(self, letter: Letter) -> _Flight:
        loop = asyncio.get_running_loop()
        flight = self._flight = _Flight(letter, loop.create_future())

        def run() -> None:
            failure = self._hand_over(letter)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
                loop.call_soon_threadsafe(flight.outcome.set_result, failure)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return flight

    def _hand_over(self, letter: Letter) -> str | None:
        try:
            return None if self._channel.notify(letter) else "refused"
        except Exception as error:  # noqa: BLE001 — a channel is other people's code; none may silence the others
            return type(error).__name__


class Delivery:
    """Tells one channel of the alerts that it is offered. Its queue is the digest: one entry for each different alert.

    Args:
        number: the channel's place in ``TES_ALERT_URLS``, from 1.
        place: where orders go, for the title.
    """

    def __init__(self, number: int, channel: Channel, digest: Digest, clock: Clock, place: str) -> None:
        self.number = number
        self.label = channel.label
        self.sent = 0
        """Messages that the channel took."""
        self.failed = 0
        """Messages that were given up after several attempts."""
        self.suppressed = 0
        """Alerts that got no message of their own: repetitions, and what was gathered."""
        self._carrier = Carrier(channel, f"alerts-{number}")
        self._digest = digest
        self._clock = clock
        self._place = place
        self._news = asyncio.Event()
        self._closing = asyncio.Event()

    def offer(self, notice: Notice) -> None:
        """Tell of an alert, in its turn. Never waits."""
        self._digest.add(notice, self._clock.monotonic())
        self._news.set()

    def close(self) -> None:
        """Let ``run`` end: after what waits, told at once, in as few messages as possible and without patience."""
        self._closing.set()
        self._news.set()

    async def run(self) -> None:
        """Deliver until closed."""
        while not self._closing.is_set():
            self._news.clear()
            message = self._digest.take(self._clock.monotonic())
            if message is not None:
                await self._deliver(message)
                continue
            next_at = self._digest.next_at()
            await self._wait(self._news, None if next_at is None else next_at - self._clock.monotonic())
        for message in self._digest.rest(self._clock.monotonic()):
            await self._deliver(message)

    async def _deliver(self, message: Message) -> None:
        self.suppressed += message.alerts - 1
        letter = compose(message, self._place)
        failure = await self._carrier.carry(letter)
        for delay_s in RETRY_DELAYS_S:
            if failure is None or self._closing.is_set():
                break
            await self._wait(self._closing, delay_s)
            failure = await self._carrier.carry(letter)
        if failure is None:
            self.sent += 1
            return
        self.failed += 1
        self._digest.failed(message, self._clock.monotonic())
        _log.error(
            "alerts.not_delivered",
            channel=self.number,
            address=self.label,
            alerts=message.alerts,
            codes=sorted({item.notice.code for item in message.items}),
            error=failure,
        )

    async def _wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait for ``event``, at most so long."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait())]
        if seconds is not None:
            waits.append(asyncio.create_task(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
