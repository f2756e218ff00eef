"""A real service whose disk is full (scenario C2): people are told, exits work, and it recovers by itself."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aster_sim.server import AccountSpec, VenueConfig, start_venue
from support.serving import BTC, BUY, TOKEN, control, free_port, get, is_ready, ledger, service, until

PAGE_BYTES = 4096

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux to fill another process's disk"),
]


@asynccontextmanager
async def pager() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A channel for alerts: its Apprise URL, and what came."""
    came: list[dict[str, Any]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        came.append(await request.json())
        return web.Response()

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        yield f"json://127.0.0.1:{port}", came
    finally:
        await runner.cleanup()


async def test_with_a_full_disk_exits_work_people_are_told_and_it_recovers_by_itself(tmp_path: Path) -> None:
    """No file of the process may be written beyond its first page: the database's journal, and the log beside it."""
    venue = await start_venue(VenueConfig(seed=5, prices="manual", accounts=[AccountSpec("default", Decimal(100_000))]))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    try:
        async with (
            pager() as (channel, came),
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
            service(venue, f"sqlite:///{tmp_path / 'tes.db'}", tmp_path, port, TES_ALERT_URLS=channel) as process,
        ):
            await control(http, venue, "/prices", {BTC: "96000"})
            await until(lambda: is_ready(http, url), "readiness")
            async with http.post(f"{url}/v1/decisions?wait=30", json=BUY) as response:
                assert (await response.json())["status"] == "executed"

            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (PAGE_BYTES, resource.RLIM_INFINITY))

            async def is_told() -> bool:
                return any("the database takes no writes" in str(alert) for alert in came)

            await until(is_told, "the alert")
            async with http.get(f"{url}/readyz") as response:
                assert response.status == 503
                assert "disk" in (await response.json())["detail"]
            async with http.post(f"{url}/v1/decisions", json=BUY) as response:
                assert (response.status, (await response.json())["code"]) == (503, "not_ready")
            async with http.post(f"{url}/v1/positions/{BTC}/close") as response:
                assert (await response.json())["status"] == "closed"
            orders = (await ledger(http, venue))["accounts"]["default"]["orders"]
            assert [row for row in orders if row["status"] == "NEW"] == []
            assert {row["type"] for row in orders if row["status"] == "FILLED"} == {"MARKET"}

            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await until(lambda: is_ready(http, url), "recovery")

            async def is_recorded() -> bool:
                (trade,) = (await get(http, f"{url}/v1/trades"))["items"]
                return (trade["status"], trade["close_reason"]) == ("closed", "manual")

            await until(is_recorded, "the record")
            events = (await get(http, f"{url}/v1/events?after=0&limit=500"))["items"]
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    finally:
        await venue.stop()
