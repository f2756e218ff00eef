"""HTTP/1.1 on a connection, with bounds on what a stranger can make us hold before it has shown a token."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.api.edge import SECURITY_HEADERS
from app.api.problems import Problem

HEAD_TIMEOUT_S = 10.0
"""For a request's line and headers to arrive."""
MAXIMUM_HEAD_BYTES = 32 * 1024
MAXIMUM_CONNECTIONS = 2000
"""Of all clients together, streams included: the exchange's connections must never want for a file descriptor."""
FRAMES = "tes.frames"
"""The ASGI extension through which a stream writes frames that are made once for all readers."""
EXPEL_TIMEOUT_S = 10.0
"""For a reader that was told to go, or answers no ping, to take what is left; then its connection is cut."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which bounds neither a head's size nor its time, and says no in plain text."""

    _head_bytes = 0
    _is_reading_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAXIMUM_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "too many connections: close some, or wait")
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that does not end."""
        super().data_received(data)
        if not self._is_reading_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAXIMUM_HEAD_BYTES:
            limit = MAXIMUM_HEAD_BYTES // 1024
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", f"the headers are above {limit} KiB"
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_reading_head = True
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_late_head)

    def on_headers_complete(self) -> None:
        """Its head is here."""
        self._is_reading_head = False
        self._cancel_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def _on_late_head(self) -> None:
        self._head_timer = None
        detail = f"no whole request within {HEAD_TIMEOUT_S:.0f} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer before there is a request, and close."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        if cycle is None or cycle.response_complete:  # never into an answer that is on its way
            answer = Problem(status, code, detail, headers={"Connection": "close"}).response()
            lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
            headers = (*cast(list[Any], answer.raw_headers), *SECURITY_HEADERS)
            lines += [name + b": " + value for name, value in headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()


class FramesProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, to which a stream may write whole frames (``app.events.broadcast.Sink``).

    One that reads nothing any more is cut off in the end: closing would wait for ever until it has taken the rest.
    """

    @property
    def is_ready(self) -> bool:
        """Whether the reader takes more; false once it is on its way out."""
        return self.writable.is_set() and not self._is_ending

    def write(self, data: bytes) -> None:
        """Send whole frames."""
        if data and not self._is_ending:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the reader takes more, or is gone."""
        await self.writable.wait()

    def expel(self, code: int, reason: str) -> None:
        """Tell the reader to go, behind all that waits for it, without waiting for it to read that."""
        if self._is_ending:
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(EXPEL_TIMEOUT_S, self.transport.abort)

    @property
    def _is_ending(self) -> bool:
        return self.disconnected or self.close_sent or self.transport.is_closing()

    def handle_connect(self, event: Any) -> None:
        """Offer the connection itself to the application."""
        super().handle_connect(event)
        if not self.close_sent:
            cast(dict[str, Any], self.scope["extensions"])[FRAMES] = self

    async def send(self, message: Any) -> None:
        """Send for the application. An answer in place of the upgrade ends the handshake, which uvicorn forgets."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """Close, and cut off what does not even take the goodbye."""
        super().keepalive_timeout()
        self.loop.call_later(EXPEL_TIMEOUT_S, self.transport.abort)
