"""People at the exchange, rate limits, and lost answers on the way out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, stored, until_true

from app.schemas.result import AssetStatus

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
SELL = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}


async def sizes(stage: Arena) -> dict[str, list[Decimal]]:
    """What rests, by type."""
    found: dict[str, list[Decimal]] = {}
    for row in await stage.levers.open_orders(BTC):
        found.setdefault(row["type"], []).append(Decimal(row["origQty"]))
    return found


async def test_a_position_reduced_by_hand_keeps_exits_of_its_new_size(stage: Arena) -> None:
    """P10, H1: resized, and exactly one of each."""
    async with stage.application() as application:
        opened = await decide(application.service("default"), buy())
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.004", reduceOnly="true")

        async def is_resized() -> bool:
            rest = [Decimal("0.006")]
            return await sizes(stage) == {"STOP_MARKET": rest, "TAKE_PROFIT_MARKET": rest}

        await until_true(is_resized)
        trade = await settled(application, opened.results[0].trade_id, "open")
        assert trade.close_reason is None
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, opened.results[0].trade_id)
        assert trade.close_reason == "stop_loss"
        fills = await stage.levers.fills()
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills)
        assert await stage.levers.open_orders(BTC) == []


async def test_a_reversal_by_hand_closes_ours_and_leaves_theirs(stage: Arena) -> None:
    """Contract, section 9: the new position belongs to the person."""
    async with stage.application() as application:
        opened = await decide(application.service("default"), buy())
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.015")
        trade = await settled(application, opened.results[0].trade_id)
        assert trade.close_reason == "manual"
        assert await stage.levers.position(BTC) == Decimal("-0.005")
        assert await stage.levers.open_orders(BTC) == []


async def test_a_stop_held_up_by_a_rate_limit_comes_when_its_time_is_up(stage: Arena) -> None:
    """L1."""
    async with stage.application() as application:
        limit: dict[str, Any] = {"type": "error", "status": 429, "code": -1003, "msg": "too many requests"}
        await stage.levers.fault(limit | {"headers": {"Retry-After": "2"}}, **STOP)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        trade = await stored(application, result.results[0].trade_id)
        assert trade.close_reason is None
        assert len(await stage.levers.orders(type="STOP_MARKET", symbol=BTC)) == 1


async def test_a_close_whose_answer_is_lost_is_found_executed_once(stage: Arena) -> None:
    """U9: the position is read before each further attempt."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, **SELL)
        closed = await decide(service, {"asset": BTC, "action": "close_position"})
        assert closed.results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert len(await stage.levers.orders(type="MARKET", side="SELL", symbol=BTC)) == 1


@pytest.mark.long
async def test_a_close_that_never_arrived_is_sent_again_under_another_id(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault({"type": "drop_before"}, count=2, **SELL)
        pending = await service.close_position(BTC, timeout_s=0)
        assert pending.status is AssetStatus.PENDING

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)
        assert len(await stage.levers.orders(type="MARKET", side="SELL", symbol=BTC)) == 1
