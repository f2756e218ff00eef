"""The same path with faults: lost answers, refused exits, restarts, and people at the exchange."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from arena import BTC, Arena, buy, decide, settled, stored, until, until_true

from app.domain.orders import OrderState
from app.schemas.result import AssetStatus
from support.patience import PATIENCE_S

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
TARGET = {"method": "POST", "path": "/order", "params": {"type": "TAKE_PROFIT_MARKET"}}


async def test_entry_executed_but_answer_lost_is_found_and_protected_once(stage: Arena) -> None:
    """U1, U2: a dropped connection after execution is unknown, not failed."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_after"}, **ENTRY)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        assert len(await stage.levers.orders(type="MARKET", symbol=BTC)) == 1


async def test_entry_executed_behind_a_503_is_found_without_the_stream(stage: Arena) -> None:
    """U1: 503 after acceptance, and the stream tells nothing: a query finds it."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "error", "status": 503, "executed": True}, **ENTRY)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        assert len(await stage.levers.orders(type="MARKET", symbol=BTC)) == 1


async def test_refused_entry_fails_and_frees_the_cooldown(stage: Arena) -> None:
    async with stage.application(TES_RISK_COOLDOWN_SECONDS="300") as application:
        service = application.service("default")
        await stage.levers.fault(
            {"type": "error", "status": 400, "code": -2019, "msg": "Margin is insufficient."}, **ENTRY
        )
        refused = await decide(service, buy())
        assert refused.results[0].status is AssetStatus.FAILED
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "insufficient_margin"
        assert refused.results[0].error.exchange_code == -2019
        assert (await decide(service, buy())).results[0].status is AssetStatus.PROTECTED


async def test_stop_refused_twice_is_retried_and_ends_protected(stage: Arena) -> None:
    """P2: any other refusal is retried."""
    async with stage.application() as application:
        await stage.levers.fault(
            {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}, count=2, **STOP
        )
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        trade = await stored(application, result.results[0].trade_id)
        assert [order.state for order in trade.orders_of(trade.legs[0].role)] == [
            OrderState.REJECTED,
            OrderState.REJECTED,
            OrderState.NEW,
        ]
        assert len(await stage.levers.open_orders(BTC)) == 2


async def test_stop_whose_answer_is_lost_is_on_the_book_exactly_once(stage: Arena) -> None:
    """Contract, section 9: a lost stop-loss is on the book, once."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **STOP)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        stops = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
        assert len(stops) == 1


async def test_stop_that_never_arrived_is_sent_again_under_the_same_id(stage: Arena) -> None:
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_before"}, **STOP)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        stops = await stage.levers.orders(type="STOP_MARKET", symbol=BTC)
        assert [row["clientOrderId"] for row in stops] == [f"tes.{result.results[0].trade_id}.s1"]


async def test_stop_refused_for_good_closes_the_position_and_alerts(stage: Arena) -> None:
    """P2: retries end, then the position is closed rather than left exposed."""
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="3", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        await stage.levers.fault({"type": "error", "status": 400, "code": -4045, "msg": "no"}, count=0, **STOP)
        result = await decide(application.service("default"), buy())
        one = result.results[0]
        assert one.status is AssetStatus.EMERGENCY_CLOSED
        assert one.error is not None
        assert one.error.code == "protection_failed"
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []
        refused = [
            row for row in (await stage.levers.ledger())["requests"] if row["params"].get("type") == "STOP_MARKET"
        ]
        assert len(refused) == 3
        told = {recorded.event.type for recorded in await application.events.after(0, 1000)}
        assert {"ProtectionFailed", "EmergencyClose", "AlertRaised", "TradeClosed"} <= told


async def test_on_failure_alert_keeps_trying_until_the_exchange_accepts(stage: Arena) -> None:
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="2",
        TES_PROTECTION_BASE_DELAY_SECONDS="0.05",
        TES_PROTECTION_ON_FAILURE="alert",
    ) as application:
        await stage.levers.fault({"type": "error", "status": 400, "code": -4045, "msg": "no"}, count=0, **STOP)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.UNPROTECTED
        refused = await decide(application.service("default"), buy("ETHUSDT", tp_price=None, sl_price=None))
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "not_ready"
        await stage.levers.heal()
        trade = await settled(application, result.results[0].trade_id, "open")
        assert not trade.protection_failed


async def test_stop_already_passed_closes_at_once_as_stop_loss(stage: Arena) -> None:
    """P1: -2021 on the stop means that the stop is hit."""
    async with stage.application() as application:
        await stage.levers.fault(
            {"type": "error", "status": 400, "code": -2021, "msg": "Order would immediately trigger."}, **STOP
        )
        result = await decide(application.service("default"), buy())
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "stop_loss"
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []


