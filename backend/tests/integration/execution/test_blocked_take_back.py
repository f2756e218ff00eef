"""What a plain close opened on the other side, and what is in the way of taking it back (O8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, until_true
from test_blocked_close import CLOSE, MARKET, SELL, rests, told

from app.bootstrap import Application
from app.schemas.result import AssetStatus


async def overshooting(stage: Arena, application: Application) -> asyncio.Task[Any]:
    """A plain close that a race makes go 0.010 too far, while somebody rests a limit on the other side as well."""
    await decide(application.service("default"), buy())
    await rests(stage, price="96500")
    await rests(stage, "BUY", price="92000")
    await stage.levers.fault({"type": "delay_before", "seconds": 0.6}, skip=1, **MARKET)
    closing = asyncio.create_task(decide(application.service("default"), CLOSE))

    async def has_left() -> bool:
        return len(await stage.levers.requests("POST", "/order", **SELL)) == 2

    await until_true(has_left)
    await stage.levers.price(BTC, "96600")
    return closing


async def test_a_take_back_that_a_foreign_order_covers_is_plain(stage: Arena) -> None:
    """O8: who rests orders on both sides does not keep us on the other one; told once, and theirs stays."""
    async with stage.application() as application:
        closing = await overshooting(stage, application)
        assert (await closing).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        rows = await stage.levers.requests("POST", "/order", type="MARKET", side="BUY")
        assert [(row["code"], "reduceOnly" in row["params"]) for row in rows[1:]] == [(-2022, True), (None, False)]
        assert len(await told(application, "close_overshot")) == 1
        assert len(await told(application, "close_blocked")) == 2
        assert [row["side"] for row in await stage.levers.open_orders(BTC)] == ["BUY"]


@pytest.mark.long
async def test_a_take_back_that_goes_too_far_is_closed(stage: Arena) -> None:
    """O8: their order is executed in the moment in which the plain take-back arrives."""
    async with stage.application() as application:
        take_back = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
        closing = await overshooting(stage, application)
        await stage.levers.fault({"type": "delay_before", "seconds": 0.6}, skip=1, **take_back)

        async def has_left() -> bool:
            return len(await stage.levers.requests("POST", "/order", type="MARKET", side="BUY")) == 3

        await until_true(has_left)
        await stage.levers.price(BTC, "91900")
        result = (await closing).results[0]
        assert result.status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        trade = await settled(application, result.trade_id)
        assert (trade.exposure, trade.overshoot - trade.taken_back) == (0, 0)
        assert len(await stage.levers.requests("POST", "/order", **SELL)) == 3


@pytest.mark.long
async def test_by_policy_the_order_that_covers_a_take_back_is_canceled(stage: Arena) -> None:
    """O8: ``cancel``, where an overshoot is left of the time before it."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "error", "status": 503}, count=0, method="POST", path="/order",
                                 params={"type": "MARKET", "side": "BUY", "reduceOnly": "true"})  # fmt: skip
        closing = await overshooting(stage, application)
        await until_true(lambda: told(application, "close_overshot"))
        closing.cancel()
    await stage.levers.heal()
    async with stage.application(TES_PROTECTION_FOREIGN_ORDERS="cancel") as application:

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)
        assert await stage.levers.open_orders(BTC) == []
        assert all("reduceOnly" in row["params"] for row in
                   (await stage.levers.requests("POST", "/order", type="MARKET", side="BUY"))[1:])  # fmt: skip
