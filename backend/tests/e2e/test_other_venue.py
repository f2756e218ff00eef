"""Real processes on one database, started for different venues: what is open stays on record as it is."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aster_sim.server import RunningVenue
from support.commands import tes
from support.patience import PATIENCE_S
from support.serving import BTC, BUY, TOKEN, account_at, control, free_port, get, is_ready, ledger, service, until

pytestmark = pytest.mark.long

PAPER = {
    "TES_VENUE": "paper",
    "TES_PAPER_SEED": "5",
    **dict.fromkeys(("TES_ASTER_REST_URL", "TES_ASTER_WS_URL", "TES_ASTER_CHAIN_ID"), ""),
}
LIVE = {"TES_VENUE": "live"}


@pytest.fixture
async def http(venue: RunningVenue) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        await control(session, venue, "/prices", {BTC: "96000"})
        yield session


@asynccontextmanager
async def serving(
    http: aiohttp.ClientSession, venue: RunningVenue, database_url: str, folder: Path, **extra: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The address of a ready service and its process; stopped in order, unless it has ended."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with service(venue, database_url, folder, port, **extra) as process:
        await until(lambda: is_ready(http, url), "readiness")
        yield url, process
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def buy(http: aiohttp.ClientSession, url: str) -> None:
    async with http.post(f"{url}/v1/decisions?wait=30", json=BUY) as response:
        assert (await response.json())["status"] == "executed"


async def refused(venue: RunningVenue, database_url: str, folder: Path, **extra: str) -> str:
    """What a start says that ends with the exit code of a wrong configuration."""
    log = folder / "service.log"
    before = log.stat().st_size if log.exists() else 0
    async with service(venue, database_url, folder, free_port(), **extra) as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 2, log.read_text(encoding="utf-8")[before:]
    return log.read_text(encoding="utf-8")[before:]


async def record(http: aiohttp.ClientSession, url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The trades, and the events."""
    trades = (await get(http, f"{url}/v1/trades"))["items"]
    return trades, (await get(http, f"{url}/v1/events?after=0&limit=500"))["items"]


async def ledger_at_rest(http: aiohttp.ClientSession, venue: RunningVenue) -> Any:
    """The ledger once all has arrived that an ended process has sent: two looks in a row show the same."""
    last: Any = None

    async def is_at_rest() -> bool:
        nonlocal last
        before, last = last, await ledger(http, venue)
        return bool(before == last) and all(row["outcome"] != "pending" for row in last["requests"])

    await until(is_at_rest, "the venue to be at rest")
    return last


@pytest.mark.parametrize(
    ("first", "other", "database_url"),
    [(PAPER, LIVE, "sqlite"), (LIVE, PAPER, "postgresql")],
    ids=["paper-live", "live-paper"],
    indirect=["database_url"],
)
async def test_open_trades_are_not_taken_to_another_venue(
    venue: RunningVenue,
    http: aiohttp.ClientSession,
    database_url: str,
    tmp_path: Path,
    first: dict[str, str],
    other: dict[str, str],
) -> None:
    """Refused with the ways out, each of which works; nothing is written, nothing is sent, no alert is told."""
    async with serving(http, venue, database_url, tmp_path, **first) as (url, _):
        await buy(http, url)
        trades, events = await record(http, url)
    seen = await ledger_at_rest(http, venue)

    told = await refused(venue, database_url, tmp_path, **other)
    assert told.count("\n") == 1
    assert "1 open trade(s) (BTCUSDT)" in told
    assert "tes close --all" in told
    assert await ledger(http, venue) == seen

    environment = {**account_at(venue), "TES_DATABASE_URL": database_url, "TES_API_TOKEN": TOKEN, "TES_PORT": "0"}
    looked = await asyncio.to_thread(lambda: tes(tmp_path, "doctor", "--json", **{**environment, **other}))
    assert looked.returncode == 1
    assert "not fit to trade: record" in looked.stderr

    async with serving(http, venue, database_url, tmp_path, **first) as (url, _):  # back to where it belongs
        now, log = await record(http, url)
        assert [(one["trade_id"], one["status"]) for one in now] == [(trades[0]["trade_id"], "open")]
        assert log[: len(events)] == events
        assert not [one for one in log[len(events) :] if one["type"] in ("DriftFound", "TradeClosed", "AlertRaised")]
        closing = {"TES_URL": url, "TES_TOKEN": TOKEN}
        assert (await asyncio.to_thread(lambda: tes(tmp_path, "close", "--all", **closing))).returncode == 0

    async with serving(http, venue, database_url, tmp_path, **other) as (url, _):
        assert [one["status"] for one in (await record(http, url))[0]] == ["closed"]


async def test_who_stands_by_for_another_venue_does_not_take_over_what_was_opened_meanwhile(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """It could start, as nothing was open then; it leaves the record to one of the right venue."""
    port = free_port()
    other = f"http://127.0.0.1:{port}"
    (tmp_path / "other").mkdir()

    async def reasons(text: str) -> bool:
        try:
            async with http.get(f"{other}/readyz") as response:
                return text in await response.text()
        except aiohttp.ClientError:
            return False

    async with (
        serving(http, venue, database_url, tmp_path, **LIVE) as (url, process),
        service(venue, database_url, tmp_path / "other", port, **PAPER) as spare,
    ):
        await until(lambda: reasons("standing by"), "the other to stand by")
        await buy(http, url)
        process.kill()
        await process.wait()
        assert await asyncio.wait_for(spare.wait(), PATIENCE_S) == 1
        said = (tmp_path / "other" / "service.log").read_text(encoding="utf-8")
        assert "trading could not begin: " in said
        assert "1 open trade(s) (BTCUSDT) of the exchange at" in said
        async with serving(http, venue, database_url, tmp_path, **LIVE) as (url, _):
            assert [one["status"] for one in (await record(http, url))[0]] == ["open"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_killed_process_starts_again_where_it_was(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    async with serving(http, venue, database_url, tmp_path, **PAPER) as (url, process):
        await buy(http, url)
        process.kill()
        await process.wait()
    await refused(venue, database_url, tmp_path, **LIVE)  # at once, although the lease has not run out
    async with serving(http, venue, database_url, tmp_path, **PAPER) as (url, _):
        assert [one["status"] for one in (await record(http, url))[0]] == ["open"]