async def test_target_lost_while_the_stop_stands_never_moves_the_stop(stage: Arena) -> None:
    """P4: one leg fails, the other is placed all the same."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "error", "status": 503}, count=2, **TARGET)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        assert len(await stage.levers.orders(type="STOP_MARKET", symbol=BTC)) == 1


async def test_stop_canceled_by_hand_is_restored(stage: Arena) -> None:
    """P5."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        stop = next(row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET")
        await stage.levers.call(
            "DELETE", "/orders", {"account": "default", "symbol": BTC, "orderId": str(stop["orderId"])}
        )

        async def is_restored() -> bool:
            return {row["type"] for row in await stage.levers.open_orders(BTC)} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}

        await until_true(is_restored)
        trade = await settled(application, result.results[0].trade_id, "open")
        assert trade.close_reason is None


async def test_position_closed_by_hand_closes_the_trade_as_manual_with_its_money(stage: Arena) -> None:
    """H1, H5, and the exits go."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010", reduceOnly="true")
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "manual"
        fills = await stage.levers.fills()
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills)
        assert sum(fill.commission for fill in trade.fills) == sum(Decimal(fill["commission"]) for fill in fills)
        assert await stage.levers.open_orders(BTC) == []


async def test_foreign_orders_and_positions_are_never_touched(stage: Arena) -> None:
    """H2, O2."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.by_hand(symbol="SOLUSDT", side="BUY", quantity="2")
        await stage.levers.by_hand(
            symbol=BTC, side="SELL", type="LIMIT", quantity="0.002", price="97000", timeInForce="GTC"
        )
        report = await service.reconcile()
        assert [one.detail for one in report.differences if one.asset == BTC] == []
        refused = await decide(service, buy("SOLUSDT", tp_price=None, sl_price=None))
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "position_exists"
        opened = await decide(service, buy())
        await stage.levers.price(BTC, "93900")
        await settled(application, opened.results[0].trade_id)
        assert await stage.levers.position("SOLUSDT") == 2
        assert await stage.levers.open_orders("SOLUSDT") == []
        assert [row["type"] for row in await stage.levers.open_orders(BTC)] == ["LIMIT"]
        external = [item for item in service.positions().items if item.trade_id is None]
        assert [item.asset for item in external] == ["SOLUSDT"]


@pytest.mark.long
async def test_target_hit_while_we_were_down_is_booked_after_the_restart(stage: Arena) -> None:
    """C1, C3: stale trades are closed with their real exit and PnL."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
    await stage.levers.price(BTC, "99100")
    async with stage.application() as application:
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "take_profit"
        assert await stage.levers.open_orders(BTC) == []
        fills = await stage.levers.fills()
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills)


async def test_every_stream_frame_lost_still_ends_protected_and_closed(stage: Arena) -> None:
    """REST is the safety net: nothing depends on the stream."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0)
        result = await decide(application.service("default"), buy())
        assert result.results[0].status is AssetStatus.PROTECTED
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "stop_loss"


async def test_every_stream_frame_twice_changes_nothing(stage: Arena) -> None:
    """W4."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "duplicate_events"}, count=0)
        result = await decide(application.service("default"), buy())
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, result.results[0].trade_id)
        assert sum(fill.commission for fill in trade.fills) == sum(
            Decimal(fill["commission"]) for fill in await stage.levers.fills()
        )


async def test_entry_that_never_arrived_fails_after_the_fence_and_is_never_sent_again(stage: Arena) -> None:
    """U1, U3: "does not exist" is inconclusive until the request can no longer be executed."""
    async with stage.application(TES_ASTER_NONCE_WINDOW_SECONDS="0.5") as application:
        service = application.service("default")
        await stage.levers.fault({"type": "drop_before"}, **ENTRY)
        sent = asyncio.create_task(decide(service, buy()))
        await until(lambda: any(trade.has_unknown_order for trade in service._active_trades()))
        refused = await decide(service, buy())
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "outcome_unknown"
        result = await sent
        assert result.results[0].status is AssetStatus.FAILED
        assert result.results[0].error is not None
        assert result.results[0].error.code == "outcome_unknown"
        assert await stage.levers.orders(symbol=BTC) == []
        trade = await stored(application, result.results[0].trade_id)
        assert (trade.closed_at or trade.created_at) - trade.created_at > timedelta(seconds=5)


@pytest.mark.parametrize("turns", range(5))
async def test_a_service_that_has_just_asked_for_a_reconciliation_can_be_stopped(stage: Arena, turns: int) -> None:
    """Python 3.11's ``wait_for`` forgets a cancellation that comes with its result: such a stop never ended."""
    async with stage.application() as application:
        service = application.service("default")
        await until(lambda: service._reconciler._wanted._waiters)  # type: ignore[attr-defined]
        service._reconciler.request()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await service.stop()
