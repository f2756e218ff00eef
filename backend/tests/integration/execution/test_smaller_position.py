"""A position that became smaller while its stop can't: the larger stop bounds the loss, so nothing is closed (P14)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, until_true
from test_missing_target import FAST, FULL, STOP, alerts, crowd

from app.bootstrap import Application
from app.schemas.result import AssetStatus

HALF = Decimal("0.005")
HALVE = {
    "asset": BTC,
    "action": "adjust_position",
    "position_adjustment": {"adjustment_type": "decrease", "adjustment_percentage": 50},
}
DOWN: dict[str, Any] = {"type": "error", "status": 503, "msg": "Service Unavailable"}
KINDS: dict[str, dict[str, Any]] = {
    "stop": {"tp_price": None},
    "trailing": {"tp_price": None, "sl_price": None, "trailing_stop": {"callback_rate": 2}},
}


async def sell_by_hand(stage: Arena, quantity: str) -> None:
    await stage.levers.by_hand(symbol=BTC, side="SELL", quantity=quantity, reduceOnly="true")


async def ours(stage: Arena) -> list[Decimal]:
    """The sizes of our conditional orders on the book."""
    rows = await stage.levers.open_orders(BTC)
    return [
        Decimal(row["origQty"])
        for row in rows
        if row["clientOrderId"].startswith("tes.") and row["origType"] != "LIMIT"
    ]


async def until_told(application: Application) -> None:
    async def is_told() -> bool:
        return "exit_for_too_much" in await alerts(application)

    await until_true(is_told)


@pytest.mark.parametrize("by", ["decision", "hand"])
@pytest.mark.parametrize("kind", list(KINDS))
async def test_without_a_place_for_the_smaller_stop_the_larger_one_stays(stage: Arena, kind: str, by: str) -> None:
    """It is told once, and the smaller one comes as soon as there is a place."""
    async with stage.application(**FAST) as application:
        service = application.service("default")
        opened = (await decide(service, buy(**KINDS[kind]))).results[0]
        assert opened.status is AssetStatus.PROTECTED
        placed = await crowd(stage, 9)
        if by == "decision":
            result = (await decide(service, HALVE)).results[0]
            assert (result.status, result.success) == (AssetStatus.PARTIALLY_PROTECTED, False)
            assert result.error is not None
            assert result.error.code == "exchange_rejected"
            assert "rests for more than the 0.005 held" in result.error.message
        else:
            await sell_by_hand(stage, str(HALF))
        await until_told(application)
        assert await stage.levers.position(BTC) == HALF
        assert await ours(stage) == [2 * HALF]
        told = await alerts(application)
        assert (told.count("exit_for_too_much"), "protection_failed" in told) == (1, False)
        for row in placed[:2]:
            await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(row["orderId"])})
        assert (await settled(application, opened.trade_id, "open")).error is None
        assert HALF in await ours(stage)


async def test_a_target_at_a_limit_beside_the_larger_stop_closes_nothing(stage: Arena) -> None:
    async with stage.application(**FAST, TES_PROTECTION_TP_TYPE="LIMIT") as application:
        opened = (await decide(application.service("default"), buy())).results[0]
        assert opened.status is AssetStatus.PROTECTED
        await crowd(stage, 9)
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.003")  # beside the target no reduce-only fits
        await until_told(application)
        assert await stage.levers.position(BTC) == Decimal("0.007")
        assert await ours(stage) == [Decimal("0.010")]


@pytest.mark.parametrize("policy", ["alert", "close"])
async def test_a_deadline_that_passes_without_the_smaller_stop_closes_nothing(stage: Arena, policy: str) -> None:
    """The operator may want positions without their target closed; here every exit rests."""
    settings = {"TES_PROTECTION_DEADLINE_SECONDS": "0.5", "TES_PROTECTION_ON_TP_FAILURE": policy}
    async with stage.application(**FAST, **settings) as application:
        opened = (await decide(application.service("default"), buy(tp_price=None))).results[0]
        await stage.levers.fault(DOWN, count=0, **STOP)
        await sell_by_hand(stage, str(HALF))
        await until_told(application)
        assert await stage.levers.position(BTC) == HALF
        await stage.levers.heal()
        assert (await settled(application, opened.trade_id, "open")).error is None
        assert await ours(stage) == [HALF]


async def test_the_larger_stop_that_goes_leaves_a_position_without_a_stop(stage: Arena) -> None:
    """P2, P5: it has its deadline, and is closed."""
    async with stage.application(**FAST, TES_PROTECTION_DEADLINE_SECONDS="0.5") as application:
        opened = (await decide(application.service("default"), buy(tp_price=None))).results[0]
        await stage.levers.fault(FULL, count=0, **STOP)
        await sell_by_hand(stage, str(HALF))
        await until_told(application)
        (stop,) = await stage.levers.open_orders(BTC)
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(stop["orderId"])})
        assert (await settled(application, opened.trade_id)).close_reason == "emergency"
        assert await stage.levers.position(BTC) == 0


async def test_other_entries_go_on_beside_a_stop_for_more_than_is_held(stage: Arena) -> None:
    async with stage.application(**FAST) as application:
        service = application.service("default")
        await decide(service, buy(tp_price=None))
        await crowd(stage, 9)
        await sell_by_hand(stage, str(HALF))
        await until_told(application)
        other = buy("ETHUSDT", tp_price=3_600, sl_price=3_300)
        assert (await decide(service, other)).results[0].status is AssetStatus.PROTECTED
