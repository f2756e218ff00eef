"""Money is what the exchange booked: PnL and fees of the user trades, funding of the income (scenario H5)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from arena import BTC, Arena, buy, decide, settled, until, until_true

from app.domain.events import EventType
from app.schemas.records import trade_document
from support.patience import PATIENCE_S

_EIGHT_HOURS_S = 8 * 3600


async def test_funding_and_commission_are_what_the_exchange_booked(stage: Arena) -> None:
    """A long pays while it is open; then its target is reached."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.call("POST", "/funding", {"symbol": BTC, "rate": "0.001"})
        opened = (await decide(service, buy())).results[0]
        await stage.levers.fault({"type": "clock_skew", "seconds": _EIGHT_HOURS_S})

        async def paid() -> list[Decimal]:
            rows = (await stage.levers.account())["income"]
            return [Decimal(row["income"]) for row in rows if row["incomeType"] == "FUNDING_FEE"]

        await until_true(paid)
        await until(lambda: service.readiness().is_ready)
        await stage.levers.price(BTC, "99100")
        trade = await settled(application, opened.trade_id)
        fills = await stage.levers.fills()
        assert trade.close_reason == "take_profit"
        assert trade.funding == sum(await paid()) < 0
        assert sum(fill.commission for fill in trade.fills) == sum(Decimal(fill["commission"]) for fill in fills) > 0
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills) > 0


CLOSE = {"asset": BTC, "action": "close_position"}


async def test_commission_in_two_assets_is_told_by_asset(stage: Arena) -> None:
    """H5: the entry and the first half of the close are paid for in BNB, the second half in USDT.

    In the result, the record and the event, amounts in different assets are never added up (contract, section 9).
    """
    async with stage.application() as application:
        service = application.service("default")
        fees_in = {"asset": "BNB", "balance": "0.001"}
        await stage.levers.call("POST", "/modes", {"account": "default", "fees_in": fees_in})
        opened = (await decide(service, buy())).results[0]
        stage.limit_market_orders(BTC, "0.005")
        closed = (await decide(service, CLOSE)).results[0].model_dump(mode="json")
        trade = await settled(application, opened.trade_id)
        entry, first, second = await stage.levers.fills()
        assert [row["commissionAsset"] for row in (entry, first, second)] == ["BNB", "BNB", "USDT"]
        assert (opened.commission, opened.commission_asset) == (Decimal(entry["commission"]), "BNB")
        assert "commissions" not in opened.model_dump(mode="json")

        def told(*rows: tuple[str, Decimal]) -> list[tuple[str, Decimal]]:
            return sorted(rows)

        def listed(document: dict[str, Any]) -> list[tuple[str, Decimal]]:
            assert (document["commission"], document["commission_asset"]) == (None, None)
            return [(paid["asset"], Decimal(paid["amount"])) for paid in document["commissions"]]

        dollars = ("USDT", Decimal(second["commission"]))
        assert listed(closed) == told(("BNB", Decimal(first["commission"])), dollars)
        in_coins = Decimal(entry["commission"]) + Decimal(first["commission"])
        assert listed(trade_document(trade).model_dump(mode="json")) == told(("BNB", in_coins), dollars)
        events = [recorded.event for recorded in await application.events.after(0, 300)]
        (ended,) = (event for event in events if event.type is EventType.TRADE_CLOSED)
        assert listed(ended.data) == told(("BNB", in_coins), dollars)


async def test_what_is_lost_in_another_asset_counts_towards_the_daily_limit(stage: Arena) -> None:
    """Contract, section 9: commission in BNB counts by its value; no more than 3 USD is lost in USDT."""
    async with stage.application(TES_RISK_MAX_DAILY_LOSS="8") as application:
        service = application.service("default")
        fees_in = {"asset": "BNB", "balance": "10"}
        await stage.levers.call("POST", "/modes", {"account": "default", "fees_in": fees_in})
        await decide(service, buy(allocation_usd=10_000))
        await decide(service, CLOSE)
        booked = (await stage.levers.account())["income"]
        in_dollars = [Decimal(row["income"]) for row in booked if row["asset"] == "USDT" and row["symbol"]]
        assert -3 < sum(in_dollars) < 0
        await asyncio.wait_for(service._daily.read(), PATIENCE_S)
        refusal = (await decide(service, buy())).results[0].error
        assert refusal is not None
        assert refusal.code == "daily_loss_limit"
