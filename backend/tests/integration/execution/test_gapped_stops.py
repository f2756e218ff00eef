"""A stop that triggered and did not fill is no protection: the position is closed at market (P11)."""

from __future__ import annotations

from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled

from app.schemas.result import AssetStatus

LIMIT_STOP = {"TES_PROTECTION_SL_TYPE": "STOP", "TES_RECONCILE_INTERVAL_SECONDS": "600"}


@pytest.mark.parametrize(
    ("wish", "symbol", "beyond"), [(buy(), BTC, "92000"), (sell(), ETH, "3600")], ids=["long", "short"]
)
async def test_a_limit_stop_that_was_gapped_through_closes_at_market(
    stage: Arena, wish: dict[str, Any], symbol: str, beyond: str
) -> None:
    async with stage.application(**LIMIT_STOP) as application:
        result = (await decide(application.service("default"), wish)).results[0]
        assert result.status is AssetStatus.PROTECTED
        await stage.levers.price(symbol, beyond)
        (stop,) = await stage.levers.orders(origType="STOP")
        assert (stop["type"], stop["status"]) == ("LIMIT", "NEW")  # triggered, and out of reach
        assert (await settled(application, result.trade_id)).close_reason == "stop_loss"
        assert await stage.levers.position(symbol) == 0
        assert await stage.levers.open_orders(symbol) == []


async def test_a_gap_that_only_a_read_shows_closes_too(stage: Arena) -> None:
    """The frames of the trigger are lost: the open orders tell that the stop has become a limit."""
    async with stage.application(**LIMIT_STOP | {"TES_RECONCILE_INTERVAL_SECONDS": "1"}) as application:
        result = (await decide(application.service("default"), buy())).results[0]
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.price(BTC, "92000")
        assert (await settled(application, result.trade_id)).close_reason == "stop_loss"
        assert await stage.levers.position(BTC) == 0


async def test_a_gapped_stop_is_closed_after_a_restart(stage: Arena) -> None:
    async with stage.application(**LIMIT_STOP) as application:
        result = (await decide(application.service("default"), buy())).results[0]
    await stage.levers.price(BTC, "92000")
    async with stage.application(**LIMIT_STOP) as application:
        assert (await settled(application, result.trade_id)).close_reason == "stop_loss"
        assert await stage.levers.position(BTC) == 0


async def test_a_limit_stop_that_fills_is_not_closed_beside(stage: Arena) -> None:
    """The limit lies beyond the trigger, within reach: it fills, and no close is sent."""
    async with stage.application(**LIMIT_STOP) as application:
        result = (await decide(application.service("default"), buy())).results[0]
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, result.trade_id)
        assert trade.close_reason == "stop_loss"
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1  # the entry
