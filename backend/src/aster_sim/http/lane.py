"""The fast lane: plain REST calls are answered as their bytes arrive, everything else is handed to aiohttp.

A venue must never be the bottleneck of what is measured on it, and half of what an order costs in a general server is
the server. A connection keeps to the lane while its requests are simple and no fault is planned; the first that is not
(a WebSocket, the control API, a chunked body, a fault) moves the connection, with all that it has sent, to aiohttp
for good. Both give the same answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import msgspec

from aster_sim.http.dispatch import Arrival, Dispatcher
from aster_sim.runtime import Runtime

MAX_REQUEST = 64 * 1024
_ENCODER = msgspec.json.Encoder()
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})
_PREFIX = "/fapi/"
_HEAD_END = b"\r\n\r\n"
_ODD_HEADERS = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding"})
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Dates:
    """The Date header, spelled anew once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, second: int) -> str:
        """The text for a time in seconds since 1970."""
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


class Lane(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        runtime: Runtime,
        dispatcher: Dispatcher,
        general: Callable[[], asyncio.BaseProtocol],
        lanes: set[Lane],
        dates: Dates,
    ) -> None:
        """``general`` makes aiohttp's side of a connection; ``lanes`` are those that are open."""
        self._runtime = runtime
        self._dispatcher = dispatcher
        self._general = general
        self._lanes = lanes
        self._dates = dates
        self._transport: asyncio.Transport | None = None
        self._ip = "local"
        self._waiting = b""
        self._raw_head = b""
        self._head: _Head | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection in."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._ip = str(peer[0]) if peer else "local"
        self._lanes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Forget it."""
        self._transport = None
        self._lanes.discard(self)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """The client does not read: answer no more, and read no more, until it does."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
            self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """Answer all requests that are whole."""
        self._waiting += data
        while self._waiting and not self._paused and self._transport is not None:
            end = self._waiting.find(_HEAD_END)
            if end < 0:
                if len(self._waiting) > MAX_REQUEST:
                    self._hand_over()
                return
            head = self._read_head(self._waiting[:end])
            if head is None or not self._runtime.faults.idle:
                self._hand_over()
                return
            whole = end + len(_HEAD_END) + head.length
            if len(self._waiting) < whole:
                return
            body = self._waiting[end + len(_HEAD_END) : whole].decode("latin-1")
            self._waiting = self._waiting[whole:]
            self._answer(self._transport, head, body)

    def _read_head(self, raw: bytes) -> _Head | None:
        """Parse a head; clients often send the same one again, all but the body."""
        if raw != self._raw_head:
            self._raw_head, self._head = raw, _parsed(raw)
        return self._head

    def _answer(self, transport: asyncio.Transport, head: _Head, body: str) -> None:
        reply = self._dispatcher.answer(Arrival(head.method, head.path, head.query, body, self._ip, head.api_key))
        payload = _ENCODER.encode(reply.payload)
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        if not head.keeps_alive:
            more += "Connection: close\r\n"
        now_s = self._runtime.clock.now_us() // 1_000_000
        lines = (
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}\r\n{more}Content-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\nDate: {self._dates.at(now_s)}\r\n\r\n"
        )
        transport.write(lines.encode("latin-1") + payload)
        if not head.keeps_alive:
            transport.close()
            self._transport = None

    def _hand_over(self) -> None:
        transport, self._transport = self._transport, None
        self._lanes.discard(self)
        if transport is None:
            return
        protocol = self._general()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        cast(asyncio.Protocol, protocol).data_received(self._waiting)
        self._waiting = b""


class _Head(msgspec.Struct):
    """The head of a simple request."""

    method: str
    path: str
    query: str
    length: int
    api_key: str | None
    keeps_alive: bool


def _parsed(raw: bytes) -> _Head | None:
    """A request's head; None for anything that is not simple, or not HTTP at all."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if method not in _METHODS or version != "HTTP/1.1" or not target.startswith(_PREFIX) or "#" in target:
        return None
    length, api_key, keeps_alive = "0", None, True
    for line in lines:
        name, colon, value = line.partition(":")
        lower = name.lower()
        if lower in _ODD_HEADERS or not colon or name != name.strip():
            return None
        if lower == "content-length":
            length = value.strip()
        elif lower == "x-mbx-apikey":
            api_key = value.strip()
        elif lower == "connection":
            keeps_alive = value.strip().lower() != "close"
    if not (length.isascii() and length.isdigit()) or len(length) > 6 or int(length) > MAX_REQUEST:
        return None
    path, _, query = target.partition("?")
    return _Head(method, path, query, int(length), api_key, keeps_alive)
