"""Quantities: what is ordered, what is filled of it, and what its exits are for (Z1-Z3, Z5, Z6)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from arena import BTC, Arena, arena, buy, decide, settled, until_true

from app.domain.orders import OrderState
from app.schemas.result import AssetResult, AssetStatus
from aster_sim.core.liquidity import Liquidity

ASTER = "ASTERUSDT"
ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
LEVERAGE = {"method": "POST", "path": "/leverage"}
SLIVER = Decimal("0.00001")
"""Of the usual depth: forty levels of one step each."""


@pytest.fixture
async def thin(tmp_path: Path) -> AsyncIterator[Arena]:
    """A venue whose books hold forty steps."""
    async with arena(tmp_path / "tes.db", depth=SLIVER) as running:
        yield running


def shrink_book(stage: Arena, symbol: str, depth: Decimal = SLIVER) -> None:
    """From now on the symbol's book holds a fraction of the usual."""
    market = stage.levers.venue.venue.state.markets[symbol]
    market.liquidity = Liquidity(market.instrument, Random(3), depth)


def refusal(result: AssetResult) -> tuple[AssetStatus, str | None]:
    return result.status, result.error.code.value if result.error else None


@pytest.mark.parametrize(("usd", "code"), [(80, "quantity_below_minimum"), (96_000 * 1001, "quantity_above_maximum")])
async def test_a_quantity_outside_the_market_lot_is_refused_not_bent(stage: Arena, usd: int, code: str) -> None:
    """Z1: never up past the allocation, and MARKET_LOT_SIZE counts for market orders."""
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy(allocation_usd=usd))).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, code)
        assert await stage.levers.requests("POST", "/order") == []


async def test_a_partly_filled_entry_is_protected_for_what_is_held(thin: Arena) -> None:
    """Z2: the remainder EXPIRED is final."""
    async with thin.application() as application:
        result = (await decide(application.service("default"), buy(allocation_usd=6_000))).results[0]
        assert result.status is AssetStatus.PROTECTED
        held = await thin.levers.position(BTC)
        assert (result.requested_quantity, result.filled_quantity) == (Decimal("0.062"), held)
        assert held == Decimal("0.040")
        assert {Decimal(row["origQty"]) for row in await thin.levers.open_orders(BTC)} == {held}
        trade = await settled(application, result.trade_id, "open")
        assert trade.entry.state is OrderState.EXPIRED
        assert trade.filled_at is not None


async def test_a_slow_fill_is_protected_from_its_first_part_and_resized(thin: Arena) -> None:
    """Z2: the first execution is told at once, the others and the answer come late."""
    async with thin.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        await thin.levers.fault({"type": "delay_after", "seconds": 1.5}, **ENTRY)
        await thin.levers.fault({"type": "delay_events", "seconds": 1}, count=40, skip=2, event="ORDER_TRADE_UPDATE")
        result = (await decide(application.service("default"), buy(allocation_usd=6_000))).results[0]
        assert result.status is AssetStatus.PROTECTED

        async def covers_all() -> bool:
            held = await thin.levers.position(BTC)
            return [Decimal(row["origQty"]) for row in await thin.levers.open_orders(BTC)] == [held, held]

        await until_true(covers_all)
        stops = await thin.levers.requests("POST", "/order", type="STOP_MARKET")
        assert stops[0]["params"]["quantity"] == "0.001"
        assert stops[-1]["params"]["quantity"] == "0.04"


async def test_a_fill_below_the_minimum_notional_is_protected_all_the_same(thin: Arena) -> None:
    """Z3: reduce-only orders are exempt from it."""
    async with thin.application() as application:
        service = application.service("default")
        await thin.move(ASTER, "1.1")
        shrink_book(thin, ASTER, SLIVER / 1_000)
        wish = buy(ASTER, allocation_usd=100, tp_price=1.3, sl_price=1.0)
        result = (await decide(service, wish)).results[0]
        assert result.status is AssetStatus.PROTECTED
        held = await thin.levers.position(ASTER)
        assert 0 < held * Decimal("1.1") < 5
        exits = await thin.levers.open_orders(ASTER)
        assert [(Decimal(row["origQty"]), row["reduceOnly"]) for row in exits] == [(held, True)] * 2


async def test_what_a_close_leaves_behind_is_swept(stage: Arena) -> None:
    """Z5: the book takes a part of the position; the trade is not closed before the rest is gone."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy(allocation_usd=6_000))).results[0]
        shrink_book(stage, BTC)
        closed = (await decide(service, {"asset": BTC, "action": "close_position"})).results[0]
        assert closed.status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []
        trade = await settled(application, opened.trade_id)
        assert len([order for order in trade.orders if order.role == "close"]) > 1


def read_back(leverage: int, most: str = "1000000") -> dict[str, Any]:
    body = {"leverage": leverage, "maxNotionalValue": most, "symbol": BTC}
    return {"type": "error", "status": 200, "body": json.dumps(body)}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (read_back(20), "leverage_exceeded"),
        (read_back(7, most="900"), "exposure_limit"),
        ({"type": "error", "status": 400, "code": -4028, "msg": "Leverage is not valid."}, "exchange_rejected"),
        ({"type": "error", "status": 503}, "exchange_rejected"),
    ],
    ids=["another value", "a smaller cap", "refused", "no answer"],
)
async def test_an_entry_without_its_leverage_is_not_sent(stage: Arena, answer: dict[str, Any], code: str) -> None:
    """Z6: set, read back, and stopped by a failure or a mismatch."""
    async with stage.application() as application:
        await stage.levers.fault(answer, **LEVERAGE)
        result = (await decide(application.service("default"), buy(leverage=7))).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, code)
        assert await stage.levers.requests("POST", "/order") == []
