"""The answer, the order's frame and the lists are late, and the position shows the entry (U11)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.orders import OrderState
from app.schemas.result import AssetStatus

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
SHORT = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
NOOP = {"method": "POST", "path": "/noop"}
POSITIONS = {"method": "GET", "path": "/positionRisk"}
LAGGING = {"type": "lag_lists", "seconds": 600}
LOST: dict[str, Any] = {"type": "drop_after"}
FLAT = {
    "symbol": BTC, "positionAmt": "0.000", "entryPrice": "0.0", "markPrice": "96000", "unRealizedProfit": "0",
    "liquidationPrice": "0", "leverage": "10", "maxNotionalValue": "40000000", "marginType": "cross",
    "isolatedMargin": "0", "isAutoAddMargin": "false", "positionSide": "BOTH", "updateTime": 0,
}  # fmt: skip
STALE: dict[str, Any] = {"type": "error", "status": 200, "body": json.dumps([FLAT])}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}
TAKEN: dict[str, Any] = {"type": "error", "status": 200, "body": json.dumps({"code": 200, "msg": "success"})}
"""The exchange says of a noop that it used up the nonce, and is wrong: it is best effort."""
FRAME = "ORDER_TRADE_UPDATE"
POSITION_FRAME = "ACCOUNT_UPDATE"


async def alerts(application: Application) -> list[str]:
    """Codes of the alerts so far, oldest first."""
    rows = await application.events.after(0, 1_000)
    return [row.event.data["code"] for row in rows if row.event.type.value == "AlertRaised"]


async def has_alert(application: Application, code: str) -> bool:
    return code in await alerts(application)


async def stopped_quantity(stage: Arena, price: str = "94000") -> Decimal:
    """What stops of ours on the book cover."""
    rows = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
    assert {Decimal(row["stopPrice"]) for row in rows} <= {Decimal(price)}
    return sum((Decimal(row["origQty"]) for row in rows), start=Decimal(0))


async def is_stopped(stage: Arena, price: str = "94000") -> bool:
    """Whether stops cover exactly what is held."""
    held = abs(await stage.levers.position(BTC))
    return held > 0 and await stopped_quantity(stage, price) == held


async def lists_and_frames_are_late(stage: Arena) -> None:
    """Only positions tell what is executed from now on."""
    await stage.levers.fault(LAGGING)
    await stage.levers.fault({"type": "drop_events"}, count=0, event=FRAME)


@pytest.mark.parametrize("source", ["position_risk", "account_frame"])
async def test_a_position_alone_shows_the_entry_and_is_stopped(stage: Arena, source: str) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await lists_and_frames_are_late(stage)
        if source == "account_frame":
            await stage.levers.fault(STALE, count=0, **POSITIONS)
        else:
            await stage.levers.fault({"type": "drop_events"}, count=0, event=POSITION_FRAME)
        await stage.levers.fault(LOST, **ENTRY)
        deciding = asyncio.create_task(decide(service, buy()))
        await until_true(lambda: is_stopped(stage))
        await until_true(lambda: has_alert(application, "position_unexplained"))
        await stage.levers.heal()
        result = (await deciding).results[0]
        assert result.status is AssetStatus.PROTECTED
        trade = await settled(application, result.trade_id, "open")
        assert trade.exposure == await stage.levers.position(BTC)
        assert trade.entry.exchange_order_id is not None
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_a_part_shown_by_the_position_alone_is_stopped(stage: Arena) -> None:
    """O7: the parts whose turn has not come explain nothing of the position, and wait until it is explained."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application() as application:
        await lists_and_frames_are_late(stage)
        await stage.levers.fault(LOST, **ENTRY)
        deciding = asyncio.create_task(decide(application.service("default"), buy(allocation_usd=2_400)))
        await until_true(lambda: has_alert(application, "position_unexplained"))
        await until_true(lambda: is_stopped(stage))
        assert await stage.levers.position(BTC) == Decimal("0.010")
        await stage.levers.heal()
        result = (await deciding).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.025"))


@pytest.mark.parametrize("mode", ["one_way", "hedge"])
async def test_a_short_shown_by_its_position_alone_is_stopped(stage: Arena, mode: str) -> None:
    if mode == "hedge":
        await stage.levers.call("POST", "/modes", {"account": "default", "hedge": True})
    async with stage.application() as application:
        await lists_and_frames_are_late(stage)
        await stage.levers.fault(LOST, **SHORT)
        wish = sell(BTC, tp_price=93000, sl_price=98000)
        deciding = asyncio.create_task(decide(application.service("default"), wish))
        await until_true(lambda: is_stopped(stage, "98000"))
        await stage.levers.heal()
        assert (await deciding).results[0].status is AssetStatus.PROTECTED


