"""What a stranger can make the service hold or wait for is bounded, and wrong tokens lock nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from app.api import protocol
from support.faces import TOKEN, Face, paper_face
from support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def face() -> AsyncIterator[Face]:
    async with paper_face() as running:
        yield running


async def said(face: Face, text: bytes, then: bytes = b"") -> bytes:
    """Everything that the service answers to these bytes until it hangs up."""
    target = urlsplit(face.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(text)
    await writer.drain()
    writer.write(then)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    finally:
        writer.close()


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"x-content-type-options" in head.lower()
    return int(head.split()[1]), json.loads(body)["code"]


def statuses(answers: bytes) -> list[int]:
    """The status of each answer on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answers)]


@contextlib.asynccontextmanager
async def opened(face: Face, text: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that says this and stays."""
    target = urlsplit(face.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(text)
    await writer.drain()
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_on(reader: asyncio.StreamReader) -> int:
    """The status of the next answer on a connection; its body is read."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    (length,) = (int(line.split()[1]) for line in head.lower().splitlines() if line.startswith(b"content-length"))
    await asyncio.wait_for(reader.readexactly(length), PATIENCE_S)
    return int(head.split()[1])


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
UNFINISHED = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"


# --- the time of a request --------------------------------------------------------------------------------------------


async def test_a_head_that_does_not_end_is_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    assert problem(await said(face, b"GET / HTTP/1.1\r\nHost: x\r\n")) == (408, "request_timeout")
    assert problem(await said(face, b"")) == (408, "request_timeout")


async def test_a_body_that_does_not_come_is_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_TIMEOUT_S", 0.1)
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n"
    assert problem(await said(face, head.encode(), b"{"))[0] == 408


async def test_a_body_that_was_answered_without_it_ends_the_connection(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that comes of it byte by byte keeps the connection, and it gets one answer."""
    monkeypatch.setattr(protocol, "LEFTOVER_TIMEOUT_S", 0.1)
    async with opened(face, UNFINISHED) as (reader, writer):
        assert await answer_on(reader) == 200
        writer.write(b"y")
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""


async def test_a_body_that_comes_behind_its_answer_leaves_the_connection_usable(face: Face) -> None:
    async with opened(face, UNFINISHED) as (reader, writer):
        assert await answer_on(reader) == 200
        writer.write(b"12345678" + HEALTH)
        assert await answer_on(reader) == 200


async def test_empty_lines_between_requests_do_not_keep_a_connection(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    async with opened(face, HEALTH) as (reader, writer):
        assert await answer_on(reader) == 200
        writer.write(b"\r\n")
        assert statuses(await asyncio.wait_for(reader.read(), PATIENCE_S)) == [408]


async def test_a_late_request_does_not_cut_off_the_answer_to_the_one_before(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.001)
    slow = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n"
    assert statuses(await said(face, slow + b"GET / HTTP/1.1\r\n")) == [401]


async def test_requests_that_wait_in_line_are_answered_in_turn(face: Face) -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert statuses(await said(face, HEALTH + HEALTH + last)) == [200, 200, 200]


# --- the size of a head -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * 20_000,
    ],
    ids=["without an end", "one header", "many headers", "address", "empty lines"],
)
async def test_a_head_that_is_too_large_is_refused(face: Face, head: bytes) -> None:
    assert problem(await said(face, head)) == (431, "header_too_large")


async def test_a_large_body_does_not_count_as_a_head(face: Face) -> None:
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = b" " * 200_000
    text = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert problem(await said(face, text)) == (422, "validation_error")
    chunks = b"".join(b"1\r\n \r\n" for _ in range(20_000)) + b"0\r\n\r\n"
    text = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    assert problem(await said(face, text)) == (422, "validation_error")


async def test_trailers_count_as_a_head(face: Face) -> None:
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + b"X: 1\r\n" * 20_000
    assert problem(await said(face, head.encode() + body)) == (431, "header_too_large")


# --- how many connections ---------------------------------------------------------------------------------------------


async def test_strangers_who_hold_every_connection_lock_nobody_out(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they hold them with: a body that does not come, nothing at all, an answer that nobody reads."""
    monkeypatch.setattr(protocol, "MAXIMUM_CONNECTIONS", 12)
    with_token = f"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    async with contextlib.AsyncExitStack() as stack:
        follower = await stack.enter_async_context(face.follow())
        known, known_writer = await stack.enter_async_context(opened(face, with_token))
        assert await answer_on(known) == 200
        held = [await stack.enter_async_context(opened(face, text)) for text in (UNFINISHED, b"", b"GET /", HEALTH) * 5]
        for path in ("/v1/halt", "/v1/resume"):
            assert (await face.post(path, {"reason": "strangers"} if path.endswith("halt") else None)).status == 200
        event = await follower.receive_json(timeout=PATIENCE_S)
        assert event["type"] == "Halted"  # who had shown a token before was not cut off
        known_writer.write(with_token)
        assert await answer_on(known) == 200
        first = held[0][0]
        assert await asyncio.wait_for(first.read(), PATIENCE_S) is not None


async def test_a_follower_who_shows_no_token_makes_room_as_well(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAXIMUM_CONNECTIONS", 3)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(face.http.ws_connect(f"{face.url}/v1/stream"))
        assert (await face.get("/v1/status")).status == 200


async def test_more_connections_than_the_limit_are_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of them have shown a token, the last one has to wait."""
    monkeypatch.setattr(protocol, "MAXIMUM_CONNECTIONS", 1)
    async with face.follow() as follower:
        assert problem(await said(face, HEALTH)) == (503, "not_ready")
        assert not follower.closed


async def test_a_flood_of_wrong_tokens_keeps_nobody_out(face: Face) -> None:
    wrong = [
        asyncio.create_task(face.ask("GET", "/v1/status", headers={"Authorization": f"Bearer wrong-{number}"}))
        for number in range(200)
    ]
    right = [(await face.get("/v1/status")).status for _ in range(20)]
    assert set(right) == {200}
    assert {answer.status for answer in await asyncio.gather(*wrong)} == {401}


async def test_a_token_in_the_address_opens_nothing(face: Face) -> None:
    for name in ("token", "access_token", "api_key"):
        assert (await face.ask("GET", f"/v1/status?{name}={TOKEN}", headers={})).status == 401
