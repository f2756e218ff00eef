"""The real service as a process, killed with SIGKILL at the worst moments, and started again on the same database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aster_sim.server import RunningVenue
from support.serving import BTC, BUY, PATIENCE_S, TOKEN, control, free_port, get, is_ready, ledger, service, until

DECISION = {"decision_id": "the-one", **BUY}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session


async def submit_and_kill(
    http: aiohttp.ClientSession,
    venue: RunningVenue,
    database_url: str,
    folder: Path,
    reached: Callable[[Any], bool],
    what: str,
) -> None:
    """Send the decision, and kill the service once the venue's ledger has ``reached`` something."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with service(venue, database_url, folder, port) as process:
        await until(lambda: is_ready(http, url), "readiness")
        posting = asyncio.create_task(http.post(f"{url}/v1/decisions?wait=60", json=DECISION).__aenter__())

        async def is_there() -> bool:
            return reached(await ledger(http, venue))

        await until(is_there, what)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # unless the answer overtook the kill
            (await posting).release()


async def recover(http: aiohttp.ClientSession, venue: RunningVenue, database_url: str, folder: Path) -> dict[str, Any]:
    """Start again, ask for the result with the same decision, and compare with the venue."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with service(venue, database_url, folder, port):
        await until(lambda: is_ready(http, url), "readiness after the restart")
        async with http.post(f"{url}/v1/decisions?wait=30", json=DECISION) as response:
            result: dict[str, Any] = await response.json()
            assert response.status == 200, result
            assert response.headers.get("Idempotent-Replay") == "true"
        trades = (await get(http, f"{url}/v1/trades"))["items"]
        events = (await get(http, f"{url}/v1/events?after=0&limit=500"))["items"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len(trades) == 1
    seen = (await ledger(http, venue))["accounts"]["default"]
    assert len([row for row in seen["orders"] if row["origType"] == "MARKET"]) == 1, "exactly one entry"
    exits = [row for row in seen["orders"] if row["status"] == "NEW"]
    assert sorted(row["type"] for row in exits) == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]
    assert {row["origQty"] for row in exits} == {
        row["executedQty"] for row in seen["orders"] if row["type"] == "MARKET"
    }
    return result


@pytest.mark.long
async def test_killed_between_sending_the_entry_and_its_answer(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """C1: the entry is found, protected, and there is one."""
    entry = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
    await control(http, venue, "/prices", {BTC: "96000"})
    await control(http, venue, "/faults", [{"match": entry, "action": {"type": "delay_after", "seconds": 60}}])
    await control(
        http, venue, "/faults", [{"match": {"account": "default"}, "action": {"type": "drop_events"}, "count": 0}]
    )
    await submit_and_kill(
        http, venue, database_url, tmp_path, lambda book: bool(book["accounts"]["default"]["fills"]), "the entry's fill"
    )
    seen = (await ledger(http, venue))["accounts"]["default"]
    assert len(seen["orders"]) == 1, "killed before protection, so the position was bare"
    async with http.delete(f"{venue.control_url}/faults") as response:
        assert response.status < 300
    result = await recover(http, venue, database_url, tmp_path)
    assert result["results"][0]["status"] == "protected"


@pytest.mark.parametrize("database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
async def test_killed_between_the_fill_and_the_protection(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """C1: exits that were sent and never recorded end up on the book once."""
    stop = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
    await control(http, venue, "/prices", {BTC: "96000"})
    await control(http, venue, "/faults", [{"match": stop, "action": {"type": "delay_after", "seconds": 60}}])

    def is_stop_placed(book: Any) -> bool:
        return any(row["type"] == "STOP_MARKET" for row in book["accounts"]["default"]["orders"])

    await submit_and_kill(http, venue, database_url, tmp_path, is_stop_placed, "the stop")
    result = await recover(http, venue, database_url, tmp_path)
    assert result["results"][0]["status"] == "protected"


@pytest.mark.long
async def test_stopped_politely_it_ends_with_code_0_and_leaves_the_position_protected(
    venue: RunningVenue, http: aiohttp.ClientSession, database_url: str, tmp_path: Path
) -> None:
    """C8."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    await control(http, venue, "/prices", {BTC: "96000"})
    async with service(venue, database_url, tmp_path, port) as process:
        await until(lambda: is_ready(http, url), "readiness")
        async with http.post(f"{url}/v1/decisions?wait=30", data=json.dumps(DECISION)) as response:
            assert (await response.json())["status"] == "executed"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    await recover(http, venue, database_url, tmp_path)
