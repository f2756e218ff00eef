"""Frames of the user stream come late: what is known by then stays known (scenario W4)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from arena import BTC, ETH, Arena, arena, buy, decide, settled, stored, until, until_true

from app.domain.orders import OrderState
from app.schemas.result import AssetStatus
from app.services.execution.service import ExecutionService

UPDATE = "ORDER_TRADE_UPDATE"
FORTY_STEPS = Decimal("0.00001")
"""Of the usual depth: the book holds forty levels of one step each."""


async def all_frames_heard(stage: Arena, service: ExecutionService) -> None:
    """Wait until the venue keeps no frame back any more, and a frame behind them has arrived."""
    await until(lambda: not stage.levers.venue._runtime.hub._late)
    await stage.levers.by_hand(symbol="SOLUSDT", side="BUY", quantity="1")
    await until(lambda: any(row.asset == "SOLUSDT" for row in service.positions().items))


async def test_late_frames_of_an_order_change_nothing(tmp_path: Path) -> None:
    """An entry is filled in parts and its rest expires; then come the frames that showed it new and filled by one."""
    async with (
        arena(tmp_path / "tes.db", depth=FORTY_STEPS) as stage,
        stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application,
    ):
        service = application.service("default")
        await stage.levers.fault({"type": "delay_events", "seconds": 1}, event=UPDATE)
        await stage.levers.fault({"type": "delay_events", "seconds": 1}, event=UPDATE)
        result = (await decide(service, buy(allocation_usd=6_000))).results[0]
        assert result.status is AssetStatus.PROTECTED
        before = await settled(application, result.trade_id, "open")
        assert (before.entry.state, before.exposure) == (OrderState.EXPIRED, Decimal("0.040"))
        await all_frames_heard(stage, service)
        await service.reconcile()

        async def is_on_record() -> bool:
            return len((await stored(application, result.trade_id)).fills) == 40

        await until_true(is_on_record)
        after = await stored(application, result.trade_id)
        assert (after.entry.state, after.exposure) == (OrderState.EXPIRED, Decimal("0.040"))
        assert after.orders == before.orders
        executed = {fill.exchange_trade_id: fill.quantity for fill in after.fills}  # the late frame tells of its part
        assert len(executed) == len(after.fills) == 40
        assert sum(executed.values()) == Decimal("0.040")
        assert {row["origQty"] for row in await stage.levers.open_orders(BTC)} == {"0.040"}


async def test_a_late_frame_of_the_account_changes_no_position(stage: Arena) -> None:
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_events", "seconds": 0.5}, event="ACCOUNT_UPDATE")
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.100")
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.200")

        def held() -> list[Decimal]:
            return [row.quantity for row in service.positions().items if row.asset == ETH]

        await until(lambda: held() == [Decimal("0.3")])
        await all_frames_heard(stage, service)
        assert held() == [Decimal("0.3")]
