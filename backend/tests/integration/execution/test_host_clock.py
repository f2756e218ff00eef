"""Somebody sets the host's clock: deadlines and pauses are durations and do not follow it (P12, P4)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arena import BTC, Arena, WallClock, buy, decide, settled, until, until_true

from app.schemas.result import AssetStatus

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
CLOSE = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}


def refusal(code: int) -> dict[str, Any]:
    return {"type": "error", "status": 400, "code": code, "msg": "no"}


async def types(stage: Arena) -> list[str]:
    return sorted(row["type"] for row in await stage.levers.open_orders(BTC))


@pytest.mark.parametrize("code", [-4045, -2022])
async def test_a_clock_set_back_delays_no_stop(stage: Arena, code: int) -> None:
    """P12, P4: the next attempt is due a moment later, and the target stays beside the missing stop."""
    clock = WallClock()
    async with stage.application(clock=clock, TES_PROTECTION_BASE_DELAY_SECONDS="0.5") as application:
        await stage.levers.fault(refusal(code), count=2, **STOP)
        deciding = asyncio.create_task(decide(application.service("default"), buy(), patience_s=8))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        clock.set_s = -60
        assert (await deciding).results[0].status is AssetStatus.PROTECTED
        assert await types(stage) == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]


async def test_a_clock_set_ahead_ends_no_deadline(stage: Arena) -> None:
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        await stage.levers.fault(refusal(-4045), count=1, **STOP)
        await stage.levers.fault({"type": "delay_after", "seconds": 1}, count=1, skip=1, **STOP)
        deciding = asyncio.create_task(decide(application.service("default"), buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        clock.set_s = 60
        result = (await deciding).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert await stage.levers.requests("POST", "/order", type="MARKET", side="SELL") == []


async def test_a_clock_set_back_delays_no_close(stage: Arena) -> None:
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await stage.levers.fault(refusal(-4131), count=2, **CLOSE)
        closing = asyncio.create_task(service.close_position(BTC, timeout_s=None))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET", side="SELL"))
        clock.set_s = -3600
        await until(closing.done)
        assert (await settled(application, opened.trade_id)).close_reason == "manual"


async def test_times_and_durations_of_a_trade_stay_right(stage: Arena) -> None:
    """A clock that is set an hour ahead in the middle of an entry does not make it last an hour."""
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        await stage.levers.fault({"type": "delay_after", "seconds": 0.3}, **STOP)
        deciding = asyncio.create_task(decide(application.service("default"), buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        clock.set_s = 3600
        timings = (await deciding).results[0].timings_ms
        assert timings is not None
        assert timings.filled_to_protected is not None
        assert 0 <= timings.filled_to_protected < 30_000


async def test_the_age_of_a_decision_is_still_by_the_wall_clock(stage: Arena) -> None:
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        clock.set_s = 600
        old, fresh = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (500, 595))
        service = application.service("default")
        await asyncio.sleep(0)
        await until(lambda: service.readiness().is_ready)  # the lease goes by the wall clock, too
        refused = (await decide(service, buy(), timestamp=old.isoformat())).results[0]
        assert refused.error is not None
        assert refused.error.code == "stale_decision"
        taken = (await decide(service, buy(), timestamp=fresh.isoformat())).results[0]
        assert taken.status is AssetStatus.PROTECTED


async def test_a_clock_that_is_set_fills_no_window_and_prolongs_no_pause(stage: Arena) -> None:
    """L1, L7: what the exchange's limit leaves goes by durations; nothing becomes unready for a step of the clock."""
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        service = application.service("default")
        assert (await decide(service, buy())).success
        for step_s in (300, -300):
            clock.set_s = step_s
            await until(application.ownership.may_send)
            assert service.readiness().reasons == ()
            assert service.vital_signs().weight.used < service.vital_signs().weight.limit / 4
            assert (await service.reconcile()).differences == ()


async def test_who_stood_still_does_not_blame_the_rate_limit(stage: Arena) -> None:
    """A machine that slept has not compared its record for a while: entries wait for that, and it follows at once."""
    clock = WallClock()
    async with stage.application(clock=clock) as application:
        service = application.service("default")
        clock.slept_s = 300
        (reason,) = (text for text in service.readiness().reasons if "not reconciled" in text)
        assert reason == "not reconciled for 300 s: this process stood still, and reconciles now"
        await until(lambda: service.readiness().is_ready)
        assert (await decide(service, buy())).success


@pytest.mark.long
async def test_a_deadline_recorded_by_a_clock_an_hour_ahead_is_kept(stage: Arena) -> None:
    """At start it becomes a duration: what is unprotected is looked after now, not in an hour."""
    clock = WallClock()
    clock.set_s = 3600
    settings = {"TES_PROTECTION_DEADLINE_SECONDS": "3", "TES_PROTECTION_MAX_ATTEMPTS": "1000"}
    async with stage.application(clock=clock, **settings) as application:
        await stage.levers.fault(refusal(-4045), count=0, **STOP)
        deciding = asyncio.create_task(decide(application.service("default"), buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        deciding.cancel()
    async with stage.application(**settings) as application:
        (trade,) = (await application.trades.latest(frozenset(), 1)).items
        assert (await settled(application, trade.id)).close_reason == "emergency"
        assert await stage.levers.position(BTC) == 0
