"""Alerts reach people, in order, and never hold anything up or give anything away."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.errors import ConfigurationError
from app.domain.events import Event, EventType, RecordedEvent
from app.events.alerts import Alerter, describe, open_channels
from app.events.dispatcher import EventDispatcher

loads_apprise = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""One of Apprise's plugins imports what Python 3.13 no longer has."""

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def alert(number: int = 1, kind: EventType = EventType.ALERT_RAISED, **data: Any) -> RecordedEvent:
    data = {"message": f"alert {number}"} | data
    event = Event(id=str(number), type=kind, time=NOW, account_id="main", is_paper=False, asset="BTCUSDT", data=data)
    return RecordedEvent(number, event)


class Log:
    def __init__(self) -> None:
        self.committed: list[RecordedEvent] = []

    async def after(self, seq: int, limit: int, types: frozenset[EventType] | None) -> list[RecordedEvent]:
        found = [item for item in self.committed if item.seq > seq and (types is None or item.event.type in types)]
        return found[:limit]


class House:
    """A dispatcher, its log, and an alerter that runs."""

    def __init__(self, *channels: Any, queue_limit: int = 1000) -> None:
        self.log = Log()
        self.dispatcher = EventDispatcher(self.log, queue_limit=queue_limit)
        self.task = asyncio.create_task(Alerter(self.dispatcher, channels).run(0))

    async def raise_alerts(self, *alerts: RecordedEvent) -> None:
        self.log.committed.extend(alerts)
        self.dispatcher.publish(alerts)
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.dispatcher.close()
        await asyncio.wait_for(self.task, 10)


class Channel:
    """Keeps what it is told; fails when it should."""

    def __init__(self, failure: Exception | None = None, *, takes: bool = True) -> None:
        self.titles: list[str] = []
        self.bodies: list[str] = []
        self.failure = failure
        self.takes = takes
        self.open = threading.Event()
        self.open.set()

    def notify(self, body: str, title: str) -> bool:
        assert self.open.wait(10)
        self.bodies.append(body)
        self.titles.append(title)
        if self.failure is not None:
            raise self.failure
        return self.takes


async def test_each_alert_is_sent_once_and_in_order_and_nothing_else_is() -> None:
    """Orders and fills are no alerts."""
    channel = Channel()
    house = House(channel)
    await house.raise_alerts(alert(1), alert(2, EventType.ORDER_PLACED), alert(3))
    await house.raise_alerts(alert(4))
    await house.close()
    assert [body.split("\n")[0] for body in channel.bodies] == ["alert 1", "alert 3", "alert 4"]


@pytest.mark.parametrize(
    "broken", [Channel(ValueError("token=s3cret")), Channel(takes=False)], ids=["raises", "refuses"]
)
async def test_a_broken_channel_is_logged_without_its_secrets_and_silences_nobody(broken: Channel) -> None:
    """The next channel and the next alert go out."""
    whole = Channel()
    with capture_logs() as logs:
        house = House(broken, whole)
        await house.raise_alerts(alert(1), alert(2))
        await house.close()
    assert len(whole.bodies) == len(broken.bodies) == 2
    assert [(line["event"], line["channel"], line["seq"]) for line in logs] == [
        ("alerts.channel_failed", 1, 1),
        ("alerts.channel_failed", 1, 2),
    ]
    assert "s3cret" not in repr(logs)


async def test_a_channel_that_hangs_holds_nobody_up_and_loses_nothing() -> None:
    """Publishing goes on; more alerts than fit in the queue are read again from the log."""
    channel = Channel()
    channel.open.clear()
    house = House(channel, queue_limit=5)
    await house.raise_alerts(alert(1))
    await asyncio.sleep(0.05)
    for number in range(2, 41):
        await house.raise_alerts(alert(number))
    channel.open.set()
    while len(channel.bodies) < 40:
        await asyncio.sleep(0.005)
    await house.close()
    assert [body.split("\n")[0] for body in channel.bodies] == [f"alert {number}" for number in range(1, 41)]


def test_an_alert_says_what_where_and_when() -> None:
    """Real money is told from paper in the first words."""
    title, body = describe(alert(1, trade="x", attempts=3).event)
    assert title == "TES LIVE main BTCUSDT"
    assert body == "alert 1\ntime: 2026-11-22T10:15:00+00:00\ntrade: x\nattempts: 3"


@loads_apprise
def test_a_url_that_apprise_does_not_know_is_refused_without_showing_it() -> None:
    """The entry is named by its place."""
    with pytest.raises(ConfigurationError, match="TES_ALERT_URLS: entry 2") as raised:
        open_channels(["json://127.0.0.1:1/", "nonsense://user:s3cret@host"])
    assert "s3cret" not in str(raised.value)
    assert logging.getLogger("apprise").disabled


async def test_without_urls_nothing_runs() -> None:
    """No thread, no Apprise."""
    assert open_channels([]) == ()
    house = House()
    await asyncio.wait_for(house.task, 5)


@contextmanager
def web_hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP server on loopback that takes JSON messages."""
    messages: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", messages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@loads_apprise
async def test_a_real_channel_delivers() -> None:
    """Through Apprise itself, over a socket."""
    with web_hook() as (url, messages):
        house = House(*open_channels([url]))
        await house.raise_alerts(alert(1))
        await house.close()
    assert [(message["title"], message["message"].split("\n")[0]) for message in messages] == [
        ("TES LIVE main BTCUSDT", "alert 1")
    ]
