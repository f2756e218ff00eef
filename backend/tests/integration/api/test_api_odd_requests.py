"""Requests that no client of ours sends are answered as any other: with a problem document that says what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from app.bootstrap import Application
from support.faces import AUTHORIZED, Face, decision, paper_face
from support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "the-secret-of-the-webhook"
BEYOND_ALL_TIME = ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def face() -> AsyncIterator[Face]:
    async with paper_face(TES_WEBHOOK_SECRET=SECRET) as running:
        yield running


@pytest.mark.parametrize("time", BEYOND_ALL_TIME)
async def test_a_time_that_no_clock_shows_in_utc_is_refused_by_its_field(face: Face, time: str) -> None:
    answer = await face.post("/v1/decisions", {**decision(), "timestamp": time})
    assert (answer.status, answer.json["field"]) == (422, "timestamp")
    alert = {"secret": SECRET, "ticker": "BTCUSDT", "action": "buy", "time": time, "allocation_usd": 100}
    for body in (alert, {**alert, "secret": "a wrong one, of that length"}):
        answer = await face.ask("POST", "/v1/webhooks/tradingview", headers={}, data=body)
        assert answer.status in (401, 422), answer.body


async def test_half_a_character_is_no_token(face: Face) -> None:
    async with face.http.ws_connect(f"{face.url}/v1/stream") as follower:
        await follower.send_str(json.dumps({"token": "\ud800"}))
        await asyncio.wait_for(follower.receive(), PATIENCE_S)
        assert follower.close_code == 4401
    for path, body in (("/v1/halt", {"reason": "\ud800"}), ("/v1/decisions", {**decision(), "rationale": "\ud800"})):
        assert (await face.post(path, body)).status == 422
    assert (await face.post("/v1/webhooks/tradingview", {"secret": "\ud800"})).status == 422


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/v1/status", "/v1/nothing", "/healthz"])
async def test_a_host_that_is_none_opens_nothing_and_breaks_nothing(face: Face, path: str) -> None:
    expected = {"/healthz": 200, "/v1/nothing": 404}.get(path, 401)
    assert await status_of(face, f"GET {path} HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n") == expected


async def status_of(face: Face, request: str) -> int:
    """The status that these very bytes are answered with."""
    target = urlsplit(face.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return int(answer.split()[1])


async def test_a_fault_of_ours_is_answered_with_the_security_headers_and_counted(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Application) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(Application, "readiness", fail)
        answer = await face.get("/readyz")
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert "a bug" not in answer.json["detail"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert 'tes_http_requests_total{method="GET",status="500"} 1.0' in (await face.get("/metrics")).body.decode()


async def test_a_wrong_method_is_told_the_right_ones(face: Face) -> None:
    document = (await face.get("/openapi.json")).json
    pages = {"/": {"get": None}, "/docs": {"get": None}, "/openapi.json": {"get": None}, "/docs/x": {"get": None}}
    for path, operations in {**document["paths"], **pages}.items():
        answer = await face.ask("PUT", path.replace("{", "").replace("}", ""), headers=AUTHORIZED)
        assert answer.status == 405, path
        allowed = {name.strip() for name in answer.headers["Allow"].split(",")}
        assert {name.upper() for name in operations} <= allowed, path
