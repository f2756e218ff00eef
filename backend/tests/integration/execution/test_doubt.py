"""Nobody knows what became of an order: what counts as evidence, and what does not (U1-U6, U8)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, Arena, buy, decide, settled, stored, until, until_true

from app.schemas.result import AssetStatus
from app.services.execution.service import ExecutionService
from support.patience import PATIENCE_S

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
NOOP = {"method": "POST", "path": "/noop"}
LOOK = {"method": "GET", "path": "/order"}
BULK = {"method": "GET", "path": "/openOrders"}
LIST = {"method": "GET", "path": "/allOrders"}
TRADES = {"method": "GET", "path": "/userTrades"}
POSITIONS = {"method": "GET", "path": "/positionRisk"}
ABSENT: dict[str, Any] = {"type": "error", "status": 400, "code": -2013, "msg": "Order does not exist."}
DOWN: dict[str, Any] = {"type": "error", "status": 503}
EMPTY: dict[str, Any] = {"type": "error", "status": 200, "body": "[]"}
HTML = {"body": "<html>busy</html>", "content_type": "text/html"}
ENDINGS: dict[str, dict[str, Any]] = {
    "no answer": {"type": "drop_after"},
    "503": {"type": "error", "status": 503, "executed": True},
    "500 in HTML": {"type": "error", "status": 500, "executed": True, **HTML},
    "200 in HTML": {"type": "error", "status": 200, "executed": True, **HTML},
    **{
        str(code): {"type": "error", "status": 400, "code": code, "msg": "busy", "executed": True}
        for code in (-1000, -1001, -1006, -1007)
    },
}
PAST_FENCE_S = 10.0
"""With a nonce window of half a second the fence is at 5.5 s; reads that fail are repeated, which takes its time."""
BEYOND_FENCE_S = max(40.0, PATIENCE_S)
"""Until a result is there that waits past the fence; a read that fails is repeated after up to 10 s."""


async def deaf(stage: Arena) -> None:
    """The user stream tells nothing of orders any more."""
    await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")


async def until_past_fence(service: ExecutionService) -> None:
    await until(lambda: any(age_s > PAST_FENCE_S for age_s in service.vital_signs().unknown_orders_s))


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_an_entry_without_a_clear_answer_is_in_doubt_then_found_never_sent_again(
    stage: Arena, ending: dict[str, Any]
) -> None:
    """U1: it was executed, and only a query can tell."""
    async with stage.application() as application:
        await deaf(stage)
        await stage.levers.fault(ending, **ENTRY)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_a_refusal_that_names_the_signature_leaves_no_doubt(stage: Arena) -> None:
    """U1: -1000 is vague, its words are not."""
    async with stage.application() as application:
        refusal: dict[str, Any] = {"type": "error", "status": 400, "code": -1000, "msg": "Signature check failed"}
        await stage.levers.fault(refusal, **ENTRY)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.FAILED
        assert result.error is not None
        assert (result.error.code, result.error.exchange_code) == ("exchange_rejected", -1000)


async def test_the_stream_alone_ends_the_doubt(stage: Arena) -> None:
    """U2: a stream event counts at any time, whatever queries say or can't."""
    async with stage.application() as application:
        service = application.service("default")
        for read in (LOOK, LIST):
            await stage.levers.fault(DOWN, count=0, **read)
        await stage.levers.fault({"type": "delay_events", "seconds": 1}, count=2, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        deciding = asyncio.create_task(decide(service, buy()))
        await until(lambda: service.vital_signs().unknown_orders_s)
        assert (await deciding).results[0].status is AssetStatus.PROTECTED
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_a_duplicate_id_means_that_the_order_is_there(stage: Arena) -> None:
    """U2: a stop is sent again under its id, refused as a duplicate, and counts as placed."""
    async with stage.application() as application:
        await deaf(stage)
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, **ENTRY)
        await stage.levers.fault({"type": "drop_after"}, **STOP)
        deciding = asyncio.create_task(decide(application.service("default"), buy()))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET"))
        await stage.levers.fault(DOWN, count=0, **BULK)  # reconciliation would find it as well,
        await stage.levers.fault(DOWN, count=4, **LOOK)  # and a query before anything could go wrong
        assert (await deciding).results[0].status is AssetStatus.PROTECTED
        sent = await stage.levers.requests("POST", "/order", type="STOP_MARKET")
        assert [row["code"] for row in sent] == [None, -4116]
        assert len(await stage.levers.orders(type="STOP_MARKET")) == 1


async def test_a_noop_that_was_taken_needs_absence_everywhere_beside_it(stage: Arena) -> None:
    """U3: whatever the exchange says of the noop, its list of orders shows the entry."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="30") as application:
        await deaf(stage)
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        await stage.levers.fault(ABSENT, count=0, **LOOK)
        taken = {"type": "error", "status": 200, "body": json.dumps({"code": 200, "msg": "success"})}
        await stage.levers.fault(taken, **NOOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert len(await stage.levers.requests("POST", "/noop")) == 1


@pytest.mark.long
async def test_an_execution_that_no_order_explains_keeps_the_doubt_beyond_the_fence(stage: Arena) -> None:
    """U3: order, user trades and position must agree; a person has sold it again, so the trades alone show it."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        await deaf(stage)
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        await stage.levers.fault(ABSENT, count=0, **LOOK)
        await stage.levers.fault(EMPTY, count=0, **LIST)
        deciding = asyncio.create_task(decide(service, buy(), patience_s=BEYOND_FENCE_S))
        await until_true(lambda: stage.levers.orders(symbol=BTC, type="MARKET"))
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010")
        await until_past_fence(service)
        await stage.levers.heal()
        result = (await deciding).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.CLOSED, Decimal("0.010"))


