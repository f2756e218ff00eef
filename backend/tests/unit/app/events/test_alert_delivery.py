"""Each channel is told by itself: over real HTTP, again when it refused, and never at the cost of anybody else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from app.domain.errors import ConfigurationError
from app.events.alerts.alerter import send_test
from app.events.alerts.channels import open_channels
from app.events.alerts.delivery import RETRY_DELAYS_S, Carrier, Delivery
from app.events.alerts.digest import AGAIN_S, Digest, Notice
from app.events.alerts.letters import TEST, Letter
from support.hooks import SECRET, Hook, loads_apprise, web_hook
from support.patience import PATIENCE_S

pytestmark = loads_apprise

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
WINDOW_S = 300.0


class VirtualClock:
    """Time that the test moves; it moves on by itself no further than to the next sleeper."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        sleeper = self.elapsed_s + max(0.0, seconds), asyncio.get_running_loop().create_future()
        self.sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self.sleepers.remove(sleeper)

    def advance(self) -> None:
        """Go to the next sleeper."""
        until, future = min(self.sleepers, key=lambda sleeper: sleeper[0])
        self.elapsed_s = max(self.elapsed_s, until)
        if not future.done():
            future.set_result(None)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.002)


async def waits_after(attempts: int, hook: Hook, clock: VirtualClock) -> None:
    """Until so many messages came and somebody waits for time to pass."""
    await until(lambda: len(hook.messages) == attempts and bool(clock.sleepers))


@asynccontextmanager
async def delivering(hook: Hook, clock: VirtualClock) -> AsyncIterator[Delivery]:
    (channel,) = open_channels([hook.url])
    delivery = Delivery(1, channel, Digest(window_s=WINDOW_S, per_minute=20), clock, "LIVE")
    task = asyncio.create_task(delivery.run())
    try:
        yield delivery
    finally:
        delivery.close()
        await asyncio.wait_for(task, PATIENCE_S)


def notice(asset: str = "BTCUSDT", *, is_critical: bool = True) -> Notice:
    text = f"something happened to {asset}"
    return Notice(is_critical=is_critical, code="late_fill", message=text, time=NOW, account_id="main", asset=asset)


async def test_a_real_channel_is_told_with_its_severity() -> None:
    with web_hook() as hook:
        async with delivering(hook, VirtualClock()) as delivery:
            delivery.offer(notice())
            await until(lambda: delivery.sent == 1)
            delivery.offer(notice(is_critical=False))
            await until(lambda: delivery.sent == 2)
    assert hook.titles == ["TES LIVE CRITICAL main BTCUSDT", "TES LIVE WARNING main BTCUSDT"]
    assert hook.sentences == ["something happened to BTCUSDT"] * 2
    assert [message["type"] for message in hook.messages] == ["failure", "warning"]


async def test_repetitions_are_told_as_one_message_when_the_window_ends() -> None:
    clock = VirtualClock()
    with web_hook() as hook:
        async with delivering(hook, clock) as delivery:
            delivery.offer(notice())
            await until(lambda: delivery.sent == 1)
            for _ in range(3):
                delivery.offer(notice())
            await until(lambda: bool(clock.sleepers))
            clock.advance()
            await until(lambda: delivery.sent == 2)
    assert clock.elapsed_s == WINDOW_S
    assert "(3 more times in the last 5 min" in hook.messages[1]["message"]
    assert delivery.suppressed == 2


async def test_a_refused_message_is_sent_again_with_growing_delays() -> None:
    clock = VirtualClock()
    with web_hook(500, 500, 200) as hook:
        async with delivering(hook, clock) as delivery:
            delivery.offer(notice())
            for attempts in (1, 2):
                await waits_after(attempts, hook, clock)
                clock.advance()
            await until(lambda: delivery.sent == 1)
    assert clock.elapsed_s == sum(RETRY_DELAYS_S[:2])
    assert (len(hook.messages), delivery.failed) == (3, 0)


