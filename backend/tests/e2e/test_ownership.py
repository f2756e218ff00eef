"""Two real processes on one account (scenario C4): one trades, the other stands by, and never both."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest

from aster_sim.server import RunningVenue
from support.foreign_rows import change_rows
from support.locks import locked
from support.serving import BTC, BUY, PATIENCE_S, TOKEN, control, free_port, get, is_ready, ledger, service, until

pytestmark = pytest.mark.long


@pytest.fixture
async def http(venue: RunningVenue) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        await control(session, venue, "/prices", {BTC: "96000"})
        yield session


@dataclass
class Wire:
    """The way of one process to the exchange; counts what it sends."""

    url: str
    sent: int = 0


@asynccontextmanager
async def wire(venue: RunningVenue) -> AsyncIterator[Wire]:
    there = urlsplit(venue.rest_url)
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_outward: bool) -> None:
        try:
            with suppress(ConnectionError):
                while chunk := await reader.read(65_536):
                    line.sent += len(chunk) if is_outward else 0
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, out = await asyncio.open_connection(there.hostname, there.port)
        except OSError:
            writer.close()
            return
        for task in (
            asyncio.create_task(carry(reader, out, is_outward=True)),
            asyncio.create_task(carry(back, writer, is_outward=False)),
        ):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    line = Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield line
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Instance:
    """A process of ours."""

    process: asyncio.subprocess.Process
    url: str
    wire: Wire
    log: Path


@asynccontextmanager
async def instance(venue: RunningVenue, database_url: str, folder: Path, name: str) -> AsyncIterator[Instance]:
    home = folder / name
    home.mkdir()
    port = free_port()
    async with wire(venue) as line:
        extra = {"TES_ASTER_REST_URL": line.url, "TES_RECONCILE_INTERVAL_SECONDS": "1"}
        async with service(venue, database_url, home, port, **extra) as process:
            yield Instance(process, f"http://127.0.0.1:{port}", line, home / "service.log")


async def reasons(http: aiohttp.ClientSession, one: Instance) -> str:
    """Why it is not ready; empty while it does not answer yet."""
    try:
        async with http.get(f"{one.url}/readyz") as response:
            return "" if response.status == 200 else str((await response.json()).get("accounts"))
    except aiohttp.ClientError:
        return ""


@asynccontextmanager
async def owner_and_standby(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, folder: Path
) -> AsyncIterator[tuple[Instance, Instance]]:
    """The first trades and has a protected position, the second stands by."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(instance(venue, database_url, folder, "first"))
        await until(lambda: is_ready(http, first.url), "the first")
        async with http.post(f"{first.url}/v1/decisions?wait=30", json=BUY) as response:
            assert (await response.json())["status"] == "executed"
        second = await stack.enter_async_context(instance(venue, database_url, folder, "second"))

        async def stands_by() -> bool:
            return "standing by" in await reasons(http, second)

        await until(stands_by, "the second to stand by")
        yield first, second


async def events(http: aiohttp.ClientSession, one: Instance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await get(http, f"{one.url}/v1/events?after=0&limit=500"))["items"]
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    return found


async def check_the_position(http: aiohttp.ClientSession, venue: RunningVenue, one: Instance) -> None:
    """One entry, one stop, one target: nobody acted twice."""

    async def is_open() -> bool:
        (trade,) = (await get(http, f"{one.url}/v1/trades"))["items"]
        return bool(trade["status"] == "open")

    await until(is_open, "the trade to be open")
    orders = (await ledger(http, venue))["accounts"]["default"]["orders"]
    assert sorted(row["type"] for row in orders if row["status"] == "NEW") == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]
    assert len([row for row in orders if row["origType"] == "MARKET"]) == 1


