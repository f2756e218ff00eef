"""What a stranger can make the service hold or wait for is bounded, and wrong tokens lock nobody out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from app.api import edge, protocol
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


async def test_a_head_that_does_not_end_is_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    assert problem(await said(face, b"GET / HTTP/1.1\r\nHost: x\r\n")) == (408, "request_timeout")
    assert problem(await said(face, b"")) == (408, "request_timeout")


async def test_a_body_that_does_not_come_is_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_TIMEOUT_S", 0.1)
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n"
    assert problem(await said(face, head.encode(), b"{"))[0] == 408


async def test_a_head_that_is_too_large_is_refused(face: Face) -> None:
    assert problem(await said(face, b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000))[0] == 431


async def test_more_connections_than_the_limit_are_refused(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAXIMUM_CONNECTIONS", 0)
    assert problem(await said(face, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == (503, "not_ready")


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
