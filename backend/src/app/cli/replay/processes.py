"""Venue and service as processes of their own, as a user would start them, with nothing inherited from ``TES_*``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.cli.exits import CommandFailed
from app.cli.session import read_session
from app.client.connection import connection
from app.client.errors import ClientError
from app.core.clock import SystemClock

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_LOOK_S = 0.02
_SHOWN_LOG_CHARACTERS = 600
_DATABASE = "replay.db"
_ENTRY_POINT = "from app.cli.main import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueWish:
    """The venue to start; ``patience`` multiplies its rate limits."""

    candles: Mapping[str, Path]
    exchange_info: Path | None
    seed: int
    balance: Decimal
    patience: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a started service is, and its token."""

    url: str
    token: str = field(repr=False)


@asynccontextmanager
async def venue(wish: VenueWish, directory: Path) -> AsyncIterator[dict[str, Any]]:
    """A venue that waits for each step; its own description, with one account named ``default``.

    Raises:
        CommandFailed: it did not start; the message holds its own words.
    """
    accounts = directory / "accounts.json"
    accounts.write_text(json.dumps([{"name": "default", "balance": format(wish.balance, "f")}]), encoding="utf-8")
    files = ",".join(f"{symbol}={path.resolve()}" for symbol, path in wish.candles.items())
    arguments = ["--port", "0", "--seed", str(wish.seed), "--accounts", str(accounts)]
    arguments += ["--prices", f"candles:{files}", "--speed", "0", "--rate-limits", str(wish.patience), "--json"]
    if wish.exchange_info is not None:
        arguments += ["--exchange-info", str(wish.exchange_info.resolve())]
    async with _tes("sim", arguments, {}, directory) as process:
        line = b""
        if process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_START_TIMEOUT_S):
                    line = await process.stdout.readline()
        if not line.strip():
            raise _did_not_start("sim", directory)
        yield json.loads(line)


@asynccontextmanager
async def service(place: Mapping[str, Any], token: str, directory: Path) -> AsyncIterator[Address]:
    """A service on the venue described by ``place``, ready for decisions; its database lies in ``directory``.

    Raises:
        CommandFailed: it did not become ready; the message holds its own words.
    """
    database = directory / _DATABASE
    account = place["accounts"][0]
    environment = {
        "TES_VENUE": "testnet",
        "TES_DATABASE_URL": f"sqlite:///{database}",
        "TES_PORT": "0",
        "TES_API_TOKEN": token,
        "TES_LOG_FORMAT": "json",
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_ASTER_REST_URL": place["rest_url"],
        "TES_ASTER_WS_URL": place["ws_url"],
        "TES_ASTER_CHAIN_ID": str(place["chain_id"]),
        "TES_ASTER_USER": account["user"],
        "TES_ASTER_SIGNER": account["signer"],
        "TES_ASTER_PRIVATE_KEY": account["private_key"],
    }
    async with _tes("serve", [], environment, directory) as process:
        note = Path(f"{database}.service.json")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                address = Address(await _announced_url(note, process), token)
                await _until_ready(address)
        except TimeoutError:
            raise _did_not_start("serve", directory) from None
        yield address


async def _announced_url(note: Path, process: asyncio.subprocess.Process) -> str:
    clock = SystemClock()
    while process.returncode is None:
        session = read_session(note)
        if session is not None:
            return session.url
        await clock.sleep(_LOOK_S)
    raise TimeoutError


async def _until_ready(address: Address) -> None:
    clock = SystemClock()
    async with connection(address.url, address.token) as client:
        while True:
            with contextlib.suppress(ClientError):
                if (await client.get("/v1/status"))["is_ready"]:
                    return
            await clock.sleep(_LOOK_S)


@asynccontextmanager
async def _tes(
    command: str, arguments: list[str], environment: Mapping[str, str], directory: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``tes command``, working in ``directory`` so that no ``tes.toml`` is found; stopped in the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    with (directory / f"{command}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _ENTRY_POINT,
            command,
            *arguments,
            cwd=directory,
            env={**inherited, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if command == "sim" else log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to end; end it when it does not."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def fell_silent(directory: Path) -> CommandFailed:
    """The error for a venue or a service that ended in the middle."""
    words = "; ".join(f"'tes {command}' said last: {_last_words(command, directory)}" for command in ("sim", "serve"))
    return CommandFailed(f"the venue or the service ended before the replay did; {words}")


def _did_not_start(command: str, directory: Path) -> CommandFailed:
    return CommandFailed(f"'tes {command}' did not start: {_last_words(command, directory)}")


def _last_words(command: str, directory: Path) -> str:
    lines = (directory / f"{command}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    words = [line for line in lines if line.strip()]
    return words[-1][:_SHOWN_LOG_CHARACTERS] if words else "nothing"
