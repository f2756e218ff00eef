"""Alerts to people: ``AlertRaised`` events, sent through Apprise to the operator's channels (``TES_ALERT_URLS``)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from app.domain.errors import ConfigurationError
from app.domain.events import Event, EventType
from app.events.dispatcher import EventDispatcher, SlowSubscriber

_log = structlog.get_logger(__name__)


class Channel(Protocol):
    """A way to reach people."""

    def notify(self, body: str, title: str) -> bool:
        """Send one message; blocks. Returns whether it was taken."""
        ...


def open_channels(urls: Sequence[str]) -> tuple[Channel, ...]:
    """The channels that the Apprise URLs name.

    Raises:
        ConfigurationError: Apprise does not know one of them. The message never shows the URL: it holds secrets.
    """
    if not urls:
        return ()
    import apprise

    # Apprise logs whole URLs, which hold tokens and passwords; we log by ourselves, without them
    logging.getLogger("apprise").disabled = True
    channels = []
    for number, url in enumerate(urls, start=1):
        channel = apprise.Apprise.instantiate(url)
        if channel is None:
            raise ConfigurationError(
                f"TES_ALERT_URLS: entry {number} is no URL that Apprise knows: see its list of notification services"
            )
        channels.append(channel)
    return tuple(channels)


class Alerter:
    """Follows the events and sends each alert to every channel, in order, from a thread of its own.

    The queue is the subscription's: bounded, and read again from the log when the channels were too slow. A channel
    that fails is logged by its number and forgotten for that alert; it blocks neither the event loop nor trading.
    """

    def __init__(self, dispatcher: EventDispatcher, channels: Sequence[Channel]) -> None:
        self._dispatcher = dispatcher
        self._channels = tuple(channels)

    async def run(self, after_seq: int) -> None:
        """Send the alerts behind ``after_seq`` until cancelled or the dispatcher closes."""
        if not self._channels:
            return
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="alerts")
        try:
            while True:
                try:
                    await self._follow(after_seq, pool)
                except SlowSubscriber as slow:
                    _log.warning("alerts.behind", last_seq=slow.last_seq)
                    after_seq = slow.last_seq
                else:
                    return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    async def tell(self, event: Event) -> None:
        """Send an alert that can't be recorded, at once."""
        await asyncio.to_thread(self._send, 0, event)

    async def _follow(self, after_seq: int, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        async with self._dispatcher.subscribe(after_seq, {EventType.ALERT_RAISED}) as subscription:
            async for recorded in subscription:
                await loop.run_in_executor(pool, self._send, recorded.seq, recorded.event)

    def _send(self, seq: int, event: Event) -> None:
        title, body = describe(event)
        for number, channel in enumerate(self._channels, start=1):
            failure = _notify(channel, body, title)
            if failure is not None:
                _log.error("alerts.channel_failed", channel=number, seq=seq, error=failure)


def send_test(channels: Sequence[Channel]) -> list[str | None]:
    """Send a message that asks for nothing to each channel; for each why it failed, or None."""
    return [_notify(channel, "This is a test: alerts of the service arrive here.", "TES test") for channel in channels]


def _notify(channel: Channel, body: str, title: str) -> str | None:
    """Send one message; why it failed, without the channel's address, or None."""
    try:
        return None if channel.notify(body, title) else "refused"
    except Exception as error:  # noqa: BLE001 — a channel is other people's code; none may silence the others
        return type(error).__name__


def describe(event: Event) -> tuple[str, str]:
    """Title and text of an alert: its ``message``, what it is about, and whatever else it says."""
    rest = dict(event.data)
    message = str(rest.pop("message", "an alert was raised"))
    kind = "paper" if event.is_paper else "LIVE"
    title = " ".join(part for part in ("TES", kind, event.account_id, event.asset) if part)
    lines = [message, f"time: {event.time.isoformat(timespec='seconds')}"]
    if event.trade_id:
        lines.append(f"trade: {event.trade_id}")
    if event.decision_id:
        lines.append(f"decision: {event.decision_id}")
    lines.extend(f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in rest.items())
    return title, "\n".join(lines)
