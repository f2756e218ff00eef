"""WebSocket connections: ``/ws/<listenKey or stream>``, ``/ws``, ``/stream?streams=a/b`` (facts section 7).

``/fstream`` may stand before any of them: clients such as ccxt tell futures from spot by the ``fstream`` in a host
name, which a venue on loopback has not.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from aster_sim.http.commands import MAX_STREAMS, TooManyStreams, run_command
from aster_sim.http.hub import Subscriber
from aster_sim.runtime import Runtime

TOO_MANY_STREAMS = 3003
MAX_URL = 8_190
MESSAGES_A_SECOND = 10
PREFIX = "/fstream"
PING_INTERVAL_US = 5 * 60 * 1_000_000
PONG_WITHIN_US = 15 * 60 * 1_000_000
CONNECTION_US = 24 * 3600 * 1_000_000
_ENCODER = msgspec.json.Encoder()


class Sockets:
    """Serves the WebSocket side of the port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open: dict[Subscriber, web.WebSocketResponse] = {}

    async def serve(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Run one connection to its end."""
        if len(request.raw_path) > MAX_URL:
            return web.Response(status=414)
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
            if not self._within_rate(subscriber):
                await socket.close(code=WSCloseCode.POLICY_VIOLATION)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                subscriber.last_pong_us = self._runtime.clock.now_us()
            elif message.type is WSMsgType.TEXT:
                try:
                    reply = run_command(self._runtime, subscriber, message.data)
                except TooManyStreams:
                    await socket.close(code=TOO_MANY_STREAMS)
                else:
                    subscriber.send(_ENCODER.encode(reply))

    def _within_rate(self, subscriber: Subscriber) -> bool:
        """Count an inbound message, pings and pongs included; whether it is within ten in this second."""
        second = self._runtime.clock.now_us() // 1_000_000
        if subscriber.second != second:
            subscriber.second, subscriber.messages = second, 0
        subscriber.messages += 1
        return subscriber.messages <= MESSAGES_A_SECOND
