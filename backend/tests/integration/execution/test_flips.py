"""A flip closes a healthy position for an entry that will be sent: everything is checked before its close (Z8)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled, stored, until, until_true
from test_send_time import held_up, moved

from app.domain.trades import AdjustmentKind
from app.schemas.decision import parse_decision
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution.service import ExecutionService

FLIP = {"TES_RISK_ON_EXISTING_POSITION": "flip"}
BARE = {"tp_price": None, "sl_price": None}


def short(**changes: Any) -> dict[str, Any]:
    return sell(BTC, tp_price=93_000, sl_price=98_000) | changes


async def one(service: ExecutionService, item: dict[str, Any], **fields: Any) -> AssetResult:
    return (await decide(service, item, **fields)).results[0]


async def test_a_flip_that_would_not_be_sent_leaves_the_position_alone(stage: Arena) -> None:
    """Z8: it closed a healthy position, and opened nothing."""
    limits = {"TES_MARGIN_TYPE": "ISOLATED", "TES_RISK_MAX_NOTIONAL_PER_ASSET": "5000000"}
    async with stage.application(**FLIP, **limits) as application:
        service = application.service("default")
        opened = await one(service, buy())
        for item, code in (
            (short(allocation_usd=1_200_000, sl_price=96_500), "insufficient_margin"),
            (short(leverage=25, sl_price=101_000), "stop_loss_invalid"),
            (short(allocation_usd=6_000_000), "exposure_limit"),
            (short(allocation_usd=50), "quantity_below_minimum"),
            (short(tp_price=97_000), "take_profit_invalid"),
            (short(sl_price=2), "stop_loss_invalid"),
        ):
            refused = await one(service, item)
            assert (refused.status, refused.error and refused.error.code) == (AssetStatus.REJECTED, code)
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert (await stored(application, opened.trade_id)).status == "open"
        assert len(await stage.levers.open_orders(BTC)) == 2
        assert (await one(service, short())).status is AssetStatus.PROTECTED, "what was refused is in no one's way"


async def test_a_flip_beyond_its_bracket_leaves_the_position_alone(stage: Arena) -> None:
    """Z6, Z8: what the exchange allows at that leverage is known before."""
    aster = {"asset": "ASTERUSDT", "leverage": 25, **BARE}
    async with stage.application(**FLIP, TES_RISK_ALLOCATION_BASIS="margin") as application:
        service = application.service("default")
        await stage.levers.price("ASTERUSDT", "10")
        await until(lambda: (mark := service._market.prices.last_mark("ASTERUSDT")) and mark.mark_price == 10)
        assert (await one(service, buy(**aster, allocation_usd=100))).success
        refused = await one(service, sell(**aster, allocation_usd=60_000))
        assert (refused.status, refused.error and refused.error.code) == (AssetStatus.REJECTED, "exposure_limit")
        assert await stage.levers.position("ASTERUSDT") == Decimal(250)


async def test_what_a_flip_closes_pays_for_its_entry(stage: Arena) -> None:
    """Z8: nearly all margin is in the position that goes."""
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        assert (await one(service, buy(allocation_usd=900_000, sl_price=95_500))).success
        flipped = await one(service, short(allocation_usd=850_000, sl_price=96_500))
        assert (flipped.status, flipped.error) == (AssetStatus.PROTECTED, None)


async def test_a_flip_is_judged_by_the_price_of_the_moment(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7, Z8: the disk was slow, and the market left the plan before the close."""
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        opened = await one(service, buy(**BARE))
        with held_up(monkeypatch, service._trades, "settled") as gate:
            deciding = asyncio.create_task(one(service, short()))
            await until(lambda: service._active_trades()[0].adjustments)
            await moved(stage, service, BTC, "98100")
            gate.set()
            refused = await deciding
        assert (refused.status, refused.error and refused.error.code) == (AssetStatus.REJECTED, "stop_loss_invalid")
        assert (await stored(application, opened.trade_id)).status == "open"
        assert await stage.levers.position(BTC) == Decimal("0.010")


@pytest.mark.parametrize(
    ("item", "price", "code"),
    [(short(), "98100", "stop_loss_invalid"), (short(**BARE), "94500", "price_deviation")],
    ids=["beyond its stop", "away from its plan"],
)
async def test_a_market_that_moves_between_close_and_entry_is_not_entered(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, item: dict[str, Any], price: str, code: str
) -> None:
    """Z7: the deviation is measured from where the flip was decided, not from where its close ended."""
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        opened = await one(service, buy(**BARE))
        with held_up(monkeypatch, service._client, "set_leverage") as gate:
            deciding = asyncio.create_task(one(service, item | {"leverage": 5}))
            await settled(application, opened.trade_id)
            await until(lambda: any(trade.side == "short" for trade in service._active_trades()))
            await moved(stage, service, BTC, price)
            gate.set()
            result = await deciding
        assert (result.status, result.error and result.error.code) == (AssetStatus.FAILED, code)
        assert await stage.levers.position(BTC) == 0


async def test_a_flip_whose_price_moved_during_its_close_is_held_to_its_plan(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z7: the entry is planned anew after the close; its distance is still measured from the first plan."""
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        assert (await one(service, buy(**BARE))).success
        with held_up(monkeypatch, service._client, "place_order") as gate:
            deciding = asyncio.create_task(one(service, short(**BARE)))
            await until(lambda: any(trade.close_reason for trade in service._active_trades()))
            await moved(stage, service, BTC, "94500")
            gate.set()
            result = await deciding
        assert (result.status, result.error and result.error.code) == (AssetStatus.FAILED, "price_deviation")
        assert await stage.levers.position(BTC) == 0


async def test_a_flip_that_a_dead_process_began_is_judged_before_its_close(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z8, C1: it died between the record of the flip and its close; meanwhile a person took the margin."""
    item = short(allocation_usd=500_000, sl_price=97_000)
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        opened = await one(service, buy(**BARE))
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="1")
        with held_up(monkeypatch, service._market, "means"):
            decision = parse_decision(json.dumps({"decision_id": "flip", "decisions": [item]}))
            await service.submit(decision)

            async def is_recorded() -> bool:
                kinds = [one.kind for one in (await stored(application, opened.trade_id)).adjustments]
                return kinds == [AdjustmentKind.FLIP]

            await until_true(is_recorded)
    await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="400")
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        result = await one(service, item, decision_id="flip")
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "insufficient_margin")
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert (await stored(application, opened.trade_id)).status == "open"
