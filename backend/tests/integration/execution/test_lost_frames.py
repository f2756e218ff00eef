"""Frames of the user stream get lost: what they would have told is asked for."""

from __future__ import annotations

from arena import BTC, Arena, buy, decide, settled, until

from app.schemas.result import AssetStatus


async def test_lost_account_frame_does_not_keep_the_asset_blocked_until_the_next_interval(stage: Arena) -> None:
    """W8, O1: our own trade has ended, but nobody told the projection that the position is gone."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        first = await decide(service, buy())
        await until(lambda: service.positions().items)
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ACCOUNT_UPDATE")
        await stage.levers.price(BTC, "93900")
        await settled(application, first.results[0].trade_id)
        await stage.levers.price(BTC, "96000")
        await until(lambda: not service.positions().items, patience_s=5)
        second = await decide(service, buy(tp_price=None, sl_price=None))
        assert second.results[0].status is AssetStatus.FILLED
