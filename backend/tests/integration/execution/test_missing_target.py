"""A target that can't be placed while the stop stands, and the room that exits need (P14)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, stored, until_true

from app.bootstrap import Application
from app.schemas.decision import parse_decision
from app.schemas.result import AssetStatus

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
TARGET = {"method": "POST", "path": "/order", "params": {"type": "TAKE_PROFIT_MARKET"}}
TRAILING = {"method": "POST", "path": "/order", "params": {"type": "TRAILING_STOP_MARKET"}}
FULL: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
FAST = {"TES_PROTECTION_BASE_DELAY_SECONDS": "0.02", "TES_PROTECTION_MAX_ATTEMPTS": "3"}


async def alerts(application: Application) -> list[str]:
    events = await application.events.after(0, 1_000)
    return [one.event.data["code"] for one in events if one.event.type.value == "AlertRaised"]


async def types(stage: Arena) -> list[str]:
    return sorted(row["type"] for row in await stage.levers.open_orders(BTC))


async def crowd(stage: Arena, count: int) -> list[dict[str, Any]]:
    """A person's conditional orders, which take the exchange's places."""
    wish = {"symbol": BTC, "side": "BUY", "type": "STOP_MARKET", "quantity": "0.001"}
    return [await stage.levers.by_hand(**wish, stopPrice=str(120_000 + number)) for number in range(count)]


async def test_a_target_refused_for_good_leaves_the_position_to_its_stop(stage: Arena) -> None:
    async with stage.application(**FAST) as application:
        await stage.levers.fault(FULL, count=0, **TARGET)
        result = (await decide(application.service("default"), buy())).results[0]
        assert (result.status, result.success) == (AssetStatus.PARTIALLY_PROTECTED, False)
        assert result.error is not None
        assert result.error.code == "take_profit_missing"
        assert await types(stage) == ["STOP_MARKET"]
        assert await stage.levers.position(BTC) == result.filled_quantity
        assert "take_profit_missing" in await alerts(application)
        assert "protection_failed" not in await alerts(application)
        await stage.levers.heal()  # it was tried all the time
        await until_true(lambda: stage.levers.orders(type="TAKE_PROFIT_MARKET", status="NEW"))
        assert (await settled(application, result.trade_id, "open")).error is None


async def test_a_trailing_stop_without_a_place_for_its_new_size_leaves_the_position_to_its_stop(stage: Arena) -> None:
    """The old one rests until the new one does; with every place taken that never comes (the simulation's seed 49)."""
    async with stage.application(**FAST) as application:
        service = application.service("default")
        opened = (await decide(service, buy(trailing_stop={"callback_rate": 1}))).results[0]
        assert opened.status is AssetStatus.PROTECTED
        await stage.levers.fault(FULL, count=0, **TRAILING)
        half = {"adjustment_type": "decrease", "adjustment_percentage": 50}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": half}
        deciding = asyncio.create_task(decide(service, wish))

        async def is_told() -> bool:
            return "exit_for_too_much" in await alerts(application)

        await until_true(is_told)
        assert "protection_failed" not in await alerts(application)
        assert await types(stage) == ["STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
        assert await stage.levers.position(BTC) == opened.filled_quantity / 2
        await stage.levers.heal()
        assert (await settled(application, opened.trade_id, "open")).error is None
        await deciding


async def test_the_operator_may_want_it_closed(stage: Arena) -> None:
    async with stage.application(**FAST, TES_PROTECTION_ON_TP_FAILURE="close") as application:
        await stage.levers.fault(FULL, count=0, **TARGET)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.EMERGENCY_CLOSED
        assert await stage.levers.position(BTC) == 0


async def test_other_entries_go_on_beside_a_missing_target(stage: Arena) -> None:
    """The position has its stop: it is not unprotected."""
    async with stage.application(**FAST) as application:
        service = application.service("default")
        await stage.levers.fault(FULL, count=0, **TARGET | {"params": {"type": "TAKE_PROFIT_MARKET", "symbol": BTC}})
        assert (await decide(service, buy())).results[0].status is AssetStatus.PARTIALLY_PROTECTED
        other = buy("ETHUSDT", tp_price=3_600, sl_price=3_300)
        assert (await decide(service, other)).results[0].status is AssetStatus.PROTECTED


async def test_a_stop_that_goes_missing_beside_a_missing_target_has_its_deadline(stage: Arena) -> None:
    """P2, P5: what was let pass for the target is not let pass for the stop."""
    async with stage.application(**FAST, TES_PROTECTION_DEADLINE_SECONDS="0.5") as application:
        await stage.levers.fault(FULL, count=0, **TARGET)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PARTIALLY_PROTECTED
        await stage.levers.fault(FULL, count=0, **STOP)
        (stop,) = await stage.levers.open_orders(BTC)
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(stop["orderId"])})
        assert (await settled(application, result.trade_id)).close_reason == "emergency"
        assert await stage.levers.position(BTC) == 0


