"""Stop and target: when they count as there, what moves them, what refusals mean (P1, P2, P4, P5, P7, P8, P10)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, sell, settled, until_true

from app.bootstrap import Application
from app.schemas.result import AssetStatus

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
TARGET = {"method": "POST", "path": "/order", "params": {"type": "TAKE_PROFIT_MARKET"}}
TOO_MANY: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}


async def alerts(application: Application) -> list[str]:
    return [
        one.event.data["code"]
        for one in await application.events.after(0, 1_000)
        if one.event.type.value == "AlertRaised"
    ]


@pytest.mark.parametrize(("price", "reason"), [("93900", "stop_loss"), ("99100", "take_profit")])
async def test_a_price_that_passed_an_exit_before_the_fill_closes_at_once(
    stage: Arena, price: str, reason: str
) -> None:
    """P1, P7: planned on the right side, but the market moved while the entry was on its way; the venue says -2021."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "delay_before", "seconds": 1}, **ENTRY)
        deciding = asyncio.create_task(decide(application.service("default"), buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET"))
        await stage.levers.price(BTC, price)
        trade = await settled(application, (await deciding).results[0].trade_id)
        assert trade.close_reason == reason
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []


@pytest.mark.parametrize("code", [-2021, -4142])
@pytest.mark.parametrize(("leg", "reason"), [(STOP, "stop_loss"), (TARGET, "take_profit")], ids=["stop", "target"])
async def test_an_immediate_trigger_is_an_exit_that_was_hit(
    stage: Arena, leg: dict[str, Any], reason: str, code: int
) -> None:
    """P1: in either of the exchange's words, for either exit."""
    async with stage.application() as application:
        await stage.levers.fault(
            {"type": "error", "status": 400, "code": code, "msg": "Order would immediately trigger."}, **leg
        )
        result = (await decide(application.service("default"), buy())).results[0]
        assert (await settled(application, result.trade_id)).close_reason == reason


async def test_the_deadline_closes_the_position_with_attempts_left(stage: Arena) -> None:
    """P2: whichever ends first."""
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="1000", TES_PROTECTION_DEADLINE_SECONDS="1"
    ) as application:
        await stage.levers.fault(TOO_MANY, count=0, **STOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.EMERGENCY_CLOSED
        assert await stage.levers.position(BTC) == 0
        assert "protection_failed" in await alerts(application)


async def test_the_pauses_between_attempts_grow(stage: Arena) -> None:
    """P2: base * 2^n * U(0.5, 1)."""
    async with stage.application(TES_PROTECTION_BASE_DELAY_SECONDS="0.1") as application:
        await stage.levers.fault(TOO_MANY, count=4, **STOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        sent = [row["time_us"] for row in await stage.levers.requests("POST", "/order", type="STOP_MARKET")]
        pauses_s = [(later - earlier) / 1e6 for earlier, later in pairwise(sent)]
        assert len(pauses_s) == 4
        assert pauses_s[-1] >= 0.4


async def test_a_target_refused_for_good_keeps_the_stop_from_nothing(stage: Arena) -> None:
    """P4: one leg fails, the other is placed at once."""
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="2", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        await stage.levers.fault(TOO_MANY, count=0, **TARGET)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PARTIALLY_PROTECTED
        assert result.error is not None
        assert "take profit" in result.error.message
        assert [row["type"] for row in await stage.levers.open_orders(BTC)] == ["STOP_MARKET"]


async def test_protected_is_said_when_the_exchange_has_shown_the_stop(stage: Arena) -> None:
    """P5: not when it was sent."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "delay_before", "seconds": 1}, **STOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert len(await stage.levers.open_orders(BTC)) == 2


async def test_a_stop_that_was_taken_away_comes_back_with_an_alert(stage: Arena) -> None:
    """P5."""
    async with stage.application() as application:
        await decide(application.service("default"), buy())
        (stop,) = await stage.levers.orders(type="STOP_MARKET")
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(stop["orderId"])})
        await until_true(lambda: stage.levers.orders(type="STOP_MARKET", status="NEW"))
        assert len(await stage.levers.orders(type="STOP_MARKET")) == 2
        assert "protection_disappeared" in await alerts(application)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (buy(sl_price=97_000), "stop_loss_invalid"),
        (buy(tp_price=95_000), "take_profit_invalid"),
        (sell(sl_price=3_300), "stop_loss_invalid"),
        (sell(tp_price=3_500), "take_profit_invalid"),
    ],
    ids=["long stop", "long target", "short stop", "short target"],
)
async def test_an_exit_on_the_wrong_side_of_the_mark_is_refused_at_planning(
    stage: Arena, wish: dict[str, Any], code: str
) -> None:
    """P7."""
    async with stage.application() as application:
        result = (await decide(application.service("default"), wish)).results[0]
        assert result.status is AssetStatus.REJECTED
        assert result.error is not None
        assert result.error.code == code
        assert await stage.levers.requests("POST", "/order") == []


async def test_the_first_frame_of_a_trigger_is_not_the_end_of_the_stop(stage: Arena) -> None:
    """P8: EXPIRED with nothing executed arrives, the rest of the burst a second later."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        result = (await decide(application.service("default"), buy())).results[0]
        await stage.levers.fault({"type": "delay_events", "seconds": 1}, count=0, skip=1, event="ORDER_TRADE_UPDATE")
        await stage.levers.price(BTC, "93900")
        assert (await settled(application, result.trade_id)).close_reason == "stop_loss"
        assert len(await stage.levers.requests("POST", "/order", type="STOP_MARKET")) == 1
        assert "protection_disappeared" not in await alerts(application)


async def test_a_reduced_position_is_never_without_a_stop(stage: Arena) -> None:
    """P10: the new stop is on the book before the old one is taken off."""
    async with stage.application() as application:
        await decide(application.service("default"), buy())
        (old,) = await stage.levers.orders(type="STOP_MARKET")
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.004", reduceOnly="true")
        await until_true(lambda: stage.levers.orders(orderId=old["orderId"], status="CANCELED"))
        await until_true(lambda: stage.levers.orders(type="STOP_MARKET", status="NEW"))
        _, new = await stage.levers.requests("POST", "/order", type="STOP_MARKET")
        taken_off = next(
            row
            for row in await stage.levers.requests("DELETE", "/order")
            if row["client_order_id"] == old["clientOrderId"]
        )
        assert new["params"]["quantity"] == "0.006"
        assert new["sequence"] < taken_off["sequence"]


async def test_a_new_target_refused_because_the_old_one_covers_the_position_takes_its_place(stage: Arena) -> None:
    """P10: a resting reduce-only limit makes the venue answer -2022 to a second one."""
    async with stage.application(TES_PROTECTION_TP_TYPE="LIMIT") as application:
        await decide(application.service("default"), buy())
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.004")

        async def is_resized() -> bool:
            rest = await stage.levers.open_orders(BTC)
            return [Decimal(row["origQty"]) for row in rest] == [Decimal("0.006")] * 2

        await until_true(is_resized)
        targets = await stage.levers.requests("POST", "/order", type="LIMIT")
        assert -2022 in [row["code"] for row in targets]
        assert {row["type"] for row in await stage.levers.open_orders(BTC)} == {"STOP_MARKET", "LIMIT"}


async def test_a_target_that_is_not_in_the_way_stays_while_the_stop_is_missing(stage: Arena) -> None:
    """P4: the stop is refused for want of room, and the target was not what took it."""
    full: dict[str, Any] = {"type": "error", "status": 400, "code": -2022, "msg": "ReduceOnly Order is rejected."}
    async with stage.application(
        TES_PROTECTION_BASE_DELAY_SECONDS="0.1", TES_PROTECTION_MAX_ATTEMPTS="1000"
    ) as application:
        await stage.levers.fault(full, count=5, **STOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        targets = await stage.levers.requests("POST", "/order", type="TAKE_PROFIT_MARKET")
        assert len(targets) <= 2  # taken off once, to find out
        stops = await stage.levers.requests("POST", "/order", type="STOP_MARKET")
        assert targets[-1]["sequence"] < stops[-1]["sequence"]
