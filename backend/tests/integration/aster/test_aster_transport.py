"""On real sockets: what was sent, what was not, and that nothing is ever sent twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web

from app.domain.errors import ConfigurationError
from app.integrations.aster.aiohttp_transport import AiohttpStreamConnector, AiohttpTransport
from app.integrations.aster.transport import StreamLost, TransportNotSent, TransportOutcomeUnknown
from support.patience import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-MBX-USED-WEIGHT-1M: 7\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[int, asyncio.StreamWriter], Awaitable[bool]]


class RawServer:
    """Reads whole requests byte by byte and answers as the test says; ``requests`` is all that ever arrived."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.requests.append(head + await reader.readexactly(length))
                if not await self._answer(len(self.requests), writer):
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[RawServer]:
    server = RawServer(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def transport_to(url: str) -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport(url)
    try:
        yield transport
    finally:
        await transport.close()


async def _answer_ok(number: int, writer: asyncio.StreamWriter) -> bool:
    writer.write(OK)
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def test_query_and_body_leave_exactly_as_they_were_signed() -> None:
    async with raw_server(_answer_ok) as server, transport_to(server.url) as transport:
        query = "symbol=%E5%B8%81&list=%5B%22a%22%5D&b=a+b:/~&signature=0xAB"
        await transport.request("GET", "/fapi/v3/order", query, "", {}, 5)
        form = "batchOrders=%5B%7B%22a%22%3A%221%22%7D%5D&signature=0xCD"
        response = await transport.request("POST", "/fapi/v3/order", "", form, {"Content-Type": "x"}, 5)
        assert server.requests[0].startswith(f"GET /fapi/v3/order?{query} HTTP/1.1\r\n".encode())
        assert server.requests[1].endswith(f"\r\n\r\n{form}".encode())
        assert response.body == b"{}"
        assert response.headers.get("x-mbx-used-weight-1m") == "7"
        assert server.connections == 1, "the connection is kept"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("connection", ["new", "kept"])
async def test_whether_it_may_leave_is_asked_when_there_is_a_connection(method: str, connection: str) -> None:
    """C4: to connect may take seconds, in which another process takes over the account; reads ask too (L3)."""
    is_ours = connection == "kept"
    async with raw_server(_answer_ok) as server:
        transport = AiohttpTransport(server.url, lambda: is_ours)
        if is_ours:
            await transport.request("GET", "/warm", "", "", {}, PATIENCE_S)
            is_ours = False
        with pytest.raises(TransportNotSent, match="still owns the account"):
            await transport.request(method, "/fapi/v3/order", "", "", {}, PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while not server.connections:
                await asyncio.sleep(0.01)
        assert [request for request in server.requests if b"/warm" not in request] == []
        await transport.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_dropped_keep_alive_connection_never_makes_a_request_leave_twice(method: str, how: str) -> None:
    """Design, signing: aiohttp re-sends GET, PUT and DELETE by itself unless it is stopped."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        if number == 1:
            writer.write(OK)
            return True
        if how == "reset":
            _reset(writer)
        return False

    async with raw_server(answer) as server, transport_to(server.url) as transport:
        await transport.request("GET", "/warm", "", "", {}, 5)
        query, body = ("signature=secret", "") if method == "GET" else ("", "signature=secret")
        with pytest.raises(TransportOutcomeUnknown) as failure:
            await transport.request(method, "/order", query, body, {}, 5)
        assert len(server.requests) == 2
        assert server.connections == 1
        assert "secret" not in str(failure.value)


async def test_refused_connection_is_not_sent() -> None:
    async with raw_server(_answer_ok) as server:
        url = server.url
    async with transport_to(url) as transport:
        with pytest.raises(TransportNotSent):
            await transport.request("POST", "/order", "", "a=1", {}, 5)


async def test_host_without_address_is_not_sent() -> None:
    async with transport_to("https://host.invalid") as transport:
        with pytest.raises(TransportNotSent):
            await transport.request("POST", "/order", "", "a=1", {}, 5)


async def test_failed_tls_is_not_sent() -> None:
    async with raw_server(_answer_ok) as server:
        async with transport_to(server.url.replace("http:", "https:")) as transport:
            with pytest.raises(TransportNotSent):
                await transport.request("POST", "/order", "", "a=1", {}, 0.5)
        assert server.requests == []


@pytest.mark.parametrize(
    "partial",
    [b"", b"HTTP/1.1 200 OK\r\n", b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"orderId":'],
    ids=["nothing", "half a head", "half a body"],
)
@pytest.mark.parametrize("ending", ["silence", "close", "reset"])
async def test_request_without_a_whole_answer_is_unknown(partial: bytes, ending: str) -> None:
    """Scenario U1."""
    released = asyncio.Event()

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(partial)
        await writer.drain()
        if ending == "silence":
            await released.wait()
        if ending == "reset":
            _reset(writer)
        return False

    async with raw_server(answer) as server, transport_to(server.url) as transport:
        with pytest.raises(TransportOutcomeUnknown):
            await transport.request("POST", "/order", "", "a=1", {}, 0.2)
        assert len(server.requests) == 1
        released.set()


async def test_redirect_is_an_answer_and_not_followed() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        return True

    async with raw_server(answer) as server, transport_to(server.url) as transport:
        assert (await transport.request("POST", "/order", "", "a=1", {}, 5)).status == 307
        assert len(server.requests) == 1


async def test_cancelled_request_leaves_the_transport_usable() -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        if number == 1:
            arrived.set()
            await released.wait()
            return False
        writer.write(OK)
        return True

    async with raw_server(answer) as server, transport_to(server.url) as transport:
        task = asyncio.create_task(transport.request("POST", "/order", "", "a=1", {}, 5))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await transport.request("POST", "/order", "", "a=2", {}, 5)).status == 200
        released.set()


@pytest.mark.parametrize(
    "url",
    [
        "http://fapi.asterdex.com",
        "http://10.0.0.1:80",
        "ftp://127.0.0.1",
        "fapi.asterdex.com",
        "",
        "https://user:pw@fapi.asterdex.com",
        "https://h?x=1",
    ],
)
async def test_signed_requests_go_to_https_or_to_this_machine_only(url: str) -> None:
    """Contract, section 3."""
    with pytest.raises(ConfigurationError, match="TES_ASTER_REST_URL"):
        AiohttpTransport(url)
    with pytest.raises(ConfigurationError, match="TES_ASTER_WS_URL"):
        AiohttpStreamConnector(url.replace("http", "ws"))


# --- streams


@asynccontextmanager
async def stream_server(
    talk: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        await talk(socket_)
        return socket_

    app = web.Application()
    app.router.add_get("/ws/{key}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_text_frames_arrive_and_pings_are_answered() -> None:
    async def talk(socket_: web.WebSocketResponse) -> None:
        await socket_.ping(b"are you there")
        await socket_.send_bytes(b"not for us")
        await socket_.send_str('{"e":"x"}')
        await socket_.close()

    async with stream_server(talk) as url:
        connector = AiohttpStreamConnector(url)
        connection = await connector.connect("/ws/key")
        assert await connection.receive() == '{"e":"x"}'
        with pytest.raises(StreamLost, match="1000"):
            await connection.receive()
        await connection.close()
        await connection.close()
        await connector.close()


async def test_closing_tells_the_server() -> None:
    closed = asyncio.Event()

    async def talk(socket_: web.WebSocketResponse) -> None:
        async for message in socket_:
            assert message.type is not WSMsgType.ERROR
        closed.set()

    async with stream_server(talk) as url:
        connector = AiohttpStreamConnector(url)
        connection = await connector.connect("/ws/key")
        await connection.close()
        await asyncio.wait_for(closed.wait(), PATIENCE_S)
        await connector.close()


async def test_peer_that_stops_answering_pings_is_lost() -> None:
    """Scenario W2."""
    gone = asyncio.Event()

    async def talk(socket_: web.WebSocketResponse) -> None:
        await gone.wait()  # reads nothing, so answers nothing

    async with stream_server(talk) as url:
        connector = AiohttpStreamConnector(url, heartbeat_s=0.1)
        connection = await connector.connect("/ws/key")
        with pytest.raises(StreamLost):
            await asyncio.wait_for(connection.receive(), PATIENCE_S)
        await connection.close()
        await connector.close()
        gone.set()


async def test_stream_that_cannot_be_opened_is_lost_without_showing_its_key() -> None:
    async def talk(socket_: web.WebSocketResponse) -> None:
        raise AssertionError("nobody comes here")

    async with stream_server(talk) as url:
        connector = AiohttpStreamConnector(url)
        with pytest.raises(StreamLost) as refused:
            await connector.connect("/elsewhere/the-listen-key")
        assert "the-listen-key" not in str(refused.value)
        await connector.close()
    connector = AiohttpStreamConnector(url)
    with pytest.raises(StreamLost):
        await connector.connect("/ws/the-listen-key")
    await connector.close()
