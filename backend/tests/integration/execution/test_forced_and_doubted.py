"""What the exchange does by force, and what it says that its own books contradict."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

from arena import BTC, Arena, buy, decide, settled, until_true

from app.bootstrap import Application
from app.schemas.result import AssetStatus

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
LOOK = {"method": "GET", "path": "/order"}


async def alerts(application: Application) -> list[str]:
    return [
        recorded.event.data["code"]
        for recorded in await application.events.after(0, 1_000)
        if recorded.event.type.value == "AlertRaised"
    ]


async def test_a_liquidation_closes_the_trade_as_one_and_its_siblings_go(stage: Arena) -> None:
    """W6, H1: the forced order names the reason, the money is the exchange's."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED", TES_RISK_MAX_LEVERAGE="25") as application:
        opened = await decide(application.service("default"), buy(leverage=25, sl_price=None))
        assert opened.results[0].status is AssetStatus.PROTECTED
        await stage.levers.price(BTC, "91000")
        trade = await settled(application, opened.results[0].trade_id)
        assert trade.close_reason == "liquidation"
        assert trade.exposure == 0
        assert await stage.levers.open_orders(BTC) == []
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in await stage.levers.fills())
        assert "closed_by_exchange" in await alerts(application)


async def test_a_liquidation_while_nobody_looked_is_found_by_reads(stage: Arena) -> None:
    """W6: no event tells of it; the list of orders does."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED") as application:
        opened = await decide(application.service("default"), buy(leverage=25, sl_price=None))
    await stage.levers.price(BTC, "91000")
    async with stage.application(TES_MARGIN_TYPE="ISOLATED") as application:
        trade = await settled(application, opened.results[0].trade_id)
        assert trade.close_reason == "liquidation"


async def test_a_deleveraged_position_is_closed_as_adl_and_its_siblings_go(stage: Arena) -> None:
    """W6: somebody else went bankrupt, the fund is empty, and our profit pays for it."""
    levers = stage.levers
    levers.venue.venue.state.fund.start = Decimal(0)
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        opened = await decide(application.service("default"), buy(tp_price=None))
        await levers.call("POST", "/accounts", {"name": "whale", "balance": "300"})
        await levers.by_hand(account="whale", symbol=BTC, side="SELL", quantity="0.05")
        await levers.price(BTC, "105000")
        trade = await settled(application, opened.results[0].trade_id)
        assert trade.close_reason == "adl"
        assert trade.realised_pnl > 0
        assert await levers.open_orders(BTC) == []


async def test_an_entry_shown_expired_and_empty_is_not_believed_against_the_trades(stage: Arena) -> None:
    """U7: trades and position win; the position is protected."""
    async with stage.application() as application:
        service = application.service("default")
        levers = stage.levers
        await levers.fault({"type": "drop_events"}, count=0)
        await levers.fault({"type": "delay_after", "seconds": 1.5}, **ENTRY)
        await levers.fault({"type": "drop_after"}, **ENTRY)
        deciding = asyncio.create_task(decide(service, buy()))
        await until_true(lambda: levers.orders(symbol=BTC, type="MARKET"))
        (order,) = await levers.orders(symbol=BTC, type="MARKET")
        await levers.fault(
            {"type": "error", "status": 200, "body": json.dumps(emptied(order))},
            **LOOK | {"params": {"origClientOrderId": order["clientOrderId"]}},
        )
        result = (await deciding).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert result.filled_quantity == await levers.position(BTC) > 0


def emptied(order: dict[str, Any]) -> dict[str, Any]:
    """The exchange's order as a confused replica shows it."""
    return order | {"status": "EXPIRED", "executedQty": "0", "cumQuote": "0", "avgPrice": "0"}