async def test_a_second_instance_refuses_to_trade_names_the_first_and_takes_over_when_it_is_killed(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """By itself, and standing by it sends nothing at all; how soon is in the tests of leases, on a virtual clock."""
    async with owner_and_standby(venue, http, database_url, tmp_path) as (first, second):
        assert f"traded by process {first.process.pid} on " in await reasons(http, second)
        for path, body in (("/v1/decisions", BUY), ("/v1/halt", {"reason": "x"}), ("/v1/positions/close", None)):
            async with http.post(f"{second.url}{path}", json=body) as response:
                assert (response.status, (await response.json())["code"]) == (503, "not_ready"), path
        assert (await get(http, f"{second.url}/v1/status"))["is_ready"] is False
        assert second.wire.sent == 0

        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
        await until(lambda: is_ready(http, second.url), "the takeover")
        (alert,) = [event for event in await events(http, second) if event["data"].get("code") == "taken_over"]
        assert str(first.process.pid) in alert["data"]["message"]
        await check_the_position(http, venue, second)


@contextmanager
def jammed(database_url: str) -> Iterator[None]:
    """Another program keeps everybody from writing, and so from finding out by the database who the owner is."""
    if database_url.startswith("sqlite"):
        with locked(database_url.removeprefix("sqlite:///")):
            yield
        return
    with psycopg.connect(database_url) as server:
        server.execute("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_frozen_owner_sends_nothing_even_when_it_can_not_ask_the_database(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """Time alone tells it that it may have been replaced; it stays silent as long as nobody tells it otherwise."""
    async with owner_and_standby(venue, http, database_url, tmp_path) as (first, second):
        first.process.send_signal(signal.SIGSTOP)
        await until(lambda: is_ready(http, second.url), "the takeover")
        before = first.wire.sent
        with jammed(database_url):
            first.process.send_signal(signal.SIGCONT)

            async def is_silent() -> bool:
                return "database" in await reasons(http, first)

            await until(is_silent, "the first to see that something is wrong")
            # several of its reconciliations, heartbeats and tries to write would have been due
            await asyncio.sleep(3)
            assert first.wire.sent == before

        async def is_told() -> bool:
            return "another process has taken over" in await reasons(http, first)

        await until(is_told, "the first to notice")
        await until(lambda: is_ready(http, second.url), "the second's recovery")
        assert first.wire.sent == before
        await check_the_position(http, venue, second)


async def test_a_standby_that_can_not_begin_ends_with_a_code_and_the_reason(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """Something on record that nobody expects; a supervisor starts it again, and nobody holds the account meanwhile."""
    async with owner_and_standby(venue, http, database_url, tmp_path) as (first, second):
        change_rows(database_url, """UPDATE flags SET value = '["odd"]' WHERE key = 'venue:default'""")
        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
        assert await asyncio.wait_for(second.process.wait(), PATIENCE_S) == 1
        said = second.log.read_text(encoding="utf-8")
        assert '"event": "trading.given_up"' in said
        assert "tes: trading could not begin: TypeError" in said
        assert second.wire.sent == 0
        change_rows(database_url, "DELETE FROM flags WHERE key = 'venue:default'")
        async with instance(venue, database_url, tmp_path, "third") as third:
            await until(lambda: is_ready(http, third.url), "the next process to trade")
            await check_the_position(http, venue, third)


async def test_a_graceful_stop_hands_over_at_once(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """The lease is given back, not left to run out; that is no alert."""
    async with owner_and_standby(venue, http, database_url, tmp_path) as (first, second):
        first.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.process.wait(), PATIENCE_S) == 0
        await until(lambda: is_ready(http, second.url), "the takeover")
        assert not [event for event in await events(http, second) if event["data"].get("code") == "taken_over"]
        await check_the_position(http, venue, second)


async def test_a_frozen_owner_that_wakes_up_after_the_takeover_writes_and_sends_nothing(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """It believed to be the owner a moment ago; its first look at clock or database tells it otherwise."""
    async with owner_and_standby(venue, http, database_url, tmp_path) as (first, second):
        first.process.send_signal(signal.SIGSTOP)
        await until(lambda: is_ready(http, second.url), "the takeover")
        before = first.wire.sent
        # the exit that both would have to restore
        stop = next(
            row
            for row in (await ledger(http, venue))["accounts"]["default"]["orders"]
            if row["type"] == "STOP_MARKET" and row["status"] == "NEW"
        )
        first.process.send_signal(signal.SIGCONT)
        by_hand = {"account": "default", "symbol": BTC, "orderId": str(stop["orderId"])}
        async with http.delete(f"{venue.control_url}/orders", json=by_hand) as response:
            assert response.status < 300, await response.text()

        async def is_told() -> bool:
            return "another process has taken over" in await reasons(http, first)

        await until(is_told, "the first to notice")

        async def is_restored() -> bool:
            orders = (await ledger(http, venue))["accounts"]["default"]["orders"]
            return [row["type"] for row in orders if row["status"] == "NEW"].count("STOP_MARKET") == 1

        await until(is_restored, "the stop")
        async with http.post(f"{first.url}/v1/decisions", json=BUY) as response:
            assert (response.status, (await response.json())["code"]) == (503, "not_ready")
        await check_the_position(http, venue, second)
        assert first.wire.sent == before
        log = [json.loads(line) for line in first.log.read_text(encoding="utf-8").splitlines() if line[:1] == "{"]
        assert [line["event"] for line in log].count("store.ownership_lost") == 1
        await events(http, second)
        first.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.process.wait(), PATIENCE_S) == 0
        assert await is_ready(http, second.url)
