"""The live event log over WebSocket: who may follow, from where, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from app.domain.events import EventType
from app.events.dispatcher import QUEUE_LIMIT
from support.faces import AUTHORIZED, TOKEN, Face, decision, paper_face
from support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


TEXT = aiohttp.WSMsgType.TEXT


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _module_face() -> AsyncIterator[Face]:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0", send_buffer=16 * 1024) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def face(_module_face: Face) -> AsyncIterator[Face]:
    """A flat account, whatever the test before left."""
    yield _module_face
    await _module_face.post("/v1/positions/close")


async def last_seq(face: Face) -> int:
    """``seq`` of the newest event."""
    return int((await face.get("/v1/status")).json["last_seq"])


async def take(stream: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    """The next events."""
    return [await stream.receive_json(timeout=PATIENCE_S) for _ in range(count)]


async def test_it_replays_from_after_and_goes_live_without_gap_or_repetition(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    async with face.follow(after=0) as stream:
        before = await take(stream, await last_seq(face))
        await face.post("/v1/decisions", decision("ETHUSDT", "sell"))
        live = await take(stream, await last_seq(face) - len(before))
    assert [event["seq"] for event in before + live] == list(range(1, len(before + live) + 1))
    assert "DecisionCompleted" in {event["type"] for event in live}
    stored = (await face.get("/v1/events", limit=500)).json["items"]
    assert before + live == stored[: len(before + live)]


async def test_an_event_has_the_contracts_fields(face: Face) -> None:
    async with face.follow(after=0) as stream:
        (event,) = await take(stream, 1)
    assert list(event) == [
        "seq", "id", "type", "time", "account_id", "is_paper", "decision_id", "trade_id", "asset", "data",
        "summary",
    ]  # fmt: skip


async def test_without_after_only_new_events_come(face: Face) -> None:
    before = await last_seq(face)
    async with face.follow() as stream:
        await asyncio.sleep(0.05)  # the server looks up the newest event once the stream is open
        await face.post("/v1/decisions", decision())
        (event,) = await take(stream, 1)
    assert event["seq"] == before + 1


async def test_types_are_filtered(face: Face) -> None:
    after = await last_seq(face)
    async with face.follow(after=after, types="TradeProtected,DecisionCompleted") as stream:
        await face.post("/v1/decisions", decision())
        events = await take(stream, 2)
    assert [event["type"] for event in events] == ["TradeProtected", "DecisionCompleted"]


async def test_the_token_can_come_as_first_message(face: Face) -> None:
    async with face.http.ws_connect(f"{face.url}/v1/stream?after=0") as stream:
        await stream.send_json({"token": TOKEN})
        (event,) = await take(stream, 1)
    assert event["seq"] == 1


@pytest.mark.parametrize("first", ['{"token": "wrong"}', "{}", "[]", "token", '{"token": 7}', "[" * 5000])
async def test_a_wrong_first_message_closes_with_4401(face: Face, first: str) -> None:
    async with face.http.ws_connect(f"{face.url}/v1/stream") as stream:
        await stream.send_str(first)
        assert (await stream.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
        assert stream.close_code == 4401


async def test_a_wrong_token_in_the_header_is_a_401(face: Face) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await face.http.ws_connect(f"{face.url}/v1/stream", headers={"Authorization": "Bearer wrong"})
    assert caught.value.status == 401


@pytest.mark.parametrize(
    "query", [{"after": "-1"}, {"after": "x"}, {"after": "٣"}, {"after": "9" * 30}, {"types": "OrderSent"}]
)
async def test_a_wrong_parameter_is_a_422(face: Face, query: dict[str, str]) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await face.follow(**query)
    assert caught.value.status == 422


async def test_a_reader_of_another_log_is_told_so(face: Face) -> None:
    """After a restore numbers come again: what was read is not in this log, so the reader starts over."""
    status = (await face.get("/v1/status")).json
    head, generation = status["last_seq"], status["generation"]
    async with face.follow(after=head, generation=generation) as stream:
        assert stream._response.headers["Log-Generation"] == generation
    for query in ({"after": head + 1000}, {"after": 0, "generation": "beef"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await face.follow(**query)
        assert caught.value.status == 409
        answer = await face.get("/v1/events", **query)
        said = answer.json
        assert (answer.status, said["code"], said["generation"]) == (409, "after_unknown", generation)
        assert said["last_seq"] >= head
    async with face.http.ws_connect(f"{face.url}/v1/stream?after={head + 1000}") as stream:
        await stream.send_json({"token": TOKEN})
        closed = await stream.receive(timeout=PATIENCE_S)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4409)
    page = (await face.get("/v1/events", after=head, generation=generation)).json
    assert page["generation"] == generation


async def test_a_reader_who_leaves_is_forgotten(face: Face) -> None:
    followers = face.broadcast.readers
    async with face.follow(after=await last_seq(face)):
        async with asyncio.timeout(PATIENCE_S):
            while face.broadcast.readers == followers:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        while face.broadcast.readers != followers:
            await asyncio.sleep(0.01)


async def test_a_slow_reader_is_closed_with_4408_and_resumes_where_it_was(face: Face) -> None:
    """It stops reading, so the server's buffers fill; execution goes on meanwhile, and it comes back with ``after``."""
    after = await last_seq(face)
    connector = aiohttp.TCPConnector(socket_factory=_small_receive_buffer)
    async with aiohttp.ClientSession(connector=connector) as http:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with http.ws_connect(f"{face.url}/v1/stream?after={after}", headers=headers, max_msg_size=0) as stream:
            await _flood(face, 1)
            await take(stream, 1)
            assert stream._conn is not None
            transport = stream._conn.transport
            assert transport is not None
            transport.pause_reading()  # type: ignore[attr-defined]
            await _flood(face, QUEUE_LIMIT + 2000)
            transport.resume_reading()  # type: ignore[attr-defined]
            seen = after + 1
            async for message in stream:
                seen = message.json()["seq"]
            assert stream.close_code == 4408
    async with face.follow(after=seen) as stream:
        assert [event["seq"] for event in await take(stream, 3)] == [seen + 1, seen + 2, seen + 3]


