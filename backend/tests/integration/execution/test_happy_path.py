"""From a decision to a protected position, and out again, on each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from arena import BTC, ETH, Arena, arena, buy, decide, sell, settled, stored, until_true

from app.domain.errors import DecisionRefused
from app.schemas.result import AssetStatus, ResultStatus


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Arena]:
    """The arena on each kind of database."""
    async with arena(database_url) as running:
        yield running


async def test_long_and_short_end_protected_and_the_venue_agrees(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy(), sell(), {"asset": "SOLUSDT", "action": "hold"})
        assert result.status is ResultStatus.EXECUTED
        assert [one.status for one in result.results] == ["protected", "protected", "skipped"]
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert await stage.levers.position(ETH) == Decimal("-0.294")
        for one in result.results[:2]:
            exits = await stage.levers.open_orders(one.asset)
            assert {row["type"] for row in exits} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}
            assert {Decimal(row["origQty"]) for row in exits} == {one.filled_quantity}
            assert (await stored(application, one.trade_id)).status == "open"


async def test_stop_loss_closes_the_trade_cancels_the_target_and_books_the_venues_money(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        await stage.levers.price(BTC, "93900")
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "stop_loss"
        assert await stage.levers.open_orders(BTC) == []
        fills = await stage.levers.fills()
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills)
        assert sum(fill.commission for fill in trade.fills) == sum(Decimal(fill["commission"]) for fill in fills)
        assert trade.realised_pnl < -20


async def test_take_profit_closes_a_short_and_cancels_the_stop(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), sell())
        await stage.levers.price(ETH, "3290")
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "take_profit"
        assert trade.realised_pnl > 0
        assert await stage.levers.open_orders(ETH) == []


async def test_close_position_by_decision_goes_flat_and_says_why(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy())
        closed = await decide(service, {"asset": BTC, "action": "close_position"})
        assert closed.results[0].status is AssetStatus.CLOSED
        assert (await stored(application, opened.results[0].trade_id)).close_reason == "decision"
        assert await stage.levers.position(BTC) == 0


async def test_the_same_decision_in_parallel_is_executed_once(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        answers = await asyncio.gather(*(decide(service, buy(), decision_id="once") for _ in range(20)))
        assert len({answer.model_dump_json() for answer in answers}) == 1
        assert answers[0].results[0].status == "protected"
        assert len(await stage.levers.orders(type="MARKET", symbol=BTC)) == 1


async def test_a_decision_of_an_earlier_process_is_answered_from_the_record(stage: Arena) -> None:
    """C5: its trade has ended long ago, so nothing of it is in memory."""
    async with stage.application() as application:
        first = await decide(application.service("default"), buy(), decision_id="once")
        await stage.levers.price(BTC, "99100")
        await settled(application, first.results[0].trade_id)
    await stage.fresh_prices()
    async with stage.application() as application:
        try:
            again = await decide(application.service("default"), buy(), decision_id="once")
        except DecisionRefused as refused:
            pytest.fail(f"not recognised: {refused}")
        assert again == first
        assert len(await stage.levers.fills()) == 2


async def test_two_decisions_for_one_asset_at_once_enter_once(stage: Arena) -> None:
    async with stage.application(TES_RISK_COOLDOWN_SECONDS="300") as application:
        service = application.service("default")
        answers = await asyncio.gather(*(decide(service, buy(), decision_id=f"d{n}") for n in range(20)))
        statuses = [answer.results[0].status for answer in answers]
        assert statuses.count(AssetStatus.PROTECTED) == 1
        refused = [answer.results[0].error for answer in answers if answer.results[0].error]
        assert {error.code for error in refused} == {"cooldown_active"}
        assert all(error.retry_after_seconds and 0 < error.retry_after_seconds <= 300 for error in refused)


async def test_cooldown_survives_a_restart(stage: Arena) -> None:
    async with stage.application(TES_RISK_COOLDOWN_SECONDS="300") as application:
        opened = await decide(application.service("default"), buy())
        await decide(application.service("default"), {"asset": BTC, "action": "close_position"})
        await settled(application, opened.results[0].trade_id)
    async with stage.application(TES_RISK_COOLDOWN_SECONDS="300") as application:
        again = await decide(application.service("default"), buy())
        assert again.results[0].error is not None
        assert again.results[0].error.code == "cooldown_active"


async def test_leverage_is_capped_and_set_on_the_exchange(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy(leverage=50))
        assert (result.results[0].leverage, result.results[0].requested_leverage) == (25, 50)
        rows = await application.service("default")._client.positions(BTC)
        assert {row.leverage for row in rows} == {25}


async def test_a_market_that_moved_away_is_not_entered(stage: Arena) -> None:
    """C7: the best price on the other side is too far from the mark."""
    async with stage.application(TES_RISK_MAX_PRICE_DEVIATION_BPS="0.001") as application:
        refused = await decide(application.service("default"), buy())
        assert refused.status is ResultStatus.REJECTED
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "price_deviation"
        assert "0.001 bps" in refused.results[0].error.message
        assert await stage.levers.orders(symbol=BTC) == []


async def test_events_are_gapless_and_tell_the_story_in_order(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        await stage.levers.price(BTC, "99100")
        await settled(application, result.results[0].trade_id)

        async def is_told() -> bool:
            told = [recorded.event.type for recorded in await application.events.after(0, 1000)]
            return "TradeClosed" in told

        await until_true(is_told)
        log = await application.events.after(0, 1000)
        assert [recorded.seq for recorded in log] == list(range(1, len(log) + 1))
        told = [recorded.event.type for recorded in log if recorded.event.asset == BTC]
        story = ["OrderPlaced", "TradeOpened", "TradeProtected", "TradeClosed"]
        assert [told.index(type_) for type_ in story] == sorted(told.index(type_) for type_ in story)


async def test_a_trade_without_exits_ends_filled(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy(tp_price=None, sl_price=None))
        assert result.results[0].status is AssetStatus.FILLED
        assert await stage.levers.open_orders(BTC) == []
