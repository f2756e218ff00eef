"""On the way out: siblings, blocked closes, closes of unknown fate (O1, O3, O4, O6, U5, U9)."""

from __future__ import annotations

import asyncio
from typing import Any

from arena import BTC, Arena, buy, decide, settled, until_true

from app.schemas.result import AssetStatus

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
SELL = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
CANCEL = {"method": "DELETE", "path": "/order"}
LOOK = {"method": "GET", "path": "/order"}
BULK = {"method": "GET", "path": "/openOrders"}
CLOSE = {"asset": BTC, "action": "close_position"}
DOWN: dict[str, Any] = {"type": "error", "status": 503}
GONE: dict[str, Any] = {"type": "error", "status": 400, "code": -2011, "msg": "Unknown order sent."}
ABSENT: dict[str, Any] = {"type": "error", "status": 400, "code": -2013, "msg": "Order does not exist."}


async def no_help_from_reconciliation(stage: Arena) -> None:
    """Bulk reads fail, so that a trade must look after itself."""
    await stage.levers.fault(DOWN, count=0, **BULK)


async def test_a_trade_is_not_closed_while_its_sibling_rests(stage: Arena) -> None:
    """O1, O3: the cancel is refused (-2011) although the target is there; only a query tells."""
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
        await stage.levers.fault(GONE, **CANCEL)
        await stage.levers.price(BTC, "93900")
        await settled(application, result.trade_id)
        assert await stage.levers.open_orders(BTC) == []


async def test_a_cancel_without_an_answer_is_asked_after(stage: Arena) -> None:
    """O1: canceled and confirmed gone."""
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
        await stage.levers.fault({"type": "drop_before"}, **CANCEL)
        await stage.levers.price(BTC, "93900")
        await settled(application, result.trade_id)
        assert await stage.levers.open_orders(BTC) == []


async def test_no_entry_before_the_sibling_of_the_last_trade_is_gone(stage: Arena) -> None:
    """O1: before the next entry on the asset no order of ours rests there."""
    async with stage.application() as application:
        service = application.service("default")
        first = (await decide(service, buy())).results[0]
        await stage.levers.fault({"type": "delay_before", "seconds": 2}, **CANCEL)
        await stage.levers.price(BTC, "93900")
        await until_true(lambda: stage.levers.requests("DELETE", "/order"))
        assert await stage.levers.position(BTC) == 0
        wish = buy(sl_price=92_000, tp_price=95_000)
        early = (await decide(service, wish)).results[0]
        assert early.error is not None
        assert early.error.code == "position_exists"
        await settled(application, first.trade_id)
        assert await stage.levers.open_orders(BTC) == []
        assert (await decide(service, wish)).results[0].status is AssetStatus.PROTECTED


async def test_a_resting_target_that_blocks_the_close_is_freed(stage: Arena) -> None:
    """O4: a full-size reduce-only limit makes the venue refuse the close (-2022)."""
    async with stage.application(TES_PROTECTION_TP_TYPE="LIMIT") as application:
        service = application.service("default")
        await decide(service, buy())
        closed = (await decide(service, CLOSE)).results[0]
        assert closed.status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        closes = await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")
        assert [row["code"] for row in closes] == [-2022, None]


async def test_looking_again_and_again_places_nothing_twice(stage: Arena) -> None:
    """O6: while a stop is on its way, whatever happens asks for no second one."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 1.5}, **STOP)
        deciding = asyncio.create_task(decide(service, buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="STOP_MARKET"))
        for _ in range(5):
            await service.reconcile()
        assert (await deciding).results[0].status is AssetStatus.PROTECTED
        for _ in range(5):
            await service.reconcile()
        assert len(await stage.levers.requests("POST", "/order", type="STOP_MARKET")) == 1
        assert len(await stage.levers.requests("POST", "/order", type="TAKE_PROFIT_MARKET")) == 1


async def test_no_id_is_used_twice_for_what_was_refused(stage: Arena) -> None:
    """U5: any verdict takes the next attempt, of exits and of closes."""
    async with stage.application() as application:
        service = application.service("default")
        full: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
        thin: dict[str, Any] = {"type": "error", "status": 400, "code": -4131, "msg": "no counterparty"}
        await stage.levers.fault(full, count=2, **STOP)
        await stage.levers.fault(thin, count=2, **SELL)
        await decide(service, buy())
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        sent = [row["client_order_id"] for row in await stage.levers.requests("POST", "/order")]
        assert len(sent) == len(set(sent)) >= 7


async def test_a_close_of_unknown_fate_asks_for_the_position_before_anything_else(stage: Arena) -> None:
    """U9: it was executed, so there is no second request."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await no_help_from_reconciliation(stage)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, **SELL)
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")) == 1


async def test_flat_is_success_while_the_close_itself_can_not_be_found(stage: Arena) -> None:
    """U9: the exchange does not show the order yet, but the position is gone, and so are its exits at once."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await no_help_from_reconciliation(stage)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, **SELL)
        await stage.levers.fault(ABSENT, count=0, **LOOK, params={"origClientOrderId": f"tes.{opened.trade_id}.c1"})
        closing = asyncio.create_task(decide(service, CLOSE))

        async def is_cleaned_up() -> bool:
            return await stage.levers.position(BTC) == 0 and await stage.levers.open_orders(BTC) == []

        await until_true(is_cleaned_up)
        await stage.levers.heal()
        assert (await closing).results[0].status is AssetStatus.CLOSED
        assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")) == 1
