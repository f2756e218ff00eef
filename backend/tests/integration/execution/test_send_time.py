"""A decision is judged again when its entry is about to leave, whatever held it up since intake (C7, Z7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, stored, until

from app.bootstrap import Application
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution import prices
from app.services.execution.service import ExecutionService

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


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Iterator[asyncio.Event]:
    """Make a call of ours wait until the event yielded is set, as a slow exchange or disk does."""
    gate, call = asyncio.Event(), getattr(owner, name)

    async def waiting(*args: Any, **kwargs: Any) -> Any:
        await gate.wait()
        return await call(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, waiting)
        yield gate


async def moved(stage: Arena, service: ExecutionService, asset: str, price: str) -> None:
    """The mark and the book move together, and the service has heard of both."""
    prices = service._market.prices
    await stage.levers.price(asset, price)

    def is_known() -> bool:
        mark, quote = prices.last_mark(asset), prices.quote_at_hand(asset)
        near = Decimal(price) * Decimal("0.001")
        return (
            bool(mark and quote) and mark.mark_price == Decimal(price) and abs(quote.ask_price - mark.mark_price) < near
        )

    await until(is_known)


async def sent_after(
    stage: Arena, application: Application, monkeypatch: pytest.MonkeyPatch, item: dict[str, Any], price: str
) -> AssetResult:
    """The result of an entry whose leverage call is slow while mark and book move to ``price``."""
    service = application.service("default")
    with held_up(monkeypatch, service._client, "set_leverage") as gate:
        deciding = asyncio.create_task(decide(service, item))
        await until(lambda: any(trade.asset == item["asset"] for trade in service._active_trades()))
        await moved(stage, service, item["asset"], price)
        gate.set()
        return (await deciding).results[0]


IDLE = {"trailing_stop": {"callback_rate": 1, "activation_price": 97_000}}


@pytest.mark.parametrize(
    ("asset", "cases"),
    [
        pytest.param(
            BTC,
            [
                (buy(), "93900", "stop_loss_invalid"),
                (buy(), "99100", "take_profit_invalid"),
                (buy(), "97200", "price_deviation"),
                (buy(tp_price=None, sl_price=80_000, **IDLE), "97100", "stop_loss_invalid"),
                (buy(tp_price=None, sl_price=None), "60000", "price_deviation"),
            ],
            id="long",
        ),
        pytest.param(
            ETH,
            [
                (sell(), "3510", "stop_loss_invalid"),
                (sell(), "3290", "take_profit_invalid"),
                (sell(), "3340", "price_deviation"),
            ],
            id="short",
        ),
    ],
)
async def test_a_market_that_left_the_plan_is_not_entered(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, asset: str, cases: list[tuple[dict[str, Any], str, str]]
) -> None:
    """Z7: mark and book moved together, so the fill is near the mark, and far from the plan."""
    async with stage.application() as application:
        service = application.service("default")
        for number, (item, price, code) in enumerate(cases):
            result = await sent_after(stage, application, monkeypatch, item | {"leverage": 5 + number}, price)
            assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, code)
            await moved(stage, service, asset, "96000" if asset == BTC else "3400")
        assert await stage.levers.requests("POST", "/order") == []


FAR = {"TES_RISK_MAX_PRICE_DEVIATION_BPS": "2500"}
BARE = {"tp_price": None, "sl_price": None}


async def test_an_entry_shrinks_with_the_price_and_never_grows(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7: 1,000 USD stay 1,000 USD when the price has risen, and the planned quantity when it has fallen."""
    async with stage.application(TES_RISK_MAX_NOTIONAL_PER_ASSET="1000", **FAR) as application:
        risen = await sent_after(stage, application, monkeypatch, buy(**BARE), "110400")
        assert (risen.status, risen.filled_quantity) == (AssetStatus.FILLED, Decimal("0.009"))
        assert risen.requested_quantity == Decimal("0.009")
        assert await stage.levers.position(BTC) * 110_400 <= 1000
        trade = await stored(application, risen.trade_id)
        assert (trade.quantity, trade.entry.quantity) == (Decimal("0.009"), Decimal("0.009"))
        fallen = await sent_after(stage, application, monkeypatch, sell(**BARE), "3000")
        assert (fallen.status, fallen.filled_quantity) == (AssetStatus.FILLED, Decimal("0.294"))