def _small_receive_buffer(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


async def _flood(face: Face, count: int) -> None:
    """Write many events as the service does, each with some data."""
    service = face.application.services["default"]
    for start in range(0, count, 500):
        events = [
            service._narrator.event(EventType.DRIFT_FOUND, {"detail": "x" * 200}, asset="BTCUSDT")
            for _ in range(min(500, count - start))
        ]
        await face.application.trades.record_events(events)


async def until_decided(stream: Any) -> None:
    """Read on until a decision is told of."""
    async with asyncio.timeout(PATIENCE_S):
        while (await stream.receive_json())["type"] != "DecisionReceived":
            pass


async def test_a_reader_that_answers_no_ping_is_dropped_and_one_that_does_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address of a reader whose machine has died is freed without waiting for TCP to notice."""
    monkeypatch.setattr("app.api.server.HEARTBEAT_S", 0.5)
    async with paper_face() as face, aiohttp.ClientSession(headers=AUTHORIZED) as http:
        dead = await http.ws_connect(f"{face.url}/v1/stream", autoping=False)
        async with face.follow() as alive:
            reading = asyncio.create_task(until_decided(alive))  # pings are answered while somebody reads
            seen = set()
            while (last := await dead.receive(timeout=PATIENCE_S)).type in (aiohttp.WSMsgType.PING, TEXT):
                seen.add(last.type)
            assert aiohttp.WSMsgType.PING in seen
            assert last.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            async with asyncio.timeout(PATIENCE_S):
                while face.broadcast.readers > 1:
                    await asyncio.sleep(0.02)
            assert face.broadcast.readers == 1
            await face.post("/v1/decisions", decision())
            await reading
