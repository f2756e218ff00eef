"""Money is what the exchange booked: PnL and fees of the user trades, funding of the income (scenario H5)."""

from __future__ import annotations

from decimal import Decimal

from arena import BTC, Arena, buy, decide, settled, until, until_true

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
        assert trade.commission == sum(Decimal(fill["commission"]) for fill in fills) > 0
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills) > 0
