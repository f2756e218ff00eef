"""A decrease that the exchange refuses for others' orders, or above a maximum that it hides (O7, O8)."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from arena import BTC, Arena, buy, decide, resting_stops, until_true
from test_blocked_close import SELL, rests, told

from app.schemas.result import AssetStatus

HALVE = {
    "asset": BTC,
    "action": "adjust_position",
    "position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": 50},
}


async def test_a_foreign_limit_does_not_keep_a_decrease_from_us(stage: Arena) -> None:
    """O8, P4: neither stop nor target goes for it; theirs stays, and is named."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        number = await rests(stage)
        assert (await decide(service, HALVE)).results[0].status is AssetStatus.ADJUSTED
        assert await stage.levers.position(BTC) == Decimal("0.005")
        rows = await stage.levers.requests("POST", "/order", **SELL)
        assert [(row["code"], "reduceOnly" in row["params"]) for row in rows] == [(-2022, True), (None, False)]
        assert str(number) in (await told(application, "close_blocked"))[0]
        assert await resting_stops(stage, BTC) == [Decimal("0.005")]
        assert number in {row["orderId"] for row in await stage.levers.open_orders(BTC)}


async def test_by_policy_the_limit_in_the_way_of_a_decrease_is_told_and_our_exits_stay(stage: Arena) -> None:
    """O8, P4: ``alert``; the decision fails, and says why."""
    async with stage.application(TES_PROTECTION_FOREIGN_ORDERS="alert") as application:
        service = application.service("default")
        await decide(service, buy())
        ours = {row["orderId"] for row in await stage.levers.open_orders(BTC)}
        number = await rests(stage)
        result = (await decide(service, HALVE)).results[0]
        assert result.error is not None
        assert (result.status, result.error.exchange_code) == (AssetStatus.FAILED, -2022)
        assert str(number) in (await told(application, "close_blocked"))[0]
        assert {row["orderId"] for row in await stage.levers.open_orders(BTC)} == {*ours, number}


@pytest.mark.long
async def test_by_policy_the_limit_in_the_way_of_a_decrease_is_canceled(stage: Arena) -> None:
    """O8: ``cancel``; and no other order of theirs."""
    async with stage.application(TES_PROTECTION_FOREIGN_ORDERS="cancel") as application:
        service = application.service("default")
        await decide(service, buy())
        number, other = await rests(stage), await rests(stage, "BUY")
        assert (await decide(service, HALVE)).results[0].status is AssetStatus.ADJUSTED
        assert await stage.levers.position(BTC) == Decimal("0.005")
        left = {row["orderId"] for row in await stage.levers.open_orders(BTC)}
        assert (number in left, other in left) == (False, True)


@pytest.mark.long
async def test_a_plain_decrease_that_a_race_makes_go_too_far_is_taken_back(stage: Arena) -> None:
    """O8: theirs is executed between our last look at the position and the arrival of our order."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await rests(stage, price="96500")
        await stage.levers.fault(
            {"type": "delay_before", "seconds": 0.6}, skip=1, method="POST", path="/order", params=SELL
        )
        halving = asyncio.create_task(decide(service, HALVE))

        async def has_left() -> bool:
            return len(await stage.levers.requests("POST", "/order", **SELL)) == 2

        await until_true(has_left)
        await stage.levers.price(BTC, "96600")

        async def is_taken_back() -> bool:
            return bool(await told(application, "close_overshot")) and await stage.levers.position(BTC) == 0

        await until_true(is_taken_back)
        await halving
        assert await stage.levers.open_orders(BTC) == []


async def test_a_decrease_finds_a_maximum_that_the_exchange_does_not_tell(stage: Arena) -> None:
    """O7: halved until it is taken, as a close is."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        stage.limit_market_orders(BTC, "0.003", is_told=False)
        assert (await decide(service, HALVE)).results[0].status is AssetStatus.ADJUSTED
        assert await stage.levers.position(BTC) == Decimal("0.005")
        assert await resting_stops(stage, BTC) == [Decimal("0.005")]
