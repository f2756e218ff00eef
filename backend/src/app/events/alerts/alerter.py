"""Follows the events, and tells the operator's channels of each ``AlertRaised``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.domain.events import Event, EventType
from app.domain.ports import Clock
from app.events.alerts.channels import Channel
from app.events.alerts.delivery import Carrier, Delivery
from app.events.alerts.digest import Digest
from app.events.alerts.letters import TEST, notice_of
from app.events.dispatcher import EventDispatcher

FLUSH_S = 5.0
"""How long a stop waits for what the channels were not told yet."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How people are told. ``place`` says where orders go; the rest is as in ``Digest``."""

    place: str
    window_s: float
    per_minute: int


class Alerter:
    """Hands alerts to every channel's delivery and waits for none of them.

    ``run`` ends when the dispatcher closes: then what was not told is told, for at most ``FLUSH_S``.
    """

    def __init__(self, dispatcher: EventDispatcher, channels: Sequence[Channel], clock: Clock, manner: Manner) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self.deliveries = tuple(
            Delivery(
                number,
                channel,
                Digest(window_s=manner.window_s, per_minute=manner.per_minute),
                clock,
                manner.place,
            )
            for number, channel in enumerate(channels, start=1)
        )

    async def run(self, after_seq: int) -> None:
        """Tell of the alerts behind ``after_seq``."""
        tasks = [asyncio.create_task(delivery.run(), name=f"alerts-{delivery.number}") for delivery in self.deliveries]
        try:
            await self._dispatcher.follow(
                after_seq, self._clock, lambda one: self.tell(one.event), name="alerts", types={EventType.ALERT_RAISED}
            )
            for delivery in self.deliveries:
                delivery.close()
            if tasks:
                await asyncio.wait(tasks, timeout=FLUSH_S)
            for delivery, task in zip(self.deliveries, tasks, strict=True):
                if not task.done():
                    _log.error("alerts.left_behind", channel=delivery.number, address=delivery.label)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def tell(self, event: Event) -> None:
        """Tell of an alert that can't be recorded. Never waits."""
        notice = notice_of(event)
        for delivery in self.deliveries:
            delivery.offer(notice)


async def send_test(channels: Sequence[Channel]) -> list[str | None]:
    """Send a message that asks for nothing to each channel, at once; for each why it failed, or None."""
    carriers = [Carrier(channel, f"alerts-{number}") for number, channel in enumerate(channels, start=1)]
    return await asyncio.gather(*(carrier.carry(TEST) for carrier in carriers))
