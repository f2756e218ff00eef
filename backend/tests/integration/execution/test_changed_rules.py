"""The exchange changes tick or step while we run: exits are rounded again by its present rules (scenario H8)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from arena import BTC, Arena, Request, buy, decide, settled, stored, until_true

from app.schemas.result import AssetStatus

BARE: dict[str, Any] = {"sl_price": None, "tp_price": None}
PATIENT = {"TES_PROTECTION_BASE_DELAY_SECONDS": "5", "TES_PROTECTION_DEADLINE_SECONDS": "60"}
"""A refused exit that only waits for its next attempt is not placed before a test's patience ends."""
CLOSE = {"asset": BTC, "action": "close_position"}


def coarser(stage: Arena, step: str) -> None:
    whole = {"stepSize": step, "minQty": step}
    stage.change_filters(BTC, LOT_SIZE=whole, MARKET_LOT_SIZE=whole)


def reads_of_rules(traffic: Sequence[Request]) -> int:
    return sum("/exchangeInfo" in path for _, path, _ in traffic)


async def refused(stage: Arena) -> list[tuple[str, int | None]]:
    rows = await stage.levers.requests("POST", "/order")
    return [(row["params"]["type"], row["code"]) for row in rows if row["outcome"] == "refused"]


async def test_exits_refused_for_a_new_tick_are_rounded_by_it_at_once(stage: Arena, traffic: list[Request]) -> None:
    """H8: stop and target to the nearest tick of now, each after one refusal; the result tells where they lie."""
    async with stage.application(**PATIENT) as application:
        read = reads_of_rules(traffic)
        stage.change_filters(BTC, PRICE_FILTER={"tickSize": "1"})
        opened = (await decide(application.service("default"), buy(sl_price=94_000.7, tp_price=99_000.2))).results[0]
        assert opened.status is AssetStatus.PROTECTED
        assert (opened.stop_loss_price, opened.take_profit_price) == (94_001, 99_000)
        assert sorted(await refused(stage)) == [("STOP_MARKET", -4014), ("TAKE_PROFIT_MARKET", -4014)]
        assert 1 <= reads_of_rules(traffic) - read <= 2
        resting = {row["type"]: row["stopPrice"] for row in await stage.levers.open_orders(BTC)}
        assert resting == {"STOP_MARKET": "94001", "TAKE_PROFIT_MARKET": "99000"}


async def test_a_position_off_the_new_step_is_covered_whole_and_closed_whole(stage: Arena) -> None:
    """H8: what can't execute more than is held is rounded up, so that nothing of it stays bare or behind."""
    async with stage.application(**PATIENT) as application:
        service = application.service("default")
        opened = (await decide(service, buy(allocation_usd=1_450, **BARE))).results[0]
        assert opened.filled_quantity == Decimal("0.015")
        coarser(stage, "0.01")
        exits = {"adjust_sl": True, "new_sl_price": 94_000}
        moved = (await decide(service, {"asset": BTC, "action": "adjust_orders", "order_adjustment": exits})).results[0]
        assert moved.status is AssetStatus.ADJUSTED
        assert [row["origQty"] for row in await stage.levers.open_orders(BTC)] == ["0.02"]
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        trade = await settled(application, opened.trade_id)
        assert trade.exited_quantity == trade.entered_quantity
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []


async def test_a_close_refused_for_a_new_step_is_rounded_by_it_at_once(stage: Arena) -> None:
    """H8: the first to meet the new step; the position goes as a whole."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy(allocation_usd=1_450, **BARE))).results[0]
        coarser(stage, "0.01")
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        await settled(application, opened.trade_id)
        assert await stage.levers.position(BTC) == 0
        assert [kind for kind, _ in await refused(stage)] == ["MARKET"]


async def test_a_decrease_refused_for_a_new_step_is_rounded_down_by_it(stage: Arena) -> None:
    """H8, Z1."""
    part = {"adjustment_type": "decrease", "adjustment_percentage": 30}
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy(allocation_usd=4_805, **BARE))).results[0]
        assert opened.filled_quantity == Decimal("0.05")
        coarser(stage, "0.01")
        item = {"asset": BTC, "action": "adjust_position", "position_adjustment": part}
        result = (await decide(service, item)).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.01"))
        assert await stage.levers.position(BTC) == Decimal("0.04")
        assert (await stored(application, opened.trade_id)).exposure == Decimal("0.04")


async def test_a_decrease_refused_for_a_new_maximum_goes_in_parts(stage: Arena) -> None:
    """H8, O7: a decrease that meets a new maximum and a new step goes in parts that obey both."""
    half = {"adjustment_type": "decrease", "adjustment_percentage": 50}
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy(allocation_usd=4_805, **BARE))
        coarser(stage, "0.01")
        stage.limit_market_orders(BTC, "0.013")
        item = {"asset": BTC, "action": "adjust_position", "position_adjustment": half}
        result = (await decide(service, item)).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.02"))
        assert await stage.levers.position(BTC) == Decimal("0.03")
        assert [row["origQty"] for row in await stage.levers.orders(symbol=BTC, side="SELL", status="FILLED")] == [
            "0.01",
            "0.01",
        ]


async def test_an_exit_that_no_rounding_helps_is_tried_as_often_as_ever(stage: Arena, traffic: list[Request]) -> None:
    """H8, P2: one read for each refusal, and the failure policy after the last attempt."""
    settings = {"TES_PROTECTION_MAX_ATTEMPTS": "3", "TES_PROTECTION_BASE_DELAY_SECONDS": "0.1"}
    async with stage.application(**settings) as application:
        error = {"type": "error", "status": 400, "code": -4014, "msg": "Price not increased by tick size."}
        await stage.levers.fault(error, count=0, method="POST", path="/order", params={"type": "STOP_MARKET"})
        read = reads_of_rules(traffic)
        deciding = asyncio.create_task(decide(application.service("default"), buy(tp_price=None)))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        assert (await deciding).results[0].status is AssetStatus.EMERGENCY_CLOSED
        assert len(await stage.levers.requests("POST", "/order", type="STOP_MARKET")) == 3
        assert reads_of_rules(traffic) - read <= 4
        assert await stage.levers.position(BTC) == 0
