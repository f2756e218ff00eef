"""Positions larger than one market order may be (O7)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, sell, stored, until_true

from app.bootstrap import Application
from app.domain.ids import OrderRole
from app.domain.trades import CloseReason
from app.schemas.result import AssetResult, AssetStatus

CLOSE = {"asset": BTC, "action": "close_position"}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
FULL: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
ADDS = {"TES_RISK_ON_EXISTING_POSITION": "add"}
FLIPS = {"TES_RISK_ON_EXISTING_POSITION": "flip"}


async def twice(application: Application) -> AssetResult:
    """A position of 0.020, by two entries of 0.010 each, which is the most that an order may be."""
    service = application.service("default")
    await decide(service, buy())
    return (await decide(service, buy())).results[0]


async def closes(stage: Arena, side: str = "SELL") -> list[tuple[str, int | None]]:
    """Quantity and refusal of every market order that was to close."""
    rows = await stage.levers.requests("POST", "/order", type="MARKET", side=side, reduceOnly="true")
    return [(row["params"]["quantity"], row["code"]) for row in rows]


@pytest.mark.parametrize("way", ["decision", "by hand", "all", "flatten"])
async def test_a_position_above_the_maximum_is_closed_in_parts(stage: Arena, way: str) -> None:
    """O7: each an order of its own, none above the maximum."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS) as application:
        service = application.service("default")
        opened = await twice(application)
        if way == "decision":
            assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        elif way == "by hand":
            assert (await service.close_position(BTC)).status is AssetStatus.CLOSED
        elif way == "all":
            await service.close_all(CloseReason.MANUAL)
        else:
            await service.halt("test", flatten=True)
        assert await stage.levers.position(BTC) == 0
        assert await closes(stage) == [("0.01", None), ("0.01", None)]
        trade = await stored(application, opened.trade_id)
        assert len({order.client_order_id for order in trade.orders_of(OrderRole.CLOSE)}) == 2


async def test_an_emergency_close_goes_in_parts(stage: Arena) -> None:
    """O7, P3."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(
        **ADDS, TES_PROTECTION_MAX_ATTEMPTS="1", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault(FULL, count=0, **STOP)
        await decide(service, buy())

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)
        assert await closes(stage) == [("0.01", None), ("0.01", None)]


async def test_a_flip_closes_in_parts(stage: Arena) -> None:
    """O7."""
    async with stage.application(**ADDS) as application:
        await twice(application)
    stage.limit_market_orders(BTC, "0.012")
    async with stage.application(**FLIPS) as application:
        service = application.service("default")
        result = (await decide(service, sell(BTC, sl_price=98_000, tp_price=94_000))).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert await closes(stage) == [("0.012", None), ("0.008", None)]
        assert await stage.levers.position(BTC) == Decimal("-0.010")


async def test_a_maximum_that_the_exchange_does_not_tell_is_found(stage: Arena) -> None:
    """O7: -4005 means parts."""
    async with stage.application(**ADDS) as application:
        await twice(application)
        stage.limit_market_orders(BTC, "0.006", is_told=False)
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert (await closes(stage))[:3] == [("0.02", -4005), ("0.01", -4005), ("0.005", None)]


async def test_a_maximum_that_we_do_not_know_yet_is_read(stage: Arena) -> None:
    """O7, H8: the refusal has the exchange's rules read anew, so that nothing is guessed."""
    async with stage.application(**ADDS) as application:
        await twice(application)
        stage.limit_market_orders(BTC, "0.006")
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert (await closes(stage))[:2] == [("0.02", -4005), ("0.006", None)]


@pytest.mark.long
@pytest.mark.parametrize("obeys", [True, False])
async def test_a_stop_above_the_maximum_gets_us_out_either_way(stage: Arena, obeys: bool) -> None:
    """O7: should the exchange hold triggered orders to it, the stop ends unexecuted, and the position is closed."""
    await stage.levers.call("POST", "/rules", {"triggers_obey_market_maximum": obeys})
    async with stage.application(**ADDS) as application:
        opened = await twice(application)
        stage.limit_market_orders(BTC, "0.008")
        await stage.levers.price(BTC, "93900")

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)

        async def is_closed() -> bool:
            return (await stored(application, opened.trade_id)).close_reason is CloseReason.STOP_LOSS

        await until_true(is_closed)


async def test_a_part_of_unknown_fate_holds_the_next_ones_back(stage: Arena) -> None:
    """O7, U9: the position is looked at first, and nothing is closed twice."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS) as application:
        await twice(application)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        sale = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
        await stage.levers.fault({"type": "drop_after"}, skip=1, **sale)
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert sum(Decimal(row["qty"]) for row in await stage.levers.fills() if row["side"] == "SELL") == Decimal(
            "0.02"
        )


@pytest.mark.long
async def test_the_next_process_goes_on_with_the_parts(stage: Arena) -> None:
    """O7, C1: what the dead one had sent is not sent again into what others hold."""
    stage.limit_market_orders(BTC, "0.010")
    sale = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
    async with stage.application(**ADDS) as application:
        await twice(application)
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.010")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.3}, skip=1, **sale)
        closing = asyncio.create_task(decide(application.service("default"), CLOSE))
        await until_true(lambda: second_left(stage))
        closing.cancel()
    async with stage.application(**ADDS):

        async def is_closed() -> bool:
            return await stage.levers.position(BTC) == Decimal("0.010")

        await until_true(is_closed)
        await asyncio.sleep(0)
        assert len(await closes(stage)) == 2


async def second_left(stage: Arena) -> bool:
    return len(await closes(stage)) == 2
