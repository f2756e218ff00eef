"""WebSocket connections: ``/ws/<listenKey or stream>``, ``/ws``, ``/stream?streams=a/b`` (facts section 7)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from aster_sim.http.hub import Subscriber
from aster_sim.http.market_streams import is_market_stream, is_served
from aster_sim.runtime import Runtime

MAX_STREAMS = 200
TOO_MANY_STREAMS = 3003
PING_INTERVAL_US = 5 * 60 * 1_000_000
PONG_WITHIN_US = 15 * 60 * 1_000_000
CONNECTION_US = 24 * 3600 * 1_000_000
_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


class Sockets:
    """Serves the WebSocket side of the port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open: dict[Subscriber, web.WebSocketResponse] = {}

    async def serve(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Run one connection to its end."""
        combined = path == "/stream"
        if combined:
            names = [name for text in parse_qs(query).get("streams", []) for name in text.split("/") if name]
        else:
            names = [unquote(name) for name in path.removeprefix("/ws").split("/") if name]
        socket = web.WebSocketResponse(autoping=False, heartbeat=None, compress=False)
        await socket.prepare(request)
        now = self._runtime.clock.now_us()
        subscriber = Subscriber(combined=combined, opened_us=now, last_pong_us=now)
        if len(names) > MAX_STREAMS:
            await socket.close(code=TOO_MANY_STREAMS)
            return socket
        self._runtime.hub.add(subscriber)
        self._open[subscriber] = socket
        self._runtime.hub.subscribe(subscriber, names)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(socket, subscriber))
                with suppress(ConnectionError):  # the client went away while it was answered
                    await self._read(socket, subscriber)
                writer.cancel()
        finally:
            del self._open[subscriber]
            self._runtime.hub.remove(subscriber)
        return socket

    async def keep_alive(self, last_ping_us: int) -> int:
        """Ping every five minutes, hang up on the silent and after 24 hours; the time of the last ping."""
        now = self._runtime.clock.now_us()
        for subscriber in list(self._open):
            if now - subscriber.last_pong_us > PONG_WITHIN_US or now - subscriber.opened_us > CONNECTION_US:
                subscriber.hang_up()
        if now - last_ping_us < PING_INTERVAL_US:
            return last_ping_us
        for socket in list(self._open.values()):
            with suppress(ConnectionError):  # it is closing; its own reader notices
                await socket.ping(str(now // 1000).encode())
        return now

    async def _write(self, socket: web.WebSocketResponse, subscriber: Subscriber) -> None:
        while True:
            frame = await subscriber.frames.get()
            if frame is None:
                await socket.close(code=WSCloseCode.GOING_AWAY)
                return
            try:
                await socket.send_str(frame.decode())
            except ConnectionError:
                return

    async def _read(self, socket: web.WebSocketResponse, subscriber: Subscriber) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                subscriber.last_pong_us = self._runtime.clock.now_us()
            elif message.type is WSMsgType.TEXT:
                reply = self._command(subscriber, message.data)
                if reply is None:
                    await socket.close(code=TOO_MANY_STREAMS)
                else:
                    subscriber.send(_ENCODER.encode(reply))

    def _command(self, subscriber: Subscriber, text: str) -> dict[str, Any] | None:
        """Answer a client's command; None when it asks for more than 200 streams."""
        try:
            command = _DECODER.decode(text)
        except msgspec.DecodeError as error:
            return {"code": 3, "msg": f"Invalid JSON: {error}"}
        if not isinstance(command, dict):
            return {"code": 2, "msg": "Invalid request: an object is expected"}
        number = command.get("id")
        method = command.get("method")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(subscriber.streams), "id": number}
        if method not in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            return {"code": 0, "msg": f"Unknown property or method {method!r}", "id": number}
        names = command.get("params")
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            return {"code": 2, "msg": "Invalid request: params must be a list of stream names", "id": number}
        if method == "UNSUBSCRIBE":
            self._runtime.hub.unsubscribe(subscriber, names)
            return {"result": None, "id": number}
        if len(subscriber.streams | set(names)) > MAX_STREAMS:
            return None
        state = self._runtime.venue.state
        for name in names:
            if is_market_stream(name) and not is_served(name, state):
                return {"code": 2, "msg": f"stream {name} is not simulated yet", "id": number}
        self._runtime.hub.subscribe(subscriber, names)
        return {"result": None, "id": number}