async def test_a_channel_that_only_refuses_is_counted_logged_without_secrets_and_told_again_later() -> None:
    clock = VirtualClock()
    with web_hook(500, 500, 500, 500, 200) as hook, capture_logs() as logs:
        async with delivering(hook, clock) as delivery:
            delivery.offer(notice())
            for attempts in range(1, len(RETRY_DELAYS_S) + 1):
                await waits_after(attempts, hook, clock)
                clock.advance()
            await until(lambda: delivery.failed == 1 and bool(clock.sleepers))
            assert clock.elapsed_s == sum(RETRY_DELAYS_S)
            clock.advance()
            await until(lambda: delivery.sent == 1)
    assert clock.elapsed_s == sum(RETRY_DELAYS_S) + AGAIN_S
    (line,) = logs
    assert (line["event"], line["channel"], line["address"]) == ("alerts.not_delivered", 1, hook.label)
    assert (line["error"], line["codes"]) == ("refused", ["late_fill"])
    assert SECRET not in repr(logs)


async def test_at_the_stop_what_waits_is_told_and_a_retry_is_not_waited_for() -> None:
    """The clock stands still: nobody could wait."""
    clock = VirtualClock()
    with web_hook(500, 200) as hook:
        async with delivering(hook, clock) as delivery:
            delivery.offer(notice())
            await waits_after(1, hook, clock)
            for number in range(5):
                delivery.offer(notice(f"A{number}"))
    assert hook.titles == ["TES LIVE CRITICAL main BTCUSDT"] * 2 + ["TES LIVE CRITICAL: 5 alerts"]
    assert delivery.failed == 0


class Gate:
    """A channel that is held up until it is let through."""

    label = "gate"

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.is_open = threading.Event()

    def notify(self, letter: Letter) -> bool:
        self.letters.append(letter)
        return self.is_open.wait(PATIENCE_S)


async def test_a_letter_that_is_under_way_is_waited_for_and_not_sent_twice() -> None:
    gate = Gate()
    carrier = Carrier(gate, "gate")
    assert await carrier.carry(TEST, timeout_s=0.02) == "no answer"
    assert await carrier.carry(TEST, timeout_s=0.02) == "no answer"
    gate.is_open.set()
    assert await carrier.carry(TEST) is None
    assert gate.letters == [TEST]


async def test_a_thread_that_hangs_is_the_only_one_of_its_channel() -> None:
    gate = Gate()
    carrier = Carrier(gate, "the-gate")
    for number in range(5):
        assert await carrier.carry(Letter(str(number), "", is_critical=True), timeout_s=0.01) == "no answer"
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "the-gate"] == [True]
    gate.is_open.set()
    last = Letter("last", "", is_critical=True)
    assert await carrier.carry(last) is None
    assert [letter.title for letter in gate.letters] == ["0", "last"]


async def test_each_channel_is_tested_whatever_the_others_do() -> None:
    with web_hook() as whole, web_hook(500) as broken:
        assert await send_test(open_channels([broken.url, whole.url])) == ["refused", None]
    assert whole.titles == broken.titles == ["TES test"]


async def test_a_channel_that_raises_is_told_by_the_kind_of_its_error_alone() -> None:
    class Raising(Gate):
        def notify(self, letter: Letter) -> bool:
            raise ValueError(SECRET)

    assert await send_test([Raising()]) == ["ValueError"]


def test_an_address_is_never_shown() -> None:
    """With many services the host is the token."""
    channels = open_channels(
        [
            f"json://user:{SECRET}@localhost:8080/{SECRET}?x={SECRET}",
            "tgram://123456789:abcdefg_hijklmnop/12315544/",
            "mailto://someone:password@gmail.com",
        ]
    )
    assert [channel.label for channel in channels] == [
        "json://localhost:8080/********",
        "tgram://********",
        "mailto://********",
    ]


def test_a_url_that_apprise_does_not_know_is_refused_without_showing_it() -> None:
    """The entry is named by its place."""
    with pytest.raises(ConfigurationError, match="TES_ALERT_URLS: entry 2") as raised:
        open_channels(["json://127.0.0.1:1/", f"nonsense://user:{SECRET}@host"])
    assert SECRET not in str(raised.value)
    assert logging.getLogger("apprise").disabled


def test_without_urls_apprise_is_not_even_loaded() -> None:
    assert open_channels([]) == ()