@pytest.mark.long
async def test_a_missing_target_survives_a_restart(stage: Arena) -> None:
    async with stage.application(**FAST) as application:
        await stage.levers.fault(FULL, count=0, **TARGET)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PARTIALLY_PROTECTED
    async with stage.application(**FAST) as application:
        assert (await stored(application, result.trade_id)).status == "protecting"
        await stage.levers.heal()
        await settled(application, result.trade_id, "open")
        assert await types(stage) == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]


@pytest.mark.parametrize("moment", ["before the start", "while running"])
async def test_an_entry_without_room_for_its_exits_is_refused(stage: Arena, moment: str) -> None:
    """Nine of the exchange's ten places are taken by somebody: there is room for one exit, and not for two."""
    placed = await crowd(stage, 9) if moment == "before the start" else []
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        if not placed:
            placed = await crowd(stage, 9)

        async def has_room() -> bool:
            explained = await service.explain(parse_decision(json.dumps({"decisions": [buy()]})))
            return all(check.verdict == "ok" for check in explained.assets[0].checks if check.check == "exposure")

        async def has_none() -> bool:
            return not await has_room()

        await until_true(has_none)
        result = (await decide(service, buy())).results[0]
        assert result.status is AssetStatus.REJECTED
        assert result.error is not None
        assert result.error.code == "exposure_limit"
        assert "conditional orders" in result.error.message
        assert await stage.levers.requests("POST", "/order", type="MARKET") == []
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(placed[0]["orderId"])})
        await until_true(has_room)
        assert (await decide(service, buy())).results[0].status is AssetStatus.PROTECTED


@pytest.mark.parametrize("way", ["in parts", "in parts, following", "added"])
async def test_a_position_does_not_grow_without_a_place_for_its_next_stop(stage: Arena, way: str) -> None:
    """P10: the stop of the new size rests beside the old one first, and a trailing one stays there for longer (P15)."""
    follows = "following" in way
    exits: dict[str, Any] = {"tp_price": None, "trailing_stop": {"callback_rate": 1} if follows else None}
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="add", **FAST) as application:
        service = application.service("default")
        if way == "added":
            assert (await decide(service, buy(**exits))).results[0].status is AssetStatus.PROTECTED
        else:
            stage.limit_market_orders(BTC, "0.010")
            await service._market._read_instruments()
        await crowd(stage, 7 if follows else 9)
        await service.reconcile()
        wish = buy(**exits) if way == "added" else buy(**exits, allocation_usd=2_400)
        result = (await decide(service, wish)).results[0]
        assert result.status is AssetStatus.REJECTED
        assert result.error is not None
        assert (result.error.code, "conditional orders" in result.error.message) == ("exposure_limit", True)
        assert await stage.levers.position(BTC) == Decimal("0.010" if way == "added" else 0)


async def test_the_last_place_is_the_stops(stage: Arena) -> None:
    """A place is lost between the check and the fill: the target gives way, and is missing."""
    async with stage.application(**FAST) as application:
        service = application.service("default")
        await crowd(stage, 8)
        await stage.levers.fault({"type": "delay_before", "seconds": 0.2}, **STOP)  # the target comes first
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, method="POST", path="/order",
                                 params={"type": "MARKET", "side": "BUY"})  # fmt: skip
        deciding = asyncio.create_task(decide(service, buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET"))
        await crowd(stage, 1)
        result = (await deciding).results[0]
        assert result.status is AssetStatus.PARTIALLY_PROTECTED
        ours = [row for row in await stage.levers.open_orders(BTC) if row["clientOrderId"].startswith("tes.")]
        assert [row["type"] for row in ours] == ["STOP_MARKET"]