@pytest.mark.long
async def test_a_query_that_fails_is_no_proof_even_beyond_the_fence(stage: Arena) -> None:
    """U4: the order's query is down, lists and positions lag behind: nothing is concluded until it can be asked."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        await deaf(stage)
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        await stage.levers.fault(DOWN, count=0, **LOOK)
        for lagging in (LIST, TRADES, POSITIONS):
            await stage.levers.fault(EMPTY, count=0, **lagging)
        deciding = asyncio.create_task(decide(service, buy(), patience_s=BEYOND_FENCE_S))
        await until_past_fence(service)
        await stage.levers.heal()
        assert (await deciding).results[0].status is AssetStatus.PROTECTED


@pytest.mark.long
async def test_a_position_that_can_not_be_read_is_not_flat(stage: Arena) -> None:
    """U4: a close is lost, and so is every look at the position; it is tried on until the position is gone."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        await decide(service, buy())
        await deaf(stage)
        close = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
        await stage.levers.fault({"type": "drop_before"}, **close)
        unreadable: dict[str, Any] = {"type": "error", "status": 200, **HTML}
        await stage.levers.fault(unreadable, count=0, method="GET", path="/positionRisk")
        closing = asyncio.create_task(decide(service, {"asset": BTC, "action": "close_position"}))
        await until_past_fence(service)
        assert not closing.done()
        await stage.levers.heal()
        assert (await closing).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0


async def test_the_answer_alone_tells_the_fill_and_its_price(stage: Arena) -> None:
    """U6: RESULT was asked for, so neither stream nor query is needed."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault(DOWN, count=0, **LOOK)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED
        (order,) = await stage.levers.orders(type="MARKET")
        assert result.fill_price == Decimal(order["avgPrice"])


async def test_a_market_order_shown_as_new_is_asked_for(stage: Arena) -> None:
    """U6: the stream shows NEW with nothing executed, and then nobody tells of the fill."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        await stage.levers.fault({"type": "drop_events"}, count=0, skip=1, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status is AssetStatus.PROTECTED


async def test_a_stop_that_vanished_from_the_exchange_is_given_up_and_restored(stage: Arena) -> None:
    """U8: unfilled canceled orders are forgotten by the exchange, so the question after them must end."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        await deaf(stage)
        await stage.levers.fault({"type": "drop_after"}, **STOP)  # so that it has a fence
        opened = (await decide(application.service("default"), buy())).results[0]
        assert opened.status is AssetStatus.PROTECTED
    (stop,) = await stage.levers.orders(type="STOP_MARKET")
    await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(stop["orderId"])})
    forgotten = {"origClientOrderId": stop["clientOrderId"]}
    await stage.levers.fault(ABSENT, count=0, **{**LOOK, "params": forgotten})
    await stage.levers.fault(EMPTY, count=0, **LIST)
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5"):

        async def is_restored() -> bool:
            stops = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
            return len(stops) == 1

        await until_true(is_restored)


@pytest.mark.long
async def test_the_fence_of_a_lost_entry_outlives_the_process(stage: Arena) -> None:
    """U8: the next process settles it at the fence that the first one recorded, and sends nothing."""
    window = {"TES_ASTER_NONCE_WINDOW_SECONDS": "0.5"}
    async with stage.application(**window) as application:
        service = application.service("default")
        await stage.levers.fault({"type": "drop_before"}, **ENTRY)
        await stage.levers.fault({"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}, **NOOP)
        deciding = asyncio.create_task(decide(service, buy(), decision_id="lost"))
        await until(lambda: service.vital_signs().unknown_orders_s)
        deciding.cancel()
    async with stage.application(**window) as application:
        (trade,) = (await application.trades.of_decision("default", "lost")).items
        ended = await settled(application, trade.id, "failed")
        assert ended.error is not None
        assert ended.error.code == "outcome_unknown"
        assert (await stored(application, trade.id)).entry.transmissions == 1
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


@pytest.mark.long
async def test_an_entry_in_flight_when_the_process_died_is_in_doubt(stage: Arena) -> None:
    """C1, U1: the record says that it was being sent; the next process asks, and settles it at the fence."""
    window = {"TES_ASTER_NONCE_WINDOW_SECONDS": "0.5"}
    async with stage.application(**window) as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 60}, **ENTRY)
        deciding = asyncio.create_task(decide(service, buy(), decision_id="in-flight"))
        await until(lambda: any(trade.entry_sent_at for trade in service._active_trades()))
        await application.trades.settled()
        deciding.cancel()
    await stage.levers.heal()
    async with stage.application(**window) as application:
        (trade,) = (await application.trades.of_decision("default", "in-flight")).items
        assert (await settled(application, trade.id, "failed")).entry.transmissions == 1
        assert await stage.levers.fills() == []
