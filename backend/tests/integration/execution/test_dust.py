"""A position of hedge mode that is worth less than the exchange's smallest order (scenarios Z3, Z5, P3).

Reduce-only orders are exempt from that minimum, and hedge mode takes none. Whether AsterDEX exempts its closing orders
is not public, so the service is right under both.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from arena import Arena, buy, decide, sell, settled, stored, until_true

from app.bootstrap import Application
from app.domain.events import EventType
from app.domain.trades import TradeStatus
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution import exits

DOGE = "DOGEUSDT"
CLOSE = {"asset": DOGE, "action": "close_position"}
WHOLE = {"adjustment_type": "decrease", "adjustment_percentage": 100}
BARE: dict[str, Any] = {"sl_price": None, "tp_price": None}


async def in_hedge_mode(stage: Arena, *, exempt: bool) -> None:
    await stage.levers.call("POST", "/modes", {"account": "default", "hedge": True})
    await stage.levers.call("POST", "/rules", {"exempt_hedge_closes": exempt})
    await stage.levers.price(DOGE, "0.32")


async def dust(stage: Arena, application: Application) -> str:
    """20 DOGE, bought for 6.40 USD and worth 4.80 by now; the id of the trade."""
    opened = (await decide(application.service("default"), buy(DOGE, allocation_usd="6.40", **BARE))).results[0]
    assert opened.trade_id is not None
    await stage.move(DOGE, "0.24")
    return opened.trade_id


async def told_of_dust(application: Application) -> int:
    events = [recorded.event for recorded in await application.events.after(0, 500)]
    return sum(event.type is EventType.ALERT_RAISED and event.data["code"] == "dust_left" for event in events)


def is_told_as_dust(result: AssetResult) -> bool:
    error = result.error
    return error is not None and (error.code.value, error.exchange_code) == ("notional_below_minimum", -4164)


async def test_no_part_leaves_dust_behind(stage: Arena) -> None:
    """Z5, O7: after 1,000 of 1,010 the rest would be worth 3.20 USD, which the exchange does not take in hedge mode."""
    await in_hedge_mode(stage, exempt=False)
    stage.limit_market_orders(DOGE, "1000")
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy(DOGE, allocation_usd="323.20", **BARE))).results[0]
        assert (opened.status, opened.filled_quantity) == (AssetStatus.FILLED, Decimal(1010))
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(DOGE) == 0
        sent = await stage.levers.requests("POST", "/order", type="MARKET")
        assert [row["params"]["quantity"] for row in sent] == ["978", "32", "978", "32"]


async def test_dust_of_hedge_mode_is_closed_where_the_exchange_exempts_it(stage: Arena) -> None:
    """Z5."""
    await in_hedge_mode(stage, exempt=True)
    async with stage.application() as application:
        trade_id = await dust(stage, application)
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        await settled(application, trade_id)
        assert await stage.levers.position(DOGE) == 0
        assert await told_of_dust(application) == 0


async def test_dust_that_the_exchange_does_not_take_is_told_and_closed_as_soon_as_it_is_worth_enough(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: nobody waits for it, by decision or by hand; it stays ours, and is alerted once."""
    monkeypatch.setattr(exits, "_DUST_PAUSE", timedelta(seconds=0.3))
    await in_hedge_mode(stage, exempt=False)
    async with stage.application() as application:
        service = application.service("default")
        trade_id = await dust(stage, application)
        by_decision = (await decide(service, CLOSE)).results[0]
        assert by_decision.status is AssetStatus.FAILED
        assert is_told_as_dust(by_decision)
        by_hand = await asyncio.wait_for(service.close_position(DOGE, timeout_s=None), 60)
        assert is_told_as_dust(by_hand)
        assert (await stored(application, trade_id)).status is TradeStatus.CLOSING
        sent = len(await stage.levers.requests("POST", "/order", side="SELL"))
        await until_true(lambda: sold_again(stage, sent))
        assert await told_of_dust(application) == 1
        await stage.move(DOGE, "0.33")
        trade = await settled(application, trade_id)
        assert (trade.close_reason, trade.externally_reduced) == ("decision", 0)
        assert await stage.levers.position(DOGE) == 0


async def sold_again(stage: Arena, before: int) -> bool:
    return len(await stage.levers.requests("POST", "/order", side="SELL")) > before


@pytest.mark.parametrize(
    ("item", "settings"),
    [
        ({"asset": DOGE, "action": "adjust_position", "position_adjustment": WHOLE}, {}),
        (sell(DOGE, allocation_usd=100, **BARE), {"TES_RISK_ON_EXISTING_POSITION": "flip"}),
    ],
    ids=["decrease of the whole", "flip"],
)
async def test_what_needs_the_dust_closed_ends_too(
    stage: Arena, item: dict[str, Any], settings: dict[str, str]
) -> None:
    """P3, Z8: nothing is opened on the other side."""
    await in_hedge_mode(stage, exempt=False)
    async with stage.application(**settings) as application:
        await dust(stage, application)
        result = (await decide(application.service("default"), item)).results[0]
        assert result.status is AssetStatus.FAILED
        assert is_told_as_dust(result)
        assert await stage.levers.position(DOGE) == 20


async def test_an_entry_that_became_dust_before_it_was_protected_is_told_as_unprotected(stage: Arena) -> None:
    """Z3, P3: neither its stop nor its close is taken, and an alert is open."""
    await in_hedge_mode(stage, exempt=False)
    async with stage.application(TES_PROTECTION_MAX_ATTEMPTS="3") as application:
        service = application.service("default")
        wish = buy(DOGE, allocation_usd="5.15", tp_price=None, sl_price="0.25")
        deciding = asyncio.create_task(decide(service, wish))
        await until_true(lambda: stage.levers.position(DOGE))
        await stage.levers.price(DOGE, "0.29")
        result = (await deciding).results[0]
        assert result.status is AssetStatus.UNPROTECTED
        assert is_told_as_dust(result)
        assert await stage.levers.position(DOGE) == Decimal(16)
        assert await told_of_dust(application) == 1
