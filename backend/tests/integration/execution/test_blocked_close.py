"""A close that the exchange refuses for the sake of orders that are not ours (O8, P13)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.trades import CloseReason
from app.schemas.result import AssetStatus

CLOSE = {"asset": BTC, "action": "close_position"}
SELL = {"type": "MARKET", "side": "SELL"}
MARKET = {"method": "POST", "path": "/order", "params": SELL}
NOOP = {"method": "POST", "path": "/noop"}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
FULL: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
THEIRS = {"symbol": BTC, "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}


async def rests(stage: Arena, side: str = "SELL", **changes: str) -> int:
    """A person's limit on the side that closes ours; its number at the exchange."""
    price = {"SELL": "97900", "BUY": "94100"}[side]
    order = await stage.levers.by_hand(**(THEIRS | {"side": side, "price": price} | changes))
    return int(order["orderId"])


async def told(application: Application, code: str) -> list[str]:
    """Texts of the alerts of one code."""
    events = await application.events.after(0, 1_000)
    return [one.event.data["message"] for one in events if one.event.data.get("code") == code]


async def stop_outlived_the_position(stage: Arena) -> None:
    """Our stop was canceled after the last execution, or not at all."""
    last = max(row["time"] for row in await stage.levers.fills())
    for stop in await stage.levers.orders(symbol=BTC, type="STOP_MARKET"):
        assert stop["status"] == "NEW" or stop["updateTime"] >= last


@pytest.mark.parametrize("reduce_only", ["true", "false"])
@pytest.mark.parametrize(("wish", "side"), [(buy(), "SELL"), (sell(BTC, sl_price=98_000, tp_price=94_000), "BUY")])
async def test_a_foreign_limit_does_not_keep_us_in(
    stage: Arena, wish: dict[str, Any], side: str, reduce_only: str
) -> None:
    """O8, P13: closed with the stop in place to the end; theirs stays, and is named."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, wish)
        number = await rests(stage, side, reduceOnly=reduce_only)
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        closes = await stage.levers.requests("POST", "/order", type="MARKET", side=side)
        assert [(row["code"], "reduceOnly" in row["params"]) for row in closes] == [(-2022, True), (None, False)]
        assert str(number) in (await told(application, "close_blocked"))[0]
        await stop_outlived_the_position(stage)
        if reduce_only == "false":
            assert [row["orderId"] for row in await stage.levers.open_orders(BTC)] == [number]


@pytest.mark.parametrize("way", ["by hand", "all", "flatten"])
async def test_each_way_out_gets_past_a_foreign_limit(stage: Arena, way: str) -> None:
    """O8."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await rests(stage)
        if way == "by hand":
            await service.close_position(BTC)
        elif way == "all":
            await service.close_all(CloseReason.MANUAL)
        else:
            await service.halt("test", flatten=True)
        assert await stage.levers.position(BTC) == 0
        await stop_outlived_the_position(stage)


@pytest.mark.long
async def test_a_flip_gets_past_a_foreign_limit(stage: Arena) -> None:
    """O8."""
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        service = application.service("default")
        await decide(service, buy())
        await rests(stage)
        result = (await decide(service, sell(BTC, sl_price=98_000, tp_price=94_000))).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert await stage.levers.position(BTC) == Decimal("-0.010")


async def test_an_emergency_close_gets_past_a_foreign_limit(stage: Arena) -> None:
    """O8, P3."""
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="2", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        await stage.levers.fault(FULL, count=0, **STOP)
        await rests(stage)
        result = (await decide(application.service("default"), buy(tp_price=None))).results[0]
        assert result.status is AssetStatus.EMERGENCY_CLOSED
        assert await stage.levers.position(BTC) == 0


@pytest.mark.long
async def test_by_policy_the_foreign_limit_is_canceled_by_name(stage: Arena) -> None:
    """O8: ``cancel``; and no other order of theirs."""
    async with stage.application(TES_PROTECTION_FOREIGN_ORDERS="cancel") as application:
        service = application.service("default")
        await decide(service, buy())
        number = await rests(stage)
        other = await rests(stage, "BUY")
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert [row["orderId"] for row in await stage.levers.open_orders(BTC)] == [other]
        assert str(number) in (await told(application, "close_blocked"))[0]
        assert {row["params"]["reduceOnly"] for row in await stage.levers.requests("POST", "/order", **SELL)} == {
            "true"
        }


