"""What the account can't carry is refused before anything is sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from arena import BTC, ETH, Arena, Request, buy, decide, sell, settled, until

from app.bootstrap import Application
from app.domain.reports import MarginType
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution.service import ExecutionService

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}


def refusal(result: AssetResult) -> tuple[AssetStatus, str | None]:
    return result.status, result.error.code.value if result.error else None


def message(result: AssetResult) -> str:
    return result.error.message if result.error else ""


async def test_an_entry_beyond_the_free_margin_is_refused_with_the_numbers(stage: Arena) -> None:
    """Z4: margin, fees and a buffer against a fresh balance."""
    async with stage.application() as application:
        service = application.service("default")
        wish = buy(allocation_usd=999_000, sl_price=95_500)
        result = (await decide(service, wish)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "insufficient_margin")
        assert "100000.00 is available" in message(result)
        assert await stage.levers.orders(symbol=BTC) == []
        assert (await decide(service, wish | {"allocation_usd": 900_000})).results[0].filled_quantity


async def test_an_entry_that_needs_much_of_the_free_margin_waits_for_a_fresh_balance(stage: Arena) -> None:
    """Z4: what another position binds is not available."""
    async with stage.application() as application:
        service = application.service("default")
        assert (await decide(service, buy(allocation_usd=900_000, sl_price=95_500))).results[0].filled_quantity
        result = (await decide(service, sell(ETH, allocation_usd=200_000))).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "insufficient_margin")


async def test_an_entry_above_its_leverage_bracket_is_refused(stage: Arena) -> None:
    """Z6."""
    async with stage.application(TES_RISK_ALLOCATION_BASIS="margin") as application:
        item = buy("ASTERUSDT", allocation_usd=60_000, leverage=25, tp_price=None, sl_price=None)
        service = application.service("default")
        await stage.move("ASTERUSDT", "10")
        result = (await decide(service, item)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "exposure_limit")
        assert "at 25x the exchange allows" in message(result)
        assert await stage.levers.orders(symbol="ASTERUSDT") == []


@pytest.mark.parametrize(
    ("item", "side"), [(buy(leverage=25, sl_price=91_000), "above"), (sell(leverage=25, sl_price=3_600), "below")]
)
async def test_a_stop_beyond_the_liquidation_price_is_refused_with_that_price(
    stage: Arena, item: dict[str, object], side: str
) -> None:
    """P6: at 25x an isolated position is liquidated about 3.6 % away."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED") as application:
        service = application.service("default")
        result = (await decide(service, item)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "stop_loss_invalid")
        assert "liquidation price" in message(result)
        closer = 93_000 if side == "above" else 3_500
        assert (await decide(service, item | {"sl_price": closer})).success


async def test_a_cross_position_is_backed_by_the_whole_account(stage: Arena) -> None:
    """P6: the same stop is none too late here."""
    async with stage.application() as application:
        assert (await decide(application.service("default"), buy(leverage=25, sl_price=91_000))).success


async def test_two_entries_in_flight_do_not_spend_the_same_margin(stage: Arena) -> None:
    """Z4: each would fit by itself, and only the first one is sent."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.3}, **ENTRY)
        answers = await asyncio.gather(
            decide(service, buy(allocation_usd=600_000, sl_price=95_500)),
            decide(service, sell(ETH, allocation_usd=600_000)),
        )
        results = {answer.results[0].status: answer.results[0] for answer in answers}
        assert set(results) == {AssetStatus.PROTECTED, AssetStatus.REJECTED}
        refused = results[AssetStatus.REJECTED]
        assert refusal(refused) == (AssetStatus.REJECTED, "insufficient_margin")
        assert "reserved for entries on their way" in message(refused)
        assert len(await stage.levers.orders(type="MARKET")) == 1


async def test_the_margin_of_an_entry_that_was_refused_is_free_again(stage: Arena) -> None:
    """Z4."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "error", "status": 400, "code": -2010, "msg": "New order rejected."}, **ENTRY)
        wish = buy(allocation_usd=600_000, sl_price=95_500)
        assert (await decide(service, wish)).results[0].status is AssetStatus.FAILED
        assert (await decide(service, wish)).success


@asynccontextmanager
async def in_play(
    stage: Arena, service: ExecutionService, application: Application, asset: str = BTC
) -> AsyncIterator[None]:
    """Trade an asset once; inside, its price moves a little all the time, and an entry finds everything at hand."""
    wish = {"tp_price": None, "sl_price": None} if asset != BTC else {}
    first = await decide(service, buy(asset, **wish))
    await decide(service, {"asset": asset, "action": "close_position"})
    await settled(application, first.results[0].trade_id)
    market = service._market
    mark = market.prices.last_mark(asset)
    assert mark is not None

    async def move() -> None:
        for step in itertools.cycle((Decimal("0.1"), Decimal(0))):
            await stage.levers.price(asset, str(mark.mark_price + step))
            await asyncio.sleep(0.1)

    moving = asyncio.create_task(move())
    try:
        await until(lambda: market.prices.quote_at_hand(asset) is not None and market.margin.at_hand(Decimal(200)))
        yield
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


