"""The fence: when "does not exist" begins to prove something, and how a noop brings that moment forward (U1, U3)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from arena import BTC, Arena, arena, buy, decide, stored, until, until_true

from app.api.metrics import Metrics
from app.bootstrap import Application
from app.schemas.decision import parse_decision
from app.schemas.result import AssetResult, AssetStatus
from support.patience import PATIENCE_S

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
NOOP = {"method": "POST", "path": "/noop"}


async def lost_for_good(stage: Arena, window_s: str) -> tuple[AssetResult, timedelta]:
    """Send an entry that never arrives: its result, and how long it was in doubt."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS=window_s) as application:
        result = (await decide(application.service("default"), buy())).results[0]
        trade = await stored(application, result.trade_id)
        assert trade.closed_at is not None
        return result, trade.closed_at - trade.created_at


async def test_noop_with_the_same_nonce_ends_the_doubt_long_before_the_fence(stage: Arena) -> None:
    await stage.levers.fault({"type": "drop_before"}, **ENTRY)
    result, doubt = await lost_for_good(stage, "30")
    assert result.status is AssetStatus.FAILED
    assert result.error is not None
    assert result.error.code == "outcome_unknown"
    assert doubt < timedelta(seconds=30)
    assert [row["nonce"] for row in await stage.levers.requests("POST", "/noop")] == [
        row["nonce"] for row in await stage.levers.requests("POST", "/order")
    ]
    assert await stage.levers.orders(symbol=BTC) == []


async def test_doubt_and_its_age_are_told_in_result_event_and_metrics(stage: Arena) -> None:
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="30") as application:
        service = application.service("default")
        await stage.levers.fault({"type": "drop_before"}, **ENTRY)
        decision = parse_decision(json.dumps({"decision_id": "lost", "decisions": [buy()]}))
        submission = await service.submit(decision)
        await until(lambda: service.vital_signs().unknown_orders_s)
        pending = (await submission.wait(0)).results[0]
        assert pending.status is AssetStatus.PENDING
        assert pending.error is not None
        assert pending.error.code == "outcome_unknown"
        assert "got no answer" in pending.error.message
        shown = Metrics(application, lambda: 0).render(with_money=True).decode()
        assert 'tes_unknown_orders{account="default"} 1.0' in shown
        assert 'tes_oldest_unknown_order_seconds{account="default"} 0.0\n' not in shown
        ended = (await asyncio.wait_for(submission.wait(None), PATIENCE_S)).results[0]
        assert ended.error is not None
        assert re.search(r"after \d+\.\d s the exchange shows neither", ended.error.message)
        assert service.vital_signs().unknown_orders_s == ()
        entry_events = [
            recorded.event.data
            for recorded in await application.events.after(0, 1000)
            if recorded.event.type == "OrderUpdated" and recorded.event.data["role"] == "entry"
        ]
        ages = [data["unknown_seconds"] for data in entry_events if "unknown_seconds" in data]
        assert len(ages) == 2
        assert 0 <= ages[0] < ages[1]


async def test_noop_without_success_proves_nothing(stage: Arena) -> None:
    await stage.levers.fault({"type": "drop_before"}, **ENTRY)
    await stage.levers.fault({"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}, **NOOP)
    result, doubt = await lost_for_good(stage, "2")
    assert result.status is AssetStatus.FAILED
    assert len(await stage.levers.requests("POST", "/noop")) == 1
    assert doubt > timedelta(seconds=6.5)


@pytest.mark.long
async def test_entry_stuck_on_its_way_is_killed_by_the_noop_and_never_executes(stage: Arena) -> None:
    await stage.levers.fault({"type": "delay_before", "seconds": 9}, **ENTRY)
    result, doubt = await lost_for_good(stage, "30")
    assert result.status is AssetStatus.FAILED
    assert doubt < timedelta(seconds=30)
    async with asyncio.timeout(PATIENCE_S):
        while (entry := (await stage.levers.requests("POST", "/order"))[0])["outcome"] == "pending":
            await asyncio.sleep(0.05)
    assert entry["code"] == -4225
    assert await stage.levers.orders(symbol=BTC) == []


SHORT_LIVED = {"TES_ASTER_NONCE_WINDOW_SECONDS": "6", "TES_ASTER_ENTRY_LIFETIME_SECONDS": "1"}
REFUSED_NOOP: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}


@asynccontextmanager
async def old_enough(stage: Arena) -> AsyncIterator[Application]:
    """A service that has been up for as long as the nonces of its entries are put back, and whose noops fail."""
    async with stage.application(**SHORT_LIVED) as application:
        await stage.levers.fault(REFUSED_NOOP, count=0, **NOOP)
        born = application.service("default")._client.exchange_time()
        await until(
            lambda: application.service("default")._client.exchange_time() - born > timedelta(seconds=5.2),
            patience_s=PATIENCE_S,
        )
        yield application


@pytest.mark.long
async def test_short_lived_entry_is_settled_at_its_own_fence(tmp_path: Any) -> None:
    """Docs/adr/0004: five seconds of margin beside one of life, instead of a window of six; and no noop helps."""
    async with arena(tmp_path / "tes.db", nonce_window_s=6.0) as stage, old_enough(stage) as application:
        await stage.levers.fault({"type": "drop_before"}, **ENTRY)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.error is not None
        assert result.error.code == "outcome_unknown"
        entry = (await stored(application, result.trade_id)).entry
        assert entry.stamp is not None
        assert entry.submitted_at is not None
        assert entry.stamp.dead_after - entry.submitted_at < timedelta(seconds=6.5)


@pytest.mark.long
async def test_short_lived_entry_stuck_on_its_way_is_refused_by_its_age(tmp_path: Any) -> None:
    """-4225 for a nonce that was sent once proves that it was not executed."""
    async with arena(tmp_path / "tes.db", nonce_window_s=6.0) as stage, old_enough(stage) as application:
        await stage.levers.fault({"type": "delay_before", "seconds": 1.5}, **ENTRY)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.FAILED
        assert result.error is not None
        assert (result.error.code, result.error.exchange_code) == ("exchange_rejected", -4225)
        assert "entry lifetime" in result.error.message
        assert await stage.levers.orders(symbol=BTC) == []


@pytest.mark.long
async def test_short_lived_entry_is_taken_among_hundreds_of_other_requests(tmp_path: Any) -> None:
    """The exchange refuses what is older than the signer's newest hundred nonces: then an entry is hardly put back."""
    async with arena(tmp_path / "tes.db", nonce_window_s=6.0) as stage, old_enough(stage) as application:
        service = application.service("default")
        for _ in range(15):
            await asyncio.gather(*(service._client.positions(BTC) for _ in range(10)))
        result = (await decide(service, buy())).results[0]
        assert result.status is AssetStatus.PROTECTED


async def test_entry_that_was_executed_all_along_is_found_although_a_noop_was_tried(tmp_path: Any) -> None:
    """The order hides from queries for a while, as on a busy exchange: a used nonce can't be burned."""
    async with arena(tmp_path / "tes.db") as stage:
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        hidden = {"type": "error", "status": 400, "code": -2013, "msg": "Order does not exist."}
        await stage.levers.fault(hidden, count=0, method="GET", path="/order")
        async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="30") as application:
            deciding = asyncio.create_task(decide(application.service("default"), buy()))
            await until_true(lambda: stage.levers.requests("POST", "/noop"))
            await stage.levers.heal()
            assert (await deciding).results[0].status is AssetStatus.PROTECTED
        assert [row["code"] for row in await stage.levers.requests("POST", "/noop")] == [-4225]
