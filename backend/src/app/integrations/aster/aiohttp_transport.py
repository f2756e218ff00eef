"""The network itself, on aiohttp: keep-alive HTTP that never re-sends, and WebSockets.

aiohttp re-sends GET, PUT and DELETE by itself when a kept-alive connection breaks. Then a -4225 would no longer prove
that a request was not executed (``design.md``, signing), so each request carries a middleware that turns the break into
an error of ours before aiohttp's retry can see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import (
    ClientRequest,
    ClientResponse,
    ClientTimeout,
    ClientWSTimeout,
    DummyCookieJar,
    TCPConnector,
    WSMsgType,
)
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection
from yarl import URL

from app.integrations.aster.transport import (
    NOT_OURS,
    Response,
    StreamLost,
    TransportNotSent,
    TransportOutcomeUnknown,
    checked_base_url,
)

KEEP_ALIVE_S = 30.0
"""Shorter than what servers usually keep: a connection that dies under an order makes its outcome unknown."""

_PARALLEL_CONNECTIONS = 64
_HEARTBEAT_S = 15.0
_OPEN_TIMEOUT_S = 10.0
_LARGEST_FRAME = 16 * 1024 * 1024
_NO_TIMEOUT = ClientTimeout(total=None)
_CLOSE_TIMEOUT = ClientWSTimeout(ws_close=1.0)


class _Request(ClientRequest):
    """A request that asks whether it may leave when it has its connection, and remembers that it was put on it."""

    may_send: Callable[[], bool] = staticmethod(lambda: True)
    is_on_the_wire = False

    async def send(self, conn: Connection) -> ClientResponse:
        if not self.may_send():
            raise TransportNotSent(NOT_OURS)
        self.is_on_the_wire = True
        return await super().send(conn)


class _Attempt:
    """Watches one request, and stands between aiohttp and its own retries."""

    __slots__ = ("_may_send", "_request")

    def __init__(self, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self._request: ClientRequest | None = None

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        self._request = request
        if isinstance(request, _Request):
            request.may_send = self._may_send
        try:
            return await handler(request)
        except (aiohttp.ClientError, OSError) as error:
            raise self.failure(error) from None

    def failure(self, error: Exception) -> TransportNotSent | TransportOutcomeUnknown:
        """What ``error`` means. Only its type and system text are repeated: the rest may hold the signed query."""
        detail = type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            detail = f"{detail}: {error.strerror}"
        if isinstance(self._request, _Request) and self._request.is_on_the_wire:
            return TransportOutcomeUnknown(f"the connection failed after sending ({detail})")
        return TransportNotSent(f"no connection to the exchange ({detail})")


class AiohttpTransport:
    """:class:`~app.integrations.aster.transport.Transport` over one keep-alive session.

    Must be built inside a running event loop. Redirects, cookies and proxies from the environment are off.

    Args:
        rest_url: scheme and host.
        may_send: see :class:`~app.integrations.aster.transport.TransportFactory`.

    Raises:
        ConfigurationError: ``rest_url`` is neither https nor this machine.
    """

    def __init__(self, rest_url: str, may_send: Callable[[], bool] = lambda: True) -> None:
        self._may_send = may_send
        self._base = checked_base_url(rest_url, secure="https", plain="http", setting="TES_ASTER_REST_URL")
        self._session = aiohttp.ClientSession(
            connector=TCPConnector(limit=_PARALLEL_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=DummyCookieJar(),
            request_class=_Request,
            timeout=_NO_TIMEOUT,
            trust_env=False,
        )

    async def request(
        self, method: str, path: str, query: str, body: str, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        """See :meth:`app.integrations.aster.transport.Transport.request`."""
        url = URL(f"{self._base}{path}?{query}" if query else f"{self._base}{path}", encoded=True)
        attempt = _Attempt(self._may_send)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    url,
                    data=body.encode() if body else None,
                    headers=headers,
                    allow_redirects=False,
                    middlewares=(attempt,),
                ) as response,
            ):
                return Response(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise attempt.failure(error) from None

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()


class AiohttpStreamConnection:
    """One open WebSocket of :class:`AiohttpStreamConnector`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> str:
        """The next text frame. Raises :class:`StreamLost` at the end."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                text: str = message.data
                return text
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                raise StreamLost(f"the stream was closed with code {self._socket.close_code}")
            if message.type is WSMsgType.ERROR:
                raise StreamLost(f"the stream broke ({type(self._socket.exception()).__name__})")

    async def send(self, text: str) -> None:
        """Send a text frame. Raises :class:`StreamLost` at the end."""
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise StreamLost(f"the stream broke ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close the socket."""
        await self._socket.close()


class AiohttpStreamConnector:
    """:class:`~app.integrations.aster.transport.StreamConnector` that notices a dead peer.

    Args:
        ws_url: scheme and host.
        heartbeat_s: a ping so often; a peer that does not answer within half of it is lost.

    Raises:
        ConfigurationError: ``ws_url`` is neither wss nor this machine.
    """

    def __init__(self, ws_url: str, heartbeat_s: float = _HEARTBEAT_S) -> None:
        self._heartbeat_s = heartbeat_s
        self._base = checked_base_url(ws_url, secure="wss", plain="ws", setting="TES_ASTER_WS_URL")
        self._session = aiohttp.ClientSession(cookie_jar=DummyCookieJar(), timeout=_NO_TIMEOUT, trust_env=False)

    async def connect(self, path: str) -> AiohttpStreamConnection:
        """Open ``path``; the path may hold a listen key, so errors don't repeat it."""
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                socket = await self._session.ws_connect(
                    URL(f"{self._base}{path}", encoded=True),
                    heartbeat=self._heartbeat_s,
                    max_msg_size=_LARGEST_FRAME,
                    timeout=_CLOSE_TIMEOUT,
                )
        except (aiohttp.ClientError, OSError) as error:
            raise StreamLost(f"the stream could not be opened ({type(error).__name__})") from None
        return AiohttpStreamConnection(socket)

    async def close(self) -> None:
        """Close the session and its sockets."""
        await self._session.close()