async def test_what_a_read_shows_of_an_entry_is_not_reserved_as_well(stage: Arena) -> None:
    """Z4: 60,000 of 100,000 are taken, and 30,000 more are there, though no read has shown that before."""
    async with stage.application() as application:
        service = application.service("default")
        for wish in (buy(), sell(ETH)):
            first = (await decide(service, wish)).results[0]
            await decide(service, {"asset": first.asset, "action": "close_position"})
            await settled(application, first.trade_id)
        assert (await decide(service, buy(allocation_usd=600_000, sl_price=95_500))).success
        assert (await decide(service, sell(ETH, allocation_usd=300_000))).success


async def test_what_a_person_added_does_not_count_towards_our_limit_for_the_asset(stage: Arena) -> None:
    """The limit binds what we open; theirs is shown beside ours and never touched (H2)."""
    async with stage.application(TES_RISK_MAX_NOTIONAL_PER_ASSET="2500") as application:
        service = application.service("default")
        assert (await decide(service, buy())).success
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.010")
        await service.reconcile()
        more = {"adjustment_type": "increase", "adjustment_amount_usd": 1000}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": more}
        assert (await decide(service, wish)).results[0].status is AssetStatus.ADJUSTED
        refused = (await decide(service, wish)).results[0]
        assert refusal(refused) == (AssetStatus.REJECTED, "exposure_limit")


async def test_what_a_person_at_the_exchange_took_is_not_available(stage: Arena) -> None:
    """Z4: the account at hand is void once somebody else has changed it."""
    async with stage.application() as application:
        service = application.service("default")
        async with in_play(stage, service, application, "SOLUSDT"):  # an asset out of play reads anyway
            assert (await decide(service, buy(allocation_usd=300_000, sl_price=95_500))).success
            await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="200")
            await until(lambda: any(row.asset == ETH for row in service.positions().items))
            wish = buy("SOLUSDT", allocation_usd=400_000, tp_price=None, sl_price=None)
            result = (await decide(service, wish)).results[0]
            assert refusal(result) == (AssetStatus.REJECTED, "insufficient_margin")


READS = ("/ticker/bookTicker", "/accountWithJoinMargin", "/leverageBracket", "/commissionRate", "/leverage")


async def test_an_entry_on_an_asset_in_play_reads_nothing_before_it_is_sent(stage: Arena) -> None:
    """With every read failing it is entered all the same; an asset that is not in play is not."""
    async with stage.application() as application:
        service = application.service("default")
        async with in_play(stage, service, application):
            no = {"type": "error", "status": 400, "code": -1102, "msg": "No."}
            for path in READS:
                await stage.levers.fault(no, count=0, path=path)
            assert (await decide(service, buy())).success
        cold = (await decide(service, sell(ETH))).results[0]
        assert refusal(cold) == (AssetStatus.REJECTED, "exchange_unavailable")


async def test_best_prices_are_read_when_the_stream_is_silent(stage: Arena) -> None:
    """C7: what the stream no longer vouches for is not believed."""
    async with stage.application() as application:
        service = application.service("default")
        async with in_play(stage, service, application):
            await stage.levers.fault({"type": "silence_market", "seconds": 60})
        await until(lambda: service._market.prices.quote_at_hand(BTC) is None)
        no = {"type": "error", "status": 400, "code": -1102, "msg": "No."}
        await stage.levers.fault(no, path="/ticker/bookTicker")
        refused = (await decide(service, buy())).results[0]
        assert refusal(refused) == (AssetStatus.REJECTED, "exchange_unavailable")
        assert "best prices" in message(refused)
        assert (await decide(service, buy())).success


async def test_an_entry_from_which_the_streams_price_moved_away_is_refused_without_a_read(stage: Arena) -> None:
    """C7."""
    async with stage.application() as application:
        service = application.service("default")
        async with in_play(stage, service, application):
            prices = service._market.prices
        mark = prices.last_mark(BTC)
        assert mark is not None
        await stage.levers.price(BTC, "97500")
        await until(lambda: (quote := prices.quote_at_hand(BTC)) is not None and quote.ask_price > 97_000)
        prices.on_mark(mark)
        refused = (await decide(service, buy())).results[0]
        assert refusal(refused) == (AssetStatus.REJECTED, "price_deviation")


async def test_a_margin_type_that_somebody_changed_is_set_again_before_the_next_entry(stage: Arena) -> None:
    """Z6: what is known of an asset's settings is refreshed by events."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED", TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        assert (await decide(service, buy())).success
        assert (await decide(service, {"asset": BTC, "action": "close_position"})).success
        await service._client.set_margin_type(BTC, MarginType.CROSSED)
        await until(lambda: service._market._margin_types[BTC] is MarginType.CROSSED)
        assert (await decide(service, buy())).success
        assert {row.margin_type for row in await service._client.positions(BTC)} == {MarginType.ISOLATED}


async def test_a_margin_type_that_is_there_already_is_no_obstacle(stage: Arena, traffic: list[Request]) -> None:
    """L5: somebody was faster, and nobody told us; "no need to change" (-4046) is what we wanted."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED", TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await service._client.set_margin_type(BTC, MarginType.ISOLATED)
        await stage.levers.heal()
        traffic.clear()
        assert (await decide(service, buy())).success
        assert [(what, status) for _, what, status in traffic if what.endswith("/marginType")] == [
            ("POST /fapi/v3/marginType", 400)
        ]
