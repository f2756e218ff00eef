"""Frames of the user stream get lost: what they would have told is asked for."""

from __future__ import annotations

import pytest
from arena import BTC, Arena, buy, decide, settled, until

from app.schemas.result import AssetStatus
from app.services.execution import facts
from app.services.execution.desk_tools import Learn, Message
from app.services.execution.mailbox import Mailbox
from support.patience import PATIENCE_S


async def test_lost_account_frame_does_not_keep_the_asset_blocked_until_the_next_interval(stage: Arena) -> None:
    """W8, O1: our own trade has ended, but nobody told the projection that the position is gone."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        first = await decide(service, buy())
        await until(lambda: service.positions().items)
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ACCOUNT_UPDATE")
        await stage.levers.price(BTC, "93900")
        await settled(application, first.results[0].trade_id)
        await stage.move(BTC, "96000")
        await until(lambda: not service.positions().items, patience_s=PATIENCE_S)
        second = await decide(service, buy(tp_price=None, sl_price=None))
        assert second.results[0].status is AssetStatus.FILLED


async def test_news_that_found_no_room_is_asked_for(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """W8: whenever an order's frame arrives, a burst has just filled the asset's mailbox to its last place."""
    put = Mailbox.put_urgent
    lost: list[facts.Fact] = []

    def crowded(self: Mailbox[Message], message: Message) -> None:
        if isinstance(message, Learn) and isinstance(message.fact, facts.OrderStreamed):
            lost.append(message.fact)
            while len(self._urgent) < self._urgent_capacity:
                self._urgent.append(Learn(message.trade_id, facts.Ticked(at=message.fact.at)))
        put(self, message)

    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        first = await decide(application.service("default"), buy())
        monkeypatch.setattr(Mailbox, "put_urgent", crowded)
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, first.results[0].trade_id)
        assert lost
        assert trade.close_reason == "stop_loss"
        assert trade.exposure == 0
        assert await stage.levers.open_orders(BTC) == []