async def test_an_entry_that_shrank_to_nothing_is_refused(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7: the smallest order has become dearer than the allocation."""
    async with stage.application(**FAR) as application:
        result = await sent_after(stage, application, monkeypatch, buy(allocation_usd=97, **BARE), "110400")
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "quantity_below_minimum")
        assert await stage.levers.requests("POST", "/order") == []


async def test_limits_hold_at_the_price_of_the_moment(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7: what else is held has grown with its price meanwhile."""
    async with stage.application(TES_RISK_MAX_TOTAL_NOTIONAL="2050", **FAR) as application:
        service = application.service("default")
        assert (await decide(service, sell(ETH, **BARE))).success
        with held_up(monkeypatch, service._client, "set_leverage") as gate:
            deciding = asyncio.create_task(decide(service, buy(**BARE)))
            await until(lambda: len(service._active_trades()) == 2)
            await moved(stage, service, ETH, "3800")
            gate.set()
            result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "exposure_limit")


INCREASE = {"adjustment_type": "increase", "adjustment_percentage": 100}


@pytest.mark.parametrize(
    ("mode", "item", "price", "code"),
    [
        pytest.param("add", buy(sl_price=94000, tp_price=None), "93900", "stop_loss_invalid", id="add, stop"),
        pytest.param("add", buy(**BARE), "97200", "price_deviation", id="add, away"),
        pytest.param(
            "reject", INCREASE | {"new_tp_price": 99000}, "99100", "take_profit_invalid", id="increase, target"
        ),
        pytest.param("reject", INCREASE, "94800", "price_deviation", id="more, away"),
    ],
)
async def test_what_is_added_is_judged_again_too(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, mode: str, item: dict[str, Any], price: str, code: str
) -> None:
    """Z7: the disk is slow; entries on top of a position and increases go the same way."""
    async with stage.application(TES_RISK_ON_EXISTING_POSITION=mode) as application:
        service = application.service("default")
        assert (await decide(service, buy(**BARE))).success
        if "action" not in item:
            item = {"asset": BTC, "action": "adjust_position", "position_adjustment": item}
        with held_up(monkeypatch, service._trades, "settled") as gate:
            deciding = asyncio.create_task(decide(service, item))
            await until(lambda: service._active_trades()[0].adjustments)
            await moved(stage, service, BTC, price)
            gate.set()
            result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, code)
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1


async def test_what_is_added_stays_within_the_limit_per_asset(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7: what is held counts at the price of the moment as well."""
    async with stage.application(
        TES_RISK_ON_EXISTING_POSITION="add", TES_RISK_MAX_NOTIONAL_PER_ASSET="2000", **FAR
    ) as application:
        service = application.service("default")
        assert (await decide(service, buy(**BARE))).success
        with held_up(monkeypatch, service._trades, "settled") as gate:
            deciding = asyncio.create_task(decide(service, buy(**BARE)))
            await until(lambda: service._active_trades()[0].adjustments)
            await moved(stage, service, BTC, "110400")
            gate.set()
            result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "exposure_limit")
        assert await stage.levers.position(BTC) == Decimal("0.01")


async def test_a_price_that_grew_old_meanwhile_is_read(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z7: the market stream is silent while the leverage is being set."""
    monkeypatch.setattr(prices, "READ_FRESH_S", 0.05)
    monkeypatch.setattr(prices, "SOCKET_SILENT_S", 0.05)
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "silence_market", "seconds": 60})
        with held_up(monkeypatch, service._client, "set_leverage") as gate:
            deciding = asyncio.create_task(decide(service, buy()))
            await until(service._active_trades)
            await stage.levers.price(BTC, "93900")
            await until(lambda: service._market.prices.mark_at_hand(BTC) is None)
            gate.set()
            result = (await deciding).results[0]
        assert (result.status, result.error and result.error.code) == (AssetStatus.REJECTED, "stop_loss_invalid")
        assert await stage.levers.requests("POST", "/order") == []
