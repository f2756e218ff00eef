"""An alert of TradingView becomes one decision, and its secret stays where it was."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from support.faces import Answer, Face, paper_face
from support.patience import PATIENCE_S

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


async def refusals(face: Face, many: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the log has of refused alerts, once it has so many: the events, and the alerts that were raised."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events = (await face.get("/v1/events", limit="500")).json["items"]
            if sum(one["type"] == "WebhookRefused" for one in events) >= many:
                break
            await asyncio.sleep(0.05)
    raised = [one["data"] for one in events if one["type"] == "AlertRaised"]
    refused = [one["data"] for one in events if one["type"] == "WebhookRefused"]
    return refused, [data for data in raised if data["code"] == "webhook_refused"]


async def test_a_refused_alert_leaves_an_event_with_the_reason_and_repeated_ones_one_alert() -> None:
    """TradingView throws the answer away: nobody but the log tells why nothing was traded."""
    async with paper_face(TES_WEBHOOK_SECRET=SECRET) as fresh:
        closing = alert(id="bar-1", action="close", allocation_usd=None)
        assert (await send(fresh, closing)).status == 200
        for _ in range(2):
            assert (await send(fresh, alert(secret="wrong"))).status == 401
            assert (await send(fresh, alert(sl_prise=1))).status == 422
            assert (await send(fresh, {**closing, "ticker": "ETHUSDT"})).status == 409
        refused, raised = await refusals(fresh, 6)
        kinds = [(data["status"], data["code"], data["field"], data["ticker"]) for data in refused]
        assert kinds == 2 * [
            (401, "unauthorized", None, None),
            (422, "validation_error", "sl_prise", None),
            (409, "decision_conflict", None, "ETHUSDT"),
        ]
        assert len(raised) == 3
        assert "sl_prise" in raised[1]["message"]
        assert SECRET.encode() not in (await fresh.get("/v1/events")).body


async def test_a_flood_of_refused_alerts_does_not_fill_the_log() -> None:
    async with paper_face(TES_WEBHOOK_SECRET=SECRET) as fresh:
        answers = await asyncio.gather(*(send(fresh, b"{") for _ in range(60)))
        assert {answer.status for answer in answers} == {422}
        refused, raised = await refusals(fresh, 30)
        assert len(refused) < 60
        assert len(raised) == 1


async def test_templates_with_a_block_and_extras_trade(face: Face) -> None:
    block = {"order_action": "buy", "order_contracts": 0.01, "order_price": 96000, "market_position": "long"}
    opened = await send(face, alert(secret=None, passphrase=SECRET, action=None, allocation_usd=None, strategy=block))
    assert (opened.status, opened.json["results"][0]["status"]) == (200, "filled")
    extras = {"exchange": "BYBIT", "interval": "15", "contracts": "0.005", "comment": "", "order_id": "Long"}
    reduced = await send(face, alert(action="sell", market_position="long", allocation_usd=300, **extras))
    assert (reduced.status, reduced.json["results"][0]["status"]) == (200, "adjusted")
    assert (await send(face, alert(action="close", market_position="flat"))).json["success"]


async def test_contracts_are_no_margin() -> None:
    async with paper_face(TES_WEBHOOK_SECRET=SECRET, TES_RISK_ALLOCATION_BASIS="margin") as margin:
        answer = await send(margin, alert(allocation_usd=None, contracts=0.01, price=96000))
        assert (answer.status, answer.json["field"]) == (422, "allocation_usd")


async def test_an_old_alert_is_refused(face: Face) -> None:
    answer = await send(face, alert(time="2026-01-01T00:00:00Z"))
    assert answer.json["results"][0]["error"]["code"] == "stale_decision"


async def test_the_secret_is_in_no_record(face: Face) -> None:
    for path in ("/v1/decisions", "/v1/events", "/v1/trades", "/openapi.json", "/metrics"):
        assert SECRET.encode() not in (await face.get(path)).body, path


async def test_without_a_secret_there_is_no_such_door() -> None:
    async with paper_face() as closed:
        assert (await send(closed, alert())).status == 404