@pytest.mark.long
async def test_a_restart_keeps_the_stop_of_what_the_position_shows(stage: Arena) -> None:
    async with stage.application() as application:
        await lists_and_frames_are_late(stage)
        await stage.levers.fault(LOST, **ENTRY)
        deciding = asyncio.create_task(decide(application.service("default"), buy(), decision_id="shown"))
        await until_true(lambda: is_stopped(stage))
        (trade,) = (await application.trades.of_decision("default", "shown")).items
        await until_true(lambda: is_on_record(application, trade.id))
        deciding.cancel()
    async with stage.application() as application:
        service = application.service("default")
        await until(lambda: any(trade.entry.is_presumed for trade in service._active_trades()))
        assert await is_stopped(stage)
        await stage.levers.heal()
        await until_true(lambda: is_on_record(application, trade.id, OrderState.FILLED))
        assert await is_stopped(stage)


async def is_on_record(application: Application, trade_id: str | None, entry: OrderState = OrderState.UNKNOWN) -> bool:
    trade = await stored(application, trade_id)
    return trade.exposure > 0 and trade.entry.state is entry


async def test_a_position_that_shows_up_after_the_entry_was_given_up_is_ours(stage: Arena) -> None:
    """The exchange says that the nonce is used up and nothing is there, and executes the entry all the same."""
    async with stage.application() as application:
        await lists_and_frames_are_late(stage)
        await stage.levers.fault({"type": "delay_before", "seconds": 6}, **ENTRY)
        await stage.levers.fault(TAKEN, **NOOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert (result.status, await stage.levers.position(BTC)) == (AssetStatus.FAILED, 0)
        await until_true(lambda: is_stopped(stage))
        assert {"late_fill", "position_unexplained"} <= set(await alerts(application))
        await stage.levers.heal()
        await until_true(lambda: is_on_record(application, result.trade_id, OrderState.FILLED))
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_what_the_lists_show_as_anothers_is_never_ours(stage: Arena) -> None:
    """H2: a person buys while our entry is in doubt, and the exchange shows whose it is."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "error", "status": 503}, **ENTRY)
        await stage.levers.fault(REFUSED, **NOOP)
        deciding = asyncio.create_task(decide(service, buy()))
        await until(lambda: service.vital_signs().unknown_orders_s)
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.007")
        await until(lambda: service.vital_signs().unknown_orders_s and service.vital_signs().unknown_orders_s[0] > 2)
        deciding.cancel()
        assert await stage.levers.requests("POST", "/order", type="STOP_MARKET") == []
        assert await stage.levers.position(BTC) == Decimal("0.007")


async def test_a_position_that_turns_out_to_be_anothers_is_given_back(stage: Arena) -> None:
    """It is stopped as long as the lists are late; then the entry fails, and what is held is left as it is."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        await lists_and_frames_are_late(stage)
        await stage.levers.fault({"type": "error", "status": 503}, **ENTRY)
        await stage.levers.fault(REFUSED, **NOOP)
        deciding = asyncio.create_task(decide(service, buy(), decision_id="theirs"))
        await until(lambda: service.vital_signs().unknown_orders_s)
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.007")
        await until_true(lambda: is_stopped(stage))
        await stage.levers.heal()
        result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.FAILED, "outcome_unknown")
        await until_true(lambda: has_alert(application, "position_explained"))
        assert await stage.levers.position(BTC) == Decimal("0.007")
        assert await stage.levers.open_orders(BTC) == []


@pytest.mark.parametrize("is_executed", [True, False], ids=["executed", "lost"])
async def test_a_close_keeps_the_stop_while_an_increase_is_in_doubt(stage: Arena, is_executed: bool) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await lists_and_frames_are_late(stage)
        await stage.levers.fault({"type": "error", "status": 503, "executed": is_executed}, **ENTRY)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        if is_executed:
            await stage.levers.fault(STALE, count=0, **POSITIONS)
            await stage.levers.fault({"type": "drop_events"}, count=0, event=POSITION_FRAME)
        more = {"adjustment_type": "increase", "adjustment_amount_usd": 2000}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": more}
        deciding = asyncio.create_task(decide(service, wish))
        await until(lambda: service.vital_signs().unknown_orders_s)
        closing = asyncio.create_task(service.close_position(BTC))
        await until_true(lambda: stage.levers.orders(symbol=BTC, type="MARKET", side="SELL", status="FILLED"))
        await until(lambda: not any(trade.exposure for trade in service._active_trades()))
        assert await stopped_quantity(stage) == opened.filled_quantity
        if is_executed:
            await stage.levers.heal()
            assert (await closing).status is AssetStatus.CLOSED
            assert await stage.levers.position(BTC) == 0
        deciding.cancel()
        closing.cancel()
