"""ccxt.pro follows the venue: tickers, trades, books, candles, and what happens to an account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.patience import PATIENCE_S

pytestmark = pytest.mark.long

BTC = "BTC/USDT:USDT"


async def until(watch: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """Watch again and again until what is seen is wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            seen = await watch()
            if wanted(seen):
                return seen


@asynccontextmanager
async def watching(watch: Callable[[], Awaitable[Any]]) -> AsyncIterator[asyncio.Future[Any]]:
    """What a watch that has already begun will see; only news arrive on account streams."""
    task = asyncio.ensure_future(watch())
    async with asyncio.timeout(PATIENCE_S):
        yield task
        await task


async def test_a_ticker_is_watched(pro, human):
    await human.set_prices(BTCUSDT="99000")
    ticker = await until(lambda: pro.watch_ticker(BTC), lambda row: row["last"] == 99_000)
    assert ticker["high"] == 99_000.0
    assert ticker["symbol"] == BTC
    assert ticker["change"] == pytest.approx(99_000 - ticker["open"])


async def test_tickers_of_several_symbols_are_watched(pro):
    seen: set[str] = set()
    symbols = [BTC, "ETH/USDT:USDT"]
    async with asyncio.timeout(PATIENCE_S):
        while seen != set(symbols):
            seen |= set(await pro.watch_tickers(symbols))


async def test_mark_prices_are_watched(pro):
    mark = await pro.watch_mark_price(BTC)
    assert (mark["markPrice"], mark["indexPrice"]) == (96_000.0, 96_000.0)


@asynccontextmanager
async def moving(human: Any, **prices: tuple[str, ...]) -> AsyncIterator[None]:
    """A market that keeps moving between some prices, for streams that speak only of changes."""

    async def move() -> None:
        while True:
            for step in zip(*prices.values(), strict=True):
                await human.set_prices(**dict(zip(prices, step, strict=True)))
                await asyncio.sleep(0.02)

    task = asyncio.ensure_future(move())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_best_prices_are_watched(pro, human):
    async with moving(human, BTCUSDT=("97000", "97010")):
        best = (await until(lambda: pro.watch_bids_asks([BTC]), lambda rows: BTC in rows))[BTC]
    assert best["bid"] < best["ask"]
    assert 96_900 < best["bid"] < 97_100


async def test_public_trades_are_watched(pro, human):
    async with moving(human, BTCUSDT=("97000", "97010")):
        trades = await pro.watch_trades(BTC)
    assert {trade["symbol"] for trade in trades} == {BTC}
    assert {trade["price"] for trade in trades} <= {97_000.0, 97_010.0}
    assert all(trade["amount"] > 0 and trade["side"] in {"buy", "sell"} for trade in trades)


@pytest.mark.parametrize("limit", [5, 20])
async def test_an_order_book_is_watched(pro, human, limit):
    await human.set_prices(BTCUSDT="97000")
    book = await pro.watch_order_book(BTC, limit)
    assert (len(book["bids"]), len(book["asks"])) == (limit, limit)
    assert book["bids"][0][0] < 97_000 < book["asks"][0][0]
    assert list(book["bids"]) == sorted(book["bids"], reverse=True)


async def test_candles_are_watched(pro, human):
    await human.set_prices(BTCUSDT="97000")
    rows = await until(lambda: pro.watch_ohlcv(BTC, "1m"), lambda rows: rows[-1][4] == 97_000.0)
    assert rows[-1][0] % 60_000 == 0


async def test_orders_trades_positions_and_balance_of_an_account_are_watched(pro):
    """One stream, four watchers, one market order."""
    await pro.fetch_balance()
    async with (
        watching(lambda: until(pro.watch_orders, lambda rows: rows[-1]["status"] == "closed")) as orders,
        watching(pro.watch_my_trades) as trades,
        watching(lambda: until(pro.watch_positions, bool)) as positions,
        watching(pro.watch_balance) as balance,
    ):
        await listening(pro, 4)
        placed = await pro.create_order(BTC, "market", "buy", 0.01)
        order = (await orders)[-1]
        trade = (await trades)[-1]
        position = (await positions)[-1]
        money = await balance
    assert (order["id"], order["filled"], order["side"], order["type"]) == (placed["id"], 0.01, "buy", "market")
    assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (placed["id"], 0.01, "taker")
    assert trade["fee"] == {"cost": pytest.approx(trade["cost"] * 0.0004), "currency": "USDT"}
    assert order["average"] == pytest.approx(trade["price"])
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.01)
    assert position["entryPrice"] == pytest.approx(trade["price"])
    assert money["USDT"]["total"] == pytest.approx(100_000 - trade["fee"]["cost"])


async def listening(pro: Any, watchers: int) -> None:
    """Until so many watches wait on the account's socket."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await asyncio.sleep(0.01)
            private = [client for url, client in pro.clients.items() if "/fstream/ws/" in url]
            if private and private[0].connected.done() and len(private[0].futures) >= watchers:
                return


async def test_a_stop_that_fires_is_seen_to_its_end(pro, human):
    await pro.create_order(BTC, "market", "buy", 0.01)
    async with watching(lambda: until(pro.watch_orders, lambda rows: rows[-1]["status"] == "closed")) as orders:
        await listening(pro, 1)
        stop = await pro.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 94_000, "reduceOnly": True})
        await human.set_prices(BTCUSDT="93900")
        order = (await orders)[-1]
    assert (order["id"], order["filled"], order["status"]) == (stop["id"], 0.01, "closed")
    assert order["info"]["ot"] == "STOP_MARKET"
