"""A real service on the paper venue, served by a real server on loopback, and ways to talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from app.api.server import make_server
from app.bootstrap import Application, Outside, running
from app.core.configuration import load_settings
from app.core.settings import Settings
from app.db.executors import LocalBrowser, ThreadExecutor
from app.db.opening import make_database
from app.events.broadcast import Broadcast
from support.leases import trusted_leases
from support.patience import PATIENCE_S
from support.secret_watch import all_said_by

TOKEN = "the-right-token-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON values."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Face:
    """A served application."""

    application: Application
    url: str
    http: aiohttp.ClientSession
    broadcast: Broadcast

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, data: Any = None, **query: Any
    ) -> Answer:
        """Send a request, with the right token unless ``headers`` are given."""
        async with self.http.request(
            method,
            f"{self.url}{path}",
            headers=AUTHORIZED if headers is None else headers,
            data=json.dumps(data) if isinstance(data, dict | list) else data,
            params={name: str(value) for name, value in query.items()},
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **query: Any) -> Answer:
        """GET with the right token."""
        return await self.ask("GET", path, **query)

    async def post(self, path: str, data: Any = None, **query: Any) -> Answer:
        """POST with the right token."""
        return await self.ask("POST", path, data=data, **query)

    def follow(self, **query: Any) -> Any:
        """The live stream, with the right token in its header."""
        return self.http.ws_connect(f"{self.url}/v1/stream", params=query, headers=AUTHORIZED)


@asynccontextmanager
async def serving(application: Application, *, send_buffer: int | None = None) -> AsyncIterator[Face]:
    """Serve an application on a free port of loopback; a small ``send_buffer`` lets a slow reader show early."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if send_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listening.setblocking(False)
        server = make_server(application)
        state, server.config.app = server.config.app.state, all_said_by(server.config.app)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        # a connection that the server ends for being idle may be picked up in that moment, on a busy machine
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            try:
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                yield Face(application, url, http, state.broadcast)
            finally:
                server.should_exit = True
                await task


@asynccontextmanager
async def paper_face(
    *, send_buffer: int | None = None, is_ephemeral: bool = True, **environ: str
) -> AsyncIterator[Face]:
    """A ready paper service, which forgets everything at the end unless told otherwise."""
    settings = load_settings({"TES_API_TOKEN": TOKEN, "TES_PAPER_SEED": "7", **environ})
    with trusted_leases():
        async with _ready(settings, is_ephemeral, send_buffer) as face:
            yield face


@asynccontextmanager
async def _ready(settings: Settings, is_ephemeral: bool, send_buffer: int | None) -> AsyncIterator[Face]:
    # lists are read in this process: one of its own for each face would take the tests more time than all they ask
    outside = Outside(database=lambda url: make_database(url, ThreadExecutor(LocalBrowser)))
    async with running(settings, is_ephemeral=is_ephemeral, outside=outside) as application:
        async with asyncio.timeout(PATIENCE_S):
            while not all(service.readiness().is_ready for service in application.services.values()):
                await asyncio.sleep(0.01)
        async with serving(application, send_buffer=send_buffer) as face:
            yield face


def decision(asset: str = "BTCUSDT", action: str = "buy", **fields: Any) -> dict[str, Any]:
    """A decision on one asset; an entry is protected unless the prices are given otherwise."""
    prices: dict[str, Any] = {"tp_price": 99000, "sl_price": 94000} if asset == "BTCUSDT" else {}
    wish = {"allocation_usd": 1000, "leverage": 10, **prices} if action in ("buy", "sell") else {}
    one = {"asset": asset, "action": action, **wish, **fields}
    return {"decisions": [{name: value for name, value in one.items() if value is not None}]}
