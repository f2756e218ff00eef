"""Exits are not refused for what does not hinder them (contract, section 9)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, arena, buy, decide, none_refused, sell, settled, until, until_true
from test_database_trouble import Trouble, during, server, trouble

from app.bootstrap import running
from app.core.configuration import load_settings
from app.domain.errors import DecisionRefused
from app.schemas.decision import parse_decision
from app.schemas.result import AssetResult, AssetStatus
from support.patience import PATIENCE_S

CLOSE = {"asset": BTC, "action": "close_position"}
HALVE = {
    "asset": BTC,
    "action": "adjust_position",
    "position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": 50},
}
BULK = {"method": "GET", "path": "/openOrders"}
DOWN: dict[str, Any] = {"type": "error", "status": 503}

__all__ = ["server", "trouble"]


def code_of(result: AssetResult) -> str | None:
    return result.error.code.value if result.error else None


@pytest.mark.parametrize("item", [CLOSE, HALVE], ids=["close", "decrease"])
async def test_with_a_stream_lost_exits_go_and_entries_wait(stage: Arena, item: dict[str, Any]) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        service._router.is_up = False
        await until(lambda: not service.readiness().is_ready)
        with pytest.raises(DecisionRefused, match="not ready"):
            await decide(service, sell())
        with none_refused():
            done, refused = (await decide(service, item, sell())).results
        assert done.success
        assert (refused.status, code_of(refused)) == (AssetStatus.REJECTED, "not_ready")
        left = "0.005" if item is HALVE else "0"
        assert await stage.levers.position(BTC) == Decimal(left)
        assert await stage.levers.position(ETH) == 0
        service._router.is_up = True


async def test_with_a_disk_that_takes_nothing_a_decision_closes(trouble: Trouble) -> None:
    """It is told once it is on record; a replay meanwhile trades nothing."""
    async with arena(trouble.url) as stage, stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        decision = parse_decision(json.dumps({"decisions": [CLOSE, sell()]}))
        async with during(trouble, application):
            with none_refused():
                submission = await service.submit(decision)

            async def is_flat() -> bool:
                return await stage.levers.position(BTC) == 0

            await until_true(is_flat)
            known = service._intake.running(submission.decision_id)
            await until(lambda: known and not known.is_at_work(ETH))
            assert submission.result.results[0].status is AssetStatus.PENDING
        closed, refused = (await asyncio.wait_for(submission.wait(None), PATIENCE_S)).results
        assert (closed.status, code_of(refused)) == (AssetStatus.CLOSED, "not_ready")
        assert (await settled(application, opened.trade_id)).close_reason == "decision"
        assert await stage.levers.position(ETH) == 0
        found = await application.decisions.find(submission.decision_id)
        assert found is not None
        assert found.result is not None
        assert found.result.results[0].status is AssetStatus.CLOSED


async def test_before_the_first_reconciliation_a_known_trade_closes(stage: Arena) -> None:
    async with stage.application() as application:
        opened = (await decide(application.service("default"), buy())).results[0]
    await stage.levers.fault(DOWN, count=0, **BULK)
    async with running(load_settings({**stage.environment}, config=None)) as application:
        service = application.service("default")
        await until(lambda: "can't be read" in " ".join(service.readiness().reasons))
        for not_known in ({**CLOSE, "asset": ETH}, sell()):
            with pytest.raises(DecisionRefused, match="not ready"):
                await decide(service, not_known)
        by_hand = await service.close_position(ETH)
        assert (by_hand.status, code_of(by_hand)) == (AssetStatus.REJECTED, "not_ready")
        closing = asyncio.create_task(decide(service, CLOSE, {**CLOSE, "asset": ETH}))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET", side="SELL"))
        await stage.levers.heal()
        closed, refused = (await closing).results
        assert (closed.status, code_of(refused)) == (AssetStatus.CLOSED, "not_ready")
        assert (await settled(application, opened.trade_id)).close_reason == "decision"
        assert await stage.levers.position(BTC) == 0


async def test_silence_hinders_exits_too(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        service._client.keep_silent(2)
        with pytest.raises(DecisionRefused, match="silence"):
            await decide(service, CLOSE)
