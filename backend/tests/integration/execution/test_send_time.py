"""A decision is judged again when its entry is about to leave, whatever held it up since intake (scenario C7)."""

from __future__ import annotations

import asyncio

import pytest
from arena import BTC, Arena, buy, decide, until

from app.schemas.result import AssetStatus

SLOWLY = {"type": "delay_before", "seconds": 1.5}
LEVERAGE = {"method": "POST", "path": "/leverage"}


async def test_a_decision_that_waited_too_long_is_not_sent(stage: Arena) -> None:
    """Setting the leverage takes longer than the decision may be old."""
    async with stage.application(TES_RISK_MAX_DECISION_AGE_SECONDS="1") as application:
        await stage.levers.fault(SLOWLY, **LEVERAGE)
        result = (await decide(application.service("default"), buy())).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "stale_decision")
        assert await stage.levers.requests("POST", "/order") == []


async def test_a_market_that_moved_away_meanwhile_is_not_entered(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """The price was right when it was looked at first; it moves while the leverage is being set."""
    async with stage.application() as application:
        service = application.service("default")
        prices = service._market.prices
        assert (await decide(service, buy())).success
        assert (await decide(service, {"asset": BTC, "action": "close_position"})).success
        await until(lambda: prices.quote_at_hand(BTC) is not None)
        await stage.levers.fault(SLOWLY, **LEVERAGE)
        deciding = asyncio.create_task(decide(service, buy(leverage=5)))
        await until(service._active_trades)
        monkeypatch.setattr(prices, "on_mark", lambda _: None)  # the mark price follows late, by an average
        await stage.levers.price(BTC, "97500")
        await until(lambda: (quote := prices.quote_at_hand(BTC)) is not None and quote.ask_price > 97_000)
        result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "price_deviation")
        assert len(await stage.levers.requests("POST", "/order", side="BUY", type="MARKET")) == 1
