"""A close in doubt is not repeated into what a person holds beside us on the same side (O9)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.reports import FillReport
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.schemas.result import AssetStatus

CLOSE = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
NOOP = {"method": "POST", "path": "/noop"}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}
OURS = Decimal("0.010")


async def hedged(stage: Arena) -> None:
    await stage.levers.call("POST", "/modes", {"account": "default", "hedge": True})


async def late_lists(stage: Arena) -> None:
    """Only positions tell what is executed from now on."""
    await stage.levers.fault({"type": "lag_lists", "seconds": 600})
    await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")


async def person_buys(stage: Arena, quantity: Decimal, *, is_hedged: bool) -> None:
    side = {"positionSide": "LONG"} if is_hedged else {}
    await stage.levers.by_hand(symbol=BTC, side="BUY", quantity=str(quantity), **side)


async def sold(stage: Arena) -> Decimal:
    """What was sold at market under our ids."""
    rows = await stage.levers.orders(symbol=BTC, type="MARKET", side="SELL")
    return sum((Decimal(row["executedQty"]) for row in rows), start=Decimal(0))


@pytest.mark.parametrize("theirs", ["0.010", "0.004", "0.025"])
@pytest.mark.parametrize("mode", ["one_way", "hedge"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_close_in_doubt_takes_nothing_of_theirs(stage: Arena, mode: str, moment: str, theirs: str) -> None:
    """Whether they bought before it or after it, and whatever they hold."""
    if mode == "hedge":
        await hedged(stage)
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        assert opened.filled_quantity == OURS
        if moment == "before":
            await person_buys(stage, Decimal(theirs), is_hedged=mode == "hedge")
        await late_lists(stage)
        await stage.levers.fault({"type": "drop_after"}, **CLOSE)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        closing = asyncio.create_task(service.close_position(BTC))
        await until_true(lambda: sold_once(stage))
        if moment == "after":
            await person_buys(stage, Decimal(theirs), is_hedged=mode == "hedge")
        await until(lambda: any(age_s > 1 for age_s in service.vital_signs().unknown_orders_s))
        assert await sold(stage) == OURS
        await stage.levers.heal()
        assert (await closing).status is AssetStatus.CLOSED
        await only_ours_is_booked(stage, application, opened.trade_id, Decimal(theirs))


async def sold_once(stage: Arena) -> bool:
    return await sold(stage) > 0


async def only_ours_is_booked(stage: Arena, application: Application, trade_id: str | None, theirs: Decimal) -> Trade:
    trade = await settled(application, trade_id)
    assert (trade.entered_quantity, trade.exited_quantity) == (OURS, OURS)
    assert await stage.levers.position(BTC) == theirs
    return trade


async def test_a_close_that_was_lost_is_repeated_at_once_where_we_are_alone(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await late_lists(stage)
        await stage.levers.fault({"type": "error", "status": 503}, **CLOSE)
        closing = asyncio.create_task(service.close_position(BTC))
        await until_true(lambda: sold_once(stage), 2)
        assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")) == 2
        closing.cancel()


@pytest.mark.long
async def test_a_close_beside_them_waits_for_its_fence_and_goes_on(stage: Arena) -> None:
    """It never arrived: once it can't be executed any more, the next one takes exactly what is ours."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await person_buys(stage, OURS, is_hedged=False)
        await stage.levers.fault({"type": "error", "status": 503}, **CLOSE)
        assert (await service.close_position(BTC)).status is AssetStatus.CLOSED
        await only_ours_is_booked(stage, application, opened.trade_id, OURS)


