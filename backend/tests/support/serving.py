"""``tes serve`` as a process of its own on a venue of the test's, and ways to watch both."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aster_sim.server import RunningVenue
from support.patience import PATIENCE_S

BTC = "BTCUSDT"
TOKEN = "kill-test-token-0123456789-0123456789"
LAUNCH = "from app.cli.main import main; main()"
BUY: dict[str, Any] = {
    "decisions": [
        {
            "asset": BTC,
            "action": "buy",
            "allocation_usd": 1000,
            "leverage": 10,
            "tp_price": 99000,
            "sl_price": 94000,
        }
    ]
}
"""A decision that the venue's prices of these tests carry out."""


def account_at(venue: RunningVenue) -> dict[str, str]:
    """Settings that lead to the venue's first account."""
    keys = venue.accounts[0]
    return {
        "TES_VENUE": "testnet",
        "TES_ASTER_REST_URL": venue.rest_url,
        "TES_ASTER_WS_URL": venue.ws_url,
        "TES_ASTER_CHAIN_ID": str(venue.chain_id),
        "TES_ASTER_USER": keys.user,
        "TES_ASTER_SIGNER": keys.signer,
        "TES_ASTER_PRIVATE_KEY": keys.private_key,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def service(
    venue: RunningVenue, database_url: str, folder: Path, port: int, **extra: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``tes serve`` on the venue; killed at the end if it still runs."""
    environment = {
        "PATH": os.environ["PATH"],
        **account_at(venue),
        "TES_DATABASE_URL": database_url,
        "TES_API_TOKEN": TOKEN,
        "TES_PORT": str(port),
        "TES_LOG_FORMAT": "json",
        **extra,
    }
    with (folder / "service.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LAUNCH, "serve", cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    async def repeat() -> Any:
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.05)

    try:
        return await asyncio.wait_for(repeat(), PATIENCE_S)
    except TimeoutError:
        pytest.fail(f"waited {PATIENCE_S:g} s for {what}")


async def is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def get(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def ledger(http: aiohttp.ClientSession, venue: RunningVenue) -> Any:
    return await get(http, f"{venue.control_url}/ledger")


async def control(http: aiohttp.ClientSession, venue: RunningVenue, path: str, body: object) -> None:
    async with http.post(f"{venue.control_url}{path}", json=body) as response:
        assert response.status < 300, await response.text()
