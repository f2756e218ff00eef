"""Every alert of the log reaches every channel's delivery; the stop is waited for, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from app.core.clock import SystemClock
from app.domain.errors import StoreUnavailable
from app.domain.events import Event, EventType, RecordedEvent
from app.events.alerts import alerter as alerting
from app.events.alerts.alerter import Alerter, Manner
from app.events.alerts.channels import open_channels
from app.events.dispatcher import EventDispatcher
from support.hooks import SECRET, Hook, loads_apprise, web_hook
from support.patience import PATIENCE_S

pytestmark = loads_apprise

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def alert(number: int, kind: EventType = EventType.ALERT_RAISED, *, code: str | None = None) -> RecordedEvent:
    data = {"severity": "critical", "code": code or f"code_{number}", "message": f"alert {number}"}
    event = Event(id=str(number), type=kind, time=NOW, account_id="main", is_paper=False, asset="BTCUSDT", data=data)
    return RecordedEvent(number, event)


class Log:
    """What was committed; can't be read ``failures`` times."""

    def __init__(self) -> None:
        self.committed: list[RecordedEvent] = []
        self.failures = 0

    async def after(self, seq: int, limit: int, types: frozenset[EventType] | None) -> list[RecordedEvent]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the database is away")
        found = [item for item in self.committed if item.seq > seq and (types is None or item.event.type in types)]
        return found[:limit]


class ShortClock(SystemClock):
    """A second is a moment."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 100)


class House:
    """A dispatcher, its log, and an alerter that runs."""

    def __init__(self, *hooks: Hook, failures: int = 0, queue_limit: int = 1000) -> None:
        self.log = Log()
        self.log.failures = failures
        self.dispatcher = EventDispatcher(self.log, queue_limit=queue_limit)
        manner = Manner(place="LIVE", window_s=300, per_minute=600)
        self.alerter = Alerter(self.dispatcher, open_channels([hook.url for hook in hooks]), ShortClock(), manner)
        self.task = asyncio.create_task(self.alerter.run(0))

    async def raise_alerts(self, *alerts: RecordedEvent) -> None:
        self.log.committed.extend(alerts)
        self.dispatcher.publish(alerts)
        await asyncio.sleep(0)


@asynccontextmanager
async def house(*hooks: Hook, failures: int = 0, queue_limit: int = 1000) -> AsyncIterator[House]:
    """Closed and waited for at the end."""
    built = House(*hooks, failures=failures, queue_limit=queue_limit)
    await asyncio.sleep(0.01)
    try:
        yield built
    finally:
        built.dispatcher.close()
        await asyncio.wait_for(built.task, PATIENCE_S)


async def until_sent(built: House, *counts: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while tuple(delivery.sent for delivery in built.alerter.deliveries) != counts:
            await asyncio.sleep(0.002)


async def test_each_alert_is_sent_once_and_in_order_and_nothing_else_is() -> None:
    """Orders and fills are no alerts."""
    with web_hook() as hook:
        async with house(hook) as built:
            await built.raise_alerts(alert(1), alert(2, EventType.ORDER_PLACED), alert(3))
            await built.raise_alerts(alert(4))
            await until_sent(built, 3)
    assert hook.sentences == ["alert 1", "alert 3", "alert 4"]


async def test_what_was_raised_just_before_the_stop_is_told_by_the_stop() -> None:
    with web_hook() as hook:
        async with house(hook) as built:
            for number in range(1, 31):
                await built.raise_alerts(alert(number, code="same"))
    assert hook.sentences[-1] == "alert 30"
    assert len(hook.messages) <= 2


async def test_what_can_t_be_recorded_is_told_all_the_same() -> None:
    with web_hook() as hook:
        async with house(hook) as built:
            built.alerter.tell(alert(1).event)
            await until_sent(built, 1)
    assert hook.sentences == ["alert 1"]


async def test_a_hanging_and_a_refusing_channel_silence_nobody_and_the_stop_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alerting, "FLUSH_S", 0.3)
    with web_hook(hangs=True) as hanging, web_hook(500) as refusing, web_hook() as whole, capture_logs() as logs:
        async with house(hanging, refusing, whole) as built:
            for number in range(1, 11):
                await built.raise_alerts(alert(number))
            async with asyncio.timeout(PATIENCE_S):
                while len(whole.messages) < 10:
                    await asyncio.sleep(0.002)
    assert whole.sentences == [f"alert {number}" for number in range(1, 11)]
    assert len(hanging.messages) == 1
    left = [(line["channel"], line["address"]) for line in logs if line["event"] == "alerts.left_behind"]
    assert left == [(1, hanging.label)]
    assert SECRET not in repr(logs)


async def test_a_log_that_can_t_be_read_for_a_while_is_read_again() -> None:
    with web_hook() as hook, capture_logs() as logs:
        async with house(hook, failures=2) as built:
            await built.raise_alerts(alert(1))
            await until_sent(built, 1)
    assert [line["event"] for line in logs] == ["alerts.interrupted"] * 2


async def test_more_alerts_than_fit_in_the_queue_are_read_again_from_the_log() -> None:
    with web_hook() as hook:
        async with house(hook, queue_limit=5) as built:
            await built.raise_alerts(*(alert(number) for number in range(1, 41)))
            async with asyncio.timeout(PATIENCE_S):
                while sum(message["message"].count("alert ") for message in hook.messages) < 40:
                    await asyncio.sleep(0.002)


async def test_without_channels_nothing_is_told() -> None:
    async with house() as built:
        await built.raise_alerts(alert(1))
        assert built.alerter.deliveries == ()