async def test_a_close_beside_them_is_not_repeated_while_the_lists_are_late(stage: Arena) -> None:
    """It was executed, and its fence is over: the position has changed, and no list tells by whom."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await person_buys(stage, OURS, is_hedged=False)
        await late_lists(stage)
        await stage.levers.fault({"type": "drop_after"}, **CLOSE)
        closing = asyncio.create_task(service.close_position(BTC))

        async def has_asked_beyond_the_fence() -> bool:
            return len(await stage.levers.requests("GET", "/allOrders")) >= 2

        await until_true(has_asked_beyond_the_fence)
        assert await sold(stage) == OURS
        await stage.levers.heal()
        assert (await closing).status is AssetStatus.CLOSED
        await only_ours_is_booked(stage, application, opened.trade_id, OURS)


async def test_a_close_after_a_reduction_in_doubt_takes_nothing_of_theirs(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await person_buys(stage, OURS, is_hedged=False)
        await late_lists(stage)
        await stage.levers.fault({"type": "drop_after"}, **CLOSE)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        less = {"adjustment_type": "decrease", "adjustment_percentage": 50}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": less}
        deciding = asyncio.create_task(decide(service, wish))
        await until(lambda: service.vital_signs().unknown_orders_s)
        closing = asyncio.create_task(service.close_position(BTC))
        await until(lambda: any(age_s > 1 for age_s in service.vital_signs().unknown_orders_s))
        assert await sold(stage) == OURS / 2
        await stage.levers.heal()
        assert (await closing).status is AssetStatus.CLOSED
        await only_ours_is_booked(stage, application, opened.trade_id, OURS)
        deciding.cancel()


@pytest.mark.parametrize("theirs", ["0.004", "0.025"])
async def test_a_close_of_a_dead_process_is_waited_for(
    stage: Arena, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C1: it left before its record, and the lists show nothing of it when the next process asks (seed 8)."""
    async with stage.application() as application:
        opened = (await decide(application.service("default"), buy())).results[0]
    await person_buys(stage, Decimal(theirs), is_hedged=False)
    await late_lists(stage)
    sent = {"newClientOrderId": f"tes.{opened.trade_id}.c1", "reduceOnly": "true"}
    await stage.levers.by_hand(symbol=BTC, side="SELL", quantity=str(OURS), **sent)
    async with stage.application() as application:
        reads: list[str] = []
        read = AsterClient.user_trades

        async def counted(client: AsterClient, symbol: str, since: datetime) -> list[FillReport]:
            reads.append(symbol)
            return await read(client, symbol, since)

        monkeypatch.setattr(AsterClient, "user_trades", counted)
        closing = asyncio.create_task(application.service("default").close_position(BTC))
        await until(lambda: len(reads) > 1)
        assert await sold(stage) == OURS
        await stage.levers.heal()
        assert (await closing).status is AssetStatus.CLOSED
        await only_ours_is_booked(stage, application, opened.trade_id, Decimal(theirs))


async def test_a_close_of_a_dead_process_is_found_where_quantities_agree(stage: Arena) -> None:
    """C1: a person bought just what it closed, so the position looks as the record has it."""
    async with stage.application() as application:
        opened = (await decide(application.service("default"), buy())).results[0]
    await person_buys(stage, OURS, is_hedged=False)
    sent = {"newClientOrderId": f"tes.{opened.trade_id}.c1", "reduceOnly": "true"}
    await stage.levers.by_hand(symbol=BTC, side="SELL", quantity=str(OURS), **sent)
    async with stage.application() as application:
        assert (await application.service("default").close_position(BTC)).status is AssetStatus.CLOSED
        assert await sold(stage) == OURS
        await only_ours_is_booked(stage, application, opened.trade_id, OURS)


def less(percentage: int) -> dict[str, Any]:
    change = {"adjustment_type": "decrease", "adjustment_percentage": percentage}
    return {"asset": BTC, "action": "adjust_position", "position_adjustment": change}


@pytest.mark.parametrize("is_beside", [True, False])
async def test_two_decreases_at_once_sell_nothing_of_theirs(stage: Arena, is_beside: bool) -> None:
    """O9: the second is a part of what the first leaves, whatever becomes of that."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        if is_beside:
            await person_buys(stage, Decimal("0.010"), is_hedged=False)
        told = await asyncio.gather(decide(service, less(60)), decide(service, less(60)))
        assert [one.results[0].status for one in told] == [AssetStatus.ADJUSTED] * 2
        assert await sold(stage) == Decimal("0.008")
        assert (await stored(application, opened.trade_id)).exposure == Decimal("0.002")


async def test_a_decrease_beside_one_in_doubt_counts_it_as_gone(stage: Arena) -> None:
    """O9, U1."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await person_buys(stage, Decimal("0.010"), is_hedged=False)
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **CLOSE)
        await stage.levers.fault({"type": "error", "status": 503}, count=0, method="GET", path="/order")
        first = asyncio.create_task(decide(service, less(60)))
        await until(lambda: any(trade.has_unknown_order for trade in service._active_trades()))
        second = asyncio.create_task(decide(service, less(60)))
        await until_true(lambda: is_asked_for(application, opened.trade_id, 2))
        await stage.levers.heal()
        await asyncio.gather(first, second)
        assert await sold(stage) == Decimal("0.008")


async def is_asked_for(application: Application, trade_id: str | None, changes: int) -> bool:
    return len((await stored(application, trade_id)).adjustments) == changes
