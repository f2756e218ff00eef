"""Every code of the contract is reached over HTTP, with a message that names the number and the limit.

A code without a case fails: the cases are looked up by the codes of :class:`ErrorCode`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, Arena, arena, buy, sell
from many_assets import symbols, write_exchange_info

from app.domain.errors import ErrorCode
from support.faces import TOKEN, Face, serving
from support.patience import PATIENCE_S

(CLOSED_MARKET,) = symbols(1)
ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
Problem = dict[str, Any]


@dataclass
class Scene:
    """A served application on a venue."""

    stage: Arena
    face: Face

    async def send(self, item: dict[str, Any], **fields: Any) -> Problem:
        """The error of a decision on one asset: that of its result, or the problem document."""
        answer = await self.face.post("/v1/decisions", {"decisions": [item], **fields})
        if answer.status != 200:
            return {"http": answer.status, "message": answer.json.get("detail"), **answer.json}
        (result,) = answer.json["results"]
        return {"http": 200, "status": result["status"], **(result["error"] or {})}

    async def fault(self, code: int, status: int = 400, *, count: int = 1, **match: Any) -> None:
        action = {"type": "error", "status": status, "code": code, "msg": "The exchange says no."}
        await self.stage.levers.fault(action, count=count, **match)


@dataclass(frozen=True)
class Case:
    """How a code is reached. ``words`` are in its message; ``http`` and ``status`` are how it is told."""

    reach: Callable[[Scene], Awaitable[Problem]]
    words: tuple[str, ...]
    http: int = 200
    status: str = "rejected"
    settings: dict[str, str] = field(default_factory=dict)
    retries_within_s: float | None = None


def just(item: dict[str, Any], **fields: Any) -> Callable[[Scene], Awaitable[Problem]]:
    return lambda scene: scene.send(item, **fields)


async def stale(scene: Scene) -> Problem:
    decided_at = datetime.now(UTC) - timedelta(seconds=90)
    return await scene.send(buy(), timestamp=decided_at.isoformat())


async def conflict(scene: Scene) -> Problem:
    await scene.send(buy(), decision_id="the-one")
    return await scene.send(buy(allocation_usd=999), decision_id="the-one")


async def too_soon(scene: Scene) -> Problem:
    await scene.send(buy())
    await scene.face.post(f"/v1/positions/{BTC}/close")
    return await scene.send(buy())


async def twice(scene: Scene) -> Problem:
    await scene.send(buy())
    return await scene.send(buy())


async def loss(scene: Scene) -> Problem:
    opened = await scene.send(buy())
    assert opened["status"] == "protected"
    await scene.stage.levers.price(BTC, "93900")
    async with asyncio.timeout(PATIENCE_S):
        while (await scene.face.get("/v1/trades", status="closed")).json["items"] == []:
            await asyncio.sleep(0.02)
    return await scene.send(sell())


async def halted(scene: Scene) -> Problem:
    await scene.face.post("/v1/halt", {"reason": "news at eight"})
    return await scene.send(buy())


async def overtaken(scene: Scene) -> Problem:
    await scene.stage.levers.fault({"type": "delay_before", "seconds": 0.3}, method="POST", path="/leverage")
    sending = asyncio.create_task(scene.send(buy()))
    async with asyncio.timeout(20):
        while not (await scene.stage.levers.call("GET", "/faults"))[0]["used"]:
            await asyncio.sleep(0.01)
    closed = await scene.face.post(f"/v1/positions/{BTC}/close")
    assert closed.json["status"] == "closed"
    return await sending


async def laid_bare(scene: Scene) -> Problem:
    await scene.fault(-4045, count=0, **STOP)
    assert (await scene.send(buy()))["status"] == "unprotected"
    return await scene.send(sell())


async def refused_entry(scene: Scene) -> Problem:
    await scene.fault(-2010, **ENTRY)
    return await scene.send(buy())


async def busy(scene: Scene) -> Problem:
    await scene.fault(-1015, 429, **ENTRY)
    return await scene.send(buy())


async def lost(scene: Scene) -> Problem:
    await scene.stage.levers.fault({"type": "drop_before"}, **ENTRY)
    return await scene.send(buy())


async def no_stop(scene: Scene) -> Problem:
    await scene.fault(-4045, count=0, **STOP)
    return await scene.send(buy())


async def no_target(scene: Scene) -> Problem:
    await scene.fault(-4045, count=0, method="POST", path="/order", params={"type": "TAKE_PROFIT_MARKET"})
    return await scene.send(buy())


async def a_bug(scene: Scene) -> Problem:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    service: Any = scene.face.application.service("default")
    service._market.prepare = broken
    return await scene.send(buy())


FAR = {"tp_price": None, "sl_price": None}
E = ErrorCode
CASES: dict[ErrorCode, Case] = {
    E.VALIDATION_ERROR: Case(just(buy(sl_prise=1)), ("decisions[0].sl_prise", "unknown field"), 422, ""),
    E.STALE_DECISION: Case(stale, ("90.", "60 s")),
    E.DECISION_CONFLICT: Case(conflict, ("the-one",), 409, ""),
    E.ACCOUNT_UNKNOWN: Case(just(buy(), account_id="nobody"), ("nobody", "default"), 422, ""),
    E.ASSET_UNKNOWN: Case(just(buy("btcusdx")), ("btcusdx", "such as BTCUSDT")),
    E.ASSET_NOT_TRADING: Case(just(buy(CLOSED_MARKET)), (CLOSED_MARKET, "SETTLING")),
    E.LEVERAGE_EXCEEDED: Case(
        just(buy(leverage=20)),
        ("20", "limit of 8"),
        settings={
            "TES_RISK_LEVERAGE_POLICY": "reject",
            "TES_RISK_MAX_LEVERAGE": "8",
        },
    ),
    E.COOLDOWN_ACTIVE: Case(
        too_soon, (BTC, "300 s"), settings={"TES_RISK_COOLDOWN_SECONDS": "300"}, retries_within_s=300
    ),
    E.STOP_LOSS_REQUIRED: Case(
        just(buy(sl_price=None)), ("sl_price",), settings={"TES_RISK_REQUIRE_STOP_LOSS": "true"}
    ),
    E.TAKE_PROFIT_INVALID: Case(just(buy(tp_price=90000)), ("tp_price 90000", "above", "96000")),
    E.STOP_LOSS_INVALID: Case(just(buy(sl_price=97000)), ("sl_price 97000", "below", "96000")),
    E.QUANTITY_BELOW_MINIMUM: Case(just(buy(allocation_usd=50)), ("allocation_usd 50", "0.001")),
    E.QUANTITY_ABOVE_MAXIMUM: Case(just(buy(allocation_usd=200_000_000)), ("2083.333", "1000")),
    E.NOTIONAL_BELOW_MINIMUM: Case(just(buy("DOGEUSDT", allocation_usd=4, **FAR)), ("3.84", "minimum of 5")),
    E.PRICE_DEVIATION: Case(
        just(buy()), ("bps", "96000", "0.0001 bps"), settings={"TES_RISK_MAX_PRICE_DEVIATION_BPS": "0.0001"}
    ),
    E.POSITION_EXISTS: Case(twice, (BTC,)),
    E.POSITION_ABSENT: Case(
        just({"asset": BTC, "action": "adjust_position", "position_adjustment": {"new_sl_price": 1}}), (BTC,)
    ),
    E.EXPOSURE_LIMIT: Case(just(buy()), ("960", "500"), settings={"TES_RISK_MAX_TOTAL_NOTIONAL": "500"}),
    E.DAILY_LOSS_LIMIT: Case(
        loss, ("lost today", "limit is 5"), settings={"TES_RISK_MAX_DAILY_LOSS": "5"}, retries_within_s=86_400
    ),
    E.SUPERSEDED: Case(overtaken, (f"close of {BTC}", "not sent")),
    E.HALTED: Case(halted, ("news at eight",)),
    E.NOT_READY: Case(
        laid_bare,
        (BTC, "without protection"),
        settings={"TES_PROTECTION_ON_FAILURE": "alert", "TES_PROTECTION_MAX_ATTEMPTS": "1"},
    ),
    E.INSUFFICIENT_MARGIN: Case(just(buy(allocation_usd=2_000_000)), ("213996", "10x", "100000.00")),
    E.EXCHANGE_REJECTED: Case(refused_entry, ("The exchange says no.",), status="failed"),
    E.EXCHANGE_UNAVAILABLE: Case(busy, ("The exchange says no.",), status="failed"),
    E.OUTCOME_UNKNOWN: Case(lost, ("no answer", "not sent again"), status="failed"),
    E.PROTECTION_FAILED: Case(
        no_stop,
        ("0.01 held", "refused 1 times"),
        status="emergency_closed",
        settings={"TES_PROTECTION_MAX_ATTEMPTS": "1"},
    ),
    E.TAKE_PROFIT_MISSING: Case(
        no_target,
        ("take profit", BTC),
        status="partially_protected",
        settings={"TES_PROTECTION_MAX_ATTEMPTS": "1"},
    ),
    E.INTERNAL_ERROR: Case(a_bug, ("before anything was sent",)),
}


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.value)
async def test_each_code_is_reached_over_http_and_says_why(code: ErrorCode, tmp_path: Path) -> None:
    case = CASES[code]
    info = write_exchange_info(tmp_path / "info.json", 1, status="SETTLING")
    async with arena(tmp_path / "tes.db", exchange_info=info) as stage:
        await stage.levers.price("DOGEUSDT", "0.32")
        await stage.levers.price(CLOSED_MARKET, "190")
        async with (
            stage.application(TES_API_TOKEN=TOKEN, **case.settings) as application,
            serving(application) as face,
        ):
            problem = await case.reach(Scene(stage, face))
    assert (problem["http"], problem.get("code")) == (case.http, code.value), problem
    if case.http == 200:
        assert problem["status"] == case.status
    for word in case.words:
        assert word in problem["message"], problem
    if case.retries_within_s is not None:
        assert 0 < problem["retry_after_seconds"] <= case.retries_within_s