@pytest.mark.parametrize(
    ("target", "exits"), [("LIMIT", {"STOP_MARKET"}), ("TAKE_PROFIT_MARKET", {"STOP_MARKET", "TAKE_PROFIT_MARKET"})]
)
async def test_by_policy_it_is_told_and_our_exits_stay(stage: Arena, target: str, exits: set[str]) -> None:
    """O8, P13: ``alert``; once theirs is gone, it is closed. A target at a limit finds no room beside theirs."""
    changes = {"TES_PROTECTION_FOREIGN_ORDERS": "alert", "TES_PROTECTION_TP_TYPE": target}
    async with stage.application(**changes) as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        number = await rests(stage)
        closing = asyncio.create_task(decide(service, CLOSE))
        await until_true(lambda: told(application, "close_blocked"))

        async def is_restored() -> bool:
            resting = {row["type"] for row in await stage.levers.open_orders(BTC) if row["orderId"] != number}
            return resting == exits

        await until_true(is_restored)
        assert await stage.levers.position(BTC) == Decimal("0.010")
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(number)})
        assert (await closing).results[0].status is AssetStatus.CLOSED
        await stop_outlived_the_position(stage)
        assert await stage.levers.open_orders(BTC) == []
        await settled(application, opened.trade_id)


async def test_an_overshoot_by_a_race_is_taken_back_and_told(stage: Arena) -> None:
    """O8: theirs is executed between our last look at the position and the arrival of our order."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await rests(stage, price="96500", quantity="0.012")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.6}, skip=1, **MARKET)
        closing = asyncio.create_task(decide(service, CLOSE))

        async def has_left() -> bool:
            return len(await stage.levers.requests("POST", "/order", **SELL)) == 2

        await until_true(has_left)
        await stage.levers.price(BTC, "96600")
        assert (await closing).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == Decimal("-0.002")  # what their own order opened is theirs
        assert len(await told(application, "close_overshot")) == 1
        trade = await settled(application, opened.trade_id)
        assert (trade.overshoot, trade.taken_back) == (Decimal("0.010"), Decimal("0.010"))


@pytest.mark.long
async def test_a_plain_close_without_an_answer_is_found_not_repeated(stage: Arena) -> None:
    """O8: also by the next process; another one would open the other side."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await rests(stage)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, skip=1, **MARKET)
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert (await stored(application, opened.trade_id)).exposure == 0
        assert len(await stage.levers.requests("POST", "/order", **SELL)) == 2


async def test_a_plain_close_in_doubt_is_not_repeated_before_its_fence(stage: Arena) -> None:
    """O8: the position is just as we left it, and the first one may still be on its way."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await rests(stage)
        await stage.levers.fault({"type": "error", "status": 400, "code": -4225}, count=0, **NOOP)
        await stage.levers.fault({"type": "error", "status": 503}, skip=1, **MARKET)
        closing = asyncio.create_task(decide(service, CLOSE))
        await until(lambda: any(age_s > 1 for age_s in service.vital_signs().unknown_orders_s))
        assert len(await stage.levers.requests("POST", "/order", **SELL)) == 2
        closing.cancel()


@pytest.mark.long
async def test_a_plain_close_that_a_dead_process_had_sent_is_not_sent_again(stage: Arena) -> None:
    """O8, C1: its intent is on record before it leaves, and the next process asks what became of it."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await rests(stage)
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, skip=1, **MARKET)
        closing = asyncio.create_task(decide(service, CLOSE))

        async def has_left() -> bool:
            return len(await stage.levers.requests("POST", "/order", **SELL)) == 2

        await until_true(has_left)
        closing.cancel()
    async with stage.application() as application:
        trade = await settled(application, opened.trade_id)
        assert trade.overshoot == 0
        assert await stage.levers.position(BTC) == 0
        assert len(await stage.levers.requests("POST", "/order", **SELL)) == 2


@pytest.mark.long
async def test_in_hedge_mode_a_foreign_limit_is_told_and_the_stop_stays(stage: Arena) -> None:
    """O8: no order of a position side can be plainer than ours."""
    await stage.levers.call("POST", "/modes", {"account": "default", "hedge": True})
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        number = await rests(stage, positionSide="LONG")
        closing = asyncio.create_task(decide(service, CLOSE))
        await until_true(lambda: told(application, "close_blocked"))
        assert [row["status"] for row in await stage.levers.orders(type="STOP_MARKET")] == ["NEW"]
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(number)})
        assert (await closing).results[0].status is AssetStatus.CLOSED
