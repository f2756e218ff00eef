"""A fill turns up after the entry was given up (U10)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, until_true

from app.bootstrap import Application
from app.schemas.result import AssetStatus

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
NOOP = {"method": "POST", "path": "/noop"}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}
WINDOW = {"TES_ASTER_NONCE_WINDOW_SECONDS": "0.5"}
"""Shorter than the exchange's: its queue may admit the order long after we have given it up."""


async def give_up_an_entry(stage: Arena, application: Application) -> str:
    """Decide, and let the request be stuck for nine seconds; returns the failed trade's id."""
    await stage.levers.fault({"type": "delay_before", "seconds": 9}, **ENTRY)
    await stage.levers.fault(REFUSED, count=0, **NOOP)
    result = (await decide(application.service("default"), buy(), decision_id="late")).results[0]
    assert (result.status, await stage.levers.orders(symbol=BTC)) == (AssetStatus.FAILED, [])
    assert result.trade_id is not None
    return result.trade_id


@pytest.mark.parametrize("is_told", [True, False], ids=["by the stream", "by a position that nobody explains"])
async def test_a_late_fill_reopens_the_trade_protects_it_and_corrects_the_result(stage: Arena, is_told: bool) -> None:
    async with stage.application(**WINDOW) as application:
        service = application.service("default")
        if not is_told:
            await stage.levers.fault({"type": "drop_events"}, count=0)
        trade_id = await give_up_an_entry(stage, application)
        trade = await settled(application, trade_id, "open")
        assert trade.exposure == await stage.levers.position(BTC) > 0
        assert {row["type"] for row in await stage.levers.open_orders(BTC)} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}
        alerts = [
            one.event.data["code"]
            for one in await application.events.after(0, 1_000)
            if one.event.type.value == "AlertRaised"
        ]
        assert "late_fill" in alerts
        corrected = (await decide(service, buy(), decision_id="late")).results[0]
        assert (corrected.status, corrected.trade_id) == (AssetStatus.PROTECTED, trade_id)
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


@pytest.mark.long
@pytest.mark.parametrize("when", ["while nobody runs", "while the next process runs"])
async def test_a_fill_that_outlives_the_process_is_looked_after_and_the_record_corrected(
    stage: Arena, when: str
) -> None:
    """Contract, section 9: the next process knows trade and decision from the record only."""
    async with stage.application(**WINDOW) as application:
        trade_id = await give_up_an_entry(stage, application)
    if when == "while nobody runs":
        await until_true(lambda: stage.levers.orders(type="MARKET"))
    async with stage.application(**WINDOW) as application:
        trade = await settled(application, trade_id, "open")
        assert trade.exposure == await stage.levers.position(BTC) > 0
        assert {row["type"] for row in await stage.levers.open_orders(BTC)} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}
        corrected = (await decide(application.service("default"), buy(), decision_id="late")).results[0]
        assert (corrected.status, corrected.trade_id) == (AssetStatus.PROTECTED, trade_id)
        await application.trades.settled()
        stored_decision = await application.decisions.find("late")
        assert stored_decision is not None
        assert stored_decision.result is not None
        assert stored_decision.result.results[0].status is AssetStatus.PROTECTED
    assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_a_part_that_comes_in_late_is_protected_and_the_result_corrected(stage: Arena) -> None:
    """O7: the parts behind it do not leave any more."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**WINDOW) as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 9}, skip=1, **ENTRY)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        result = (await decide(service, buy(allocation_usd=2_400), decision_id="late")).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.010"))
        assert "order 2 of 3 was the last one" in result.notes[0]

        async def is_corrected() -> bool:
            told = (await decide(service, buy(allocation_usd=2_400), decision_id="late")).results[0]
            return (told.status, told.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.020"))

        await until_true(is_corrected)
        rest = await stage.levers.open_orders(BTC)
        assert [Decimal(row["origQty"]) for row in rest] == [Decimal("0.020")] * 2
        rows = await application.events.after(0, 1_000)
        assert "late_fill" in [row.event.data["code"] for row in rows if row.event.type.value == "AlertRaised"]
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 2


async def test_protection_that_succeeds_after_a_restart_corrects_the_result(stage: Arena) -> None:
    """``unprotected`` was true when it was told."""
    stop = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
    full: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
    settings = {"TES_PROTECTION_ON_FAILURE": "alert", "TES_PROTECTION_DEADLINE_SECONDS": "0.5"}
    await stage.levers.fault(full, count=0, **stop)
    async with stage.application(**settings) as application:
        result = (await decide(application.service("default"), buy(), decision_id="bare")).results[0]
        assert result.status is AssetStatus.UNPROTECTED
    await stage.levers.heal()
    async with stage.application(**settings) as application:
        await settled(application, result.trade_id, "open")
        corrected = (await decide(application.service("default"), buy(), decision_id="bare")).results[0]
        assert corrected.status is AssetStatus.PROTECTED
