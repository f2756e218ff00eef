"""An alert of TradingView becomes one decision, and its secret stays where it was."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from support.faces import Answer, Face, paper_face

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "a-webhook-secret-of-length"
PATH = "/v1/webhooks/tradingview"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def face() -> AsyncIterator[Face]:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0", TES_WEBHOOK_SECRET=SECRET) as running:
        yield running


def alert(**fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"secret": SECRET, "time": now, "ticker": "ASTERDEX:BTCUSDT.P", "action": "buy", "allocation_usd": 500}
    return {name: value for name, value in {**said, **fields}.items() if value is not None}


async def send(face: Face, body: dict[str, Any] | bytes, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await face.ask("POST", f"{PATH}?wait=10", headers={"Content-Type": "text/plain", **headers}, data=data)


async def test_an_alert_opens_and_flat_closes(face: Face) -> None:
    opened = await send(face, alert(sl_price="90000", tp_price="110000", market_position="long"))
    assert (opened.status, opened.json["results"][0]["status"]) == (200, "protected")
    closed = await send(face, alert(action="sell", market_position="flat"))
    assert closed.json["results"][0]["status"] == "closed"


async def test_the_same_alert_again_trades_nothing(face: Face) -> None:
    body = alert(id="bar-17", action="close", allocation_usd=None)
    first = await send(face, body)
    again = await send(face, body)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == first.json
    assert first.json["decision_id"] == "tv-bar-17"
    assert (await send(face, {**body, "ticker": "ETHUSDT"})).status == 409


async def test_a_signature_stands_for_the_secret(face: Face) -> None:
    body = json.dumps(alert(secret=None, action="close")).encode()
    right = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert (await send(face, body, **{"X-Signature": f"sha256={right}"})).status == 200
    assert (await send(face, body + b" ", **{"X-Signature": f"sha256={right}"})).status == 401


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "ä"])
async def test_without_the_secret_nothing_happens(face: Face, secret: str | None) -> None:
    answer = await send(face, alert(secret=secret))
    assert answer.status == 401
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    "fields", [{"sl_prise": 1}, {"action": "short"}, {"time": "now"}, {"allocation_usd": 0}, {"secret": [SECRET]}]
)
async def test_a_wrong_field_is_named_and_the_secret_is_not_shown(face: Face, fields: dict[str, Any]) -> None:
    answer = await send(face, alert(**fields))
    assert answer.status == 422
    assert next(iter(fields)) in answer.json["detail"]
    assert SECRET.encode() not in answer.body


async def test_an_old_alert_is_refused(face: Face) -> None:
    answer = await send(face, alert(time="2026-01-01T00:00:00Z"))
    assert answer.json["results"][0]["error"]["code"] == "stale_decision"


async def test_the_secret_is_in_no_record(face: Face) -> None:
    for path in ("/v1/decisions", "/v1/events", "/v1/trades", "/openapi.json", "/metrics"):
        assert SECRET.encode() not in (await face.get(path)).body, path


async def test_without_a_secret_there_is_no_such_door() -> None:
    async with paper_face() as closed:
        assert (await send(closed, alert())).status == 404
