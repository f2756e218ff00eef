"""HTTP/1.1 on a connection, with bounds on what a stranger can make us hold before it has shown a token."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.api.edge import SECURITY_HEADERS
from app.api.problems import Problem

HEAD_TIMEOUT_S = 10.0
"""For a request's line and headers to arrive, from their first byte, or from the connection's beginning."""
BODY_TIMEOUT_S = 20.0
"""For the whole body to arrive, after the head."""
LEFTOVER_TIMEOUT_S = 2.0
"""For the rest of a body that was answered without it."""
MAXIMUM_HEAD_BYTES = 32 * 1024
MAXIMUM_CONNECTIONS = 2000
"""Of all clients together, streams included: the exchange's connections must never want for a file descriptor."""
FRAMES = "tes.frames"
"""The ASGI extension through which a stream writes frames that are made once for all readers."""
ADMIT = "tes.admit"
"""The ASGI extension to call, without arguments, when a request of the connection has shown a right token."""
EXPEL_TIMEOUT_S = 10.0
"""For a reader that was told to go, or answers no ping, to take what is left; then its connection is cut."""


class Strangers:
    """The connections that have shown no right token yet. When there are too many, the oldest of them makes room.

    So a client that holds as many as there may be keeps no operator out: a client with a token shows it within
    milliseconds, and its connection is then spared. The oldest is cut off, not closed: one that reads nothing would
    stay for ever.
    """

    def __init__(self) -> None:
        self._transports: dict[asyncio.Transport, None] = {}

    def add(self, transport: asyncio.Transport) -> None:
        """A connection begins."""
        self._transports[transport] = None

    def discard(self, transport: asyncio.Transport) -> None:
        """A connection has shown a token, or is gone."""
        self._transports.pop(transport, None)

    def make_room(self) -> bool:
        """Cut the oldest off; whether there was one."""
        oldest = next(iter(self._transports), None)
        if oldest is None:
            return False
        self.discard(oldest)
        oldest.abort()
        return True


class _Part(Enum):
    """What of a request has to arrive."""

    HEAD = auto()
    BODY = auto()
    LEFTOVER = auto()
    """What is left of a body that was answered without it."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which bounds neither a head's size nor a request's time, and says no in plain text."""

    def __init__(self, *, strangers: Strangers, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._strangers = strangers
        self._awaited: _Part | None = None
        """What the client owes us, within the timer's time."""
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """Of the present request's line and headers, then of its trailers, as far as they are parsed."""
        self._unparsed_bytes = 0
        """What came and is no part of a body, as far as it is not parsed."""
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Take the connection, unless there are too many that may not be cut off for it."""
        super().connection_made(transport)
        if len(self.connections) > MAXIMUM_CONNECTIONS and not self._strangers.make_room():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "too many connections: close some, or wait")
            return
        self._strangers.add(transport)
        self._await(_Part.HEAD, HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._await(None)
        self._strangers.discard(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that does not end."""
        if self._is_refused:
            return
        if self._awaited is None:
            self._await(_Part.HEAD, HEAD_TIMEOUT_S)  # whatever comes between two requests begins one
        self._unparsed_bytes += len(data)
        super().data_received(data)
        self._bound_head(self._head_bytes + self._unparsed_bytes)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)["extensions"] = {ADMIT: lambda: self._strangers.discard(self.transport)}
        self._head_bytes = 0
        if self._awaited is None and not self._is_refused:
            self._await(_Part.HEAD, HEAD_TIMEOUT_S)

    def on_url(self, url: bytes) -> None:
        """A part of its line is here."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or, behind a body in chunks, a trailer is here."""
        self._count_head(len(name) + len(value) + len(b": \r\n"))
        if not self._is_refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is here."""
        if not self._is_refused:
            self._await(_Part.BODY, BODY_TIMEOUT_S)
            self._head_bytes = 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body is here."""
        self._unparsed_bytes = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """It is here as a whole."""
        self._unparsed_bytes = 0
        if self._is_refused:
            return
        is_answered = self._awaited is _Part.LEFTOVER
        self._await(None)
        super().on_message_complete()
        if is_answered:  # uvicorn forgets this when anything comes
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """It is answered. A body of which nobody wants the rest does not keep the connection."""
        super().on_response_complete()
        if self._awaited is _Part.BODY and self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self._await(_Part.LEFTOVER, LEFTOVER_TIMEOUT_S)

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def _await(self, part: _Part | None, seconds: float = 0) -> None:
        """Wait for a part of a request, and not for ever; None: for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = part
        self._timer = None if part is None else self.loop.call_later(seconds, self._on_late)

    def _on_late(self) -> None:
        if self.pipeline:
            self._await(self._awaited, BODY_TIMEOUT_S)  # it was not even read: the request before it is at work
            return
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "no whole request in time: send it at once")

    def _count_head(self, size: int) -> None:
        self._unparsed_bytes -= size
        self._head_bytes += size
        self._bound_head(self._head_bytes)

    def _bound_head(self, size: int) -> None:
        if size > MAXIMUM_HEAD_BYTES:
            limit = MAXIMUM_HEAD_BYTES // 1024
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", f"the headers are above {limit} KiB"
            )

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer what is no whole request, and close; an answer that is on its way is let through first."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        part, cycle = self._awaited, cast(RequestResponseCycle | None, self.cycle)  # None before the first request
        self._await(None)
        if cycle is not None and not cycle.response_complete:
            if part is not _Part.BODY or cycle.response_started or self.pipeline:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if part is not _Part.LEFTOVER:
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

    def __init__(self, *, strangers: Strangers, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._strangers = strangers

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._strangers.discard(self.transport)
        super().connection_lost(exc)

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
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions |= {FRAMES: self, ADMIT: lambda: self._strangers.discard(self.transport)}

    async def send(self, message: Any) -> None:
        """Send for the application. An answer in place of the upgrade ends the handshake, which uvicorn forgets."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """Close, and cut off what does not even take the goodbye."""
        super().keepalive_timeout()
        self.loop.call_later(EXPEL_TIMEOUT_S, self.transport.abort)
