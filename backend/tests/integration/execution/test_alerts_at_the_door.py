"""What an alert of TradingView means for what is held: a partial exit reduces, and never opens or turns anything."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, resting_stops, sell

from app.bootstrap import Application
from app.domain.events import EventType
from app.schemas.result import AssetResult, AssetStatus
from app.schemas.tradingview import parse_alert
from support.patience import PATIENCE_S

SIDES = pytest.mark.parametrize("side", ["long", "short"])
ENTRY = {"long": "buy", "short": "sell"}
EXIT = {"long": "sell", "short": "buy"}
OTHER = {"long": "short", "short": "long"}
OPENED = {"long": buy(BTC), "short": sell(BTC, tp_price=93000, sl_price=98000)}


async def alerted(application: Application, **fields: Any) -> AssetResult:
    """What becomes of an alert that arrives now."""
    said = {"time": application.clock.now().isoformat(), "ticker": "BTCUSDT.P", "allocation_usd": 480, **fields}
    decision = parse_alert(json.dumps(said).encode()).decision()
    return (await asyncio.wait_for(application.service("default").execute(decision), PATIENCE_S)).results[0]


async def contradictions(application: Application) -> int:
    raised = await application.events.after(0, 1000, frozenset({EventType.ALERT_RAISED}))
    return sum(one.event.data["code"] == "position_contradicts" for one in raised)


@SIDES
async def test_a_partial_exit_reduces_what_is_held(stage: Arena, side: str) -> None:
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        await decide(application.service("default"), OPENED[side])
        result = await alerted(application, action=EXIT[side], market_position=side)
        assert (result.status, result.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.005"))
        sign = 1 if side == "long" else -1
        assert await stage.levers.position(BTC) == sign * Decimal("0.005")
        assert await resting_stops(stage, BTC) == [Decimal("0.005")]


@SIDES
async def test_a_partial_exit_of_nothing_opens_nothing_and_is_alerted_once(stage: Arena, side: str) -> None:
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        for _ in range(2):
            result = await alerted(application, action=EXIT[side], market_position=side)
            assert result.error is not None
            assert (result.status, result.error.code) == (AssetStatus.REJECTED, "position_absent")
        assert await stage.levers.requests("POST", "/order") == []
        assert await contradictions(application) == 1


@SIDES
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "flat"])
async def test_the_sign_of_what_stays_is_a_partial_exit(stage: Arena, side: str, *, is_held: bool) -> None:
    """P16: `{{strategy.position_size}}` alone tells that the position stays; a flat account opens nothing for it."""
    stays = {"position_size": "0.005" if side == "long" else "-0.005", "contracts": "0.005", "price": "96000"}
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        if is_held:
            await decide(application.service("default"), OPENED[side])
        before = await stage.levers.position(BTC)
        result = await alerted(application, action=EXIT[side], allocation_usd=None, **stays)
        assert result.status is (AssetStatus.ADJUSTED if is_held else AssetStatus.REJECTED)
        assert await stage.levers.position(BTC) == before / 2


@SIDES
async def test_a_partial_exit_of_the_other_side_changes_nothing(stage: Arena, side: str) -> None:
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        await decide(application.service("default"), OPENED[OTHER[side]])
        before = await stage.levers.position(BTC)
        result = await alerted(application, action=EXIT[side], market_position=side)
        assert result.error is not None
        assert (result.status, result.error.code) == (AssetStatus.REJECTED, "position_exists")
        assert await stage.levers.position(BTC) == before
        assert await contradictions(application) == 1


async def test_how_much_a_partial_exit_leaves_is_what_tradingview_says(stage: Arena) -> None:
    sizes = {"prev_market_position_size": "2", "market_position_size": 1.4}
    async with stage.application() as application:
        await decide(application.service("default"), OPENED["long"])
        result = await alerted(application, action="sell", market_position="long", **sizes)
        assert result.filled_quantity == Decimal("0.003")


@SIDES
async def test_an_entry_onto_what_it_does_not_know_is_refused(stage: Arena, side: str) -> None:
    """With `add` it would be doubled: the alert says that nothing was held before it."""
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="add") as application:
        await decide(application.service("default"), OPENED[side])
        position = await stage.levers.position(BTC)
        result = await alerted(application, action=ENTRY[side], market_position=side, prev_market_position="flat")
        assert result.error is not None
        assert (result.status, result.error.code) == (AssetStatus.REJECTED, "position_exists")
        assert await stage.levers.position(BTC) == position
        again = await alerted(application, action=ENTRY[side], market_position=side, prev_market_position=side)
        assert again.status is AssetStatus.PROTECTED
        assert await contradictions(application) == 1


@SIDES
async def test_a_close_of_what_is_not_held_closes_nothing_else(stage: Arena, side: str) -> None:
    async with stage.application() as application:
        await decide(application.service("default"), OPENED[OTHER[side]])
        fields = {"action": EXIT[side], "market_position": "flat", "allocation_usd": None}
        result = await alerted(application, prev_market_position=side, **fields)
        assert result.error is not None
        assert (result.status, result.error.code) == (AssetStatus.REJECTED, "position_exists")
        assert await stage.levers.position(BTC) != 0
        assert (await alerted(application, **fields)).status is AssetStatus.CLOSED
