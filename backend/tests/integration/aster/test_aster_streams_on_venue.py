"""Both streams against a venue, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

from aster_venue import Market

from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.domain.reports import (
    Accepted,
    AccountUpdate,
    BookTicker,
    MarkPrice,
    OrderRequest,
    OrderType,
    OrderUpdate,
    Side,
    StreamDown,
    StreamUp,
    UserEvent,
    WorkingType,
)
from app.integrations.aster.aiohttp_transport import AiohttpStreamConnector
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed, MarketStream
from app.integrations.aster.streams import UserStream
from support.patience import PATIENCE_S

OpenClient = Callable[[str], Awaitable[AsterClient]]

ENTRY = OrderRequest(
    symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, client_order_id="tes.s.e1", quantity=Decimal("0.010")
)
STOP = OrderRequest(
    symbol="BTCUSDT",
    side=Side.SELL,
    type=OrderType.STOP_MARKET,
    client_order_id="tes.s.s1",
    quantity=Decimal("0.010"),
    stop_price=Decimal(94_000),
    reduce_only=True,
    working_type=WorkingType.MARK_PRICE,
)


class Heard:
    """What a stream has said so far, and a way to wait for more."""

    def __init__(self) -> None:
        self.events: list[UserEvent] = []
        self._changed = asyncio.Event()

    def __call__(self, event: UserEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, holds: Callable[[list[UserEvent]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self.events):
                self._changed.clear()
                await self._changed.wait()

    def orders(self, client_order_id: str) -> list[OrderUpdate]:
        return [
            event
            for event in self.events
            if isinstance(event, OrderUpdate) and event.order.client_order_id == client_order_id
        ]


@asynccontextmanager
async def running(market: Market, client: AsterClient, heard: Heard) -> AsyncIterator[None]:
    connector = AiohttpStreamConnector(market.venue.ws_url)
    stream = UserStream(client, connector, SystemClock(), SystemRandomness(), heard)
    task = asyncio.create_task(stream.run())
    try:
        await heard.until(lambda events: StreamUp(had_gap=False) in events)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await connector.close()


async def test_life_of_a_stopped_trade_is_told_by_the_stream(market: Market, client: AsterClient) -> None:
    """Scenario P8: the trigger's EXPIRED is followed by NEW and the fill, under one order id."""
    heard = Heard()
    async with running(market, client, heard):
        entry = await client.place_order(ENTRY)
        stop = await client.place_order(STOP)
        assert isinstance(entry, Accepted)
        assert isinstance(stop, Accepted)
        await market.price("BTCUSDT", "93990")
        await heard.until(lambda _: any(row.order.status_text == "FILLED" for row in heard.orders("tes.s.s1")))

    assert [row.order.status_text for row in heard.orders("tes.s.e1")][-1] == "FILLED"
    updates = heard.orders("tes.s.s1")
    assert [row.order.status_text for row in updates[:3]] == ["NEW", "EXPIRED", "NEW"]
    assert {row.order.order_id for row in updates} == {stop.report.order_id}
    assert updates[-1].order.is_triggered
    told = {row.fill.exchange_trade_id: row.fill for row in updates if row.fill is not None}
    asked = {fill.exchange_trade_id: fill for fill in await client.user_trades("BTCUSDT") if fill.side is Side.SELL}
    assert set(told) == set(asked)
    for trade_id, fill in told.items():
        same = asked[trade_id]
        assert (fill.price, fill.quantity, fill.commission, fill.realised_pnl) == (
            same.price,
            same.quantity,
            same.commission,
            same.realised_pnl,
        )
    positions = [row.positions for row in heard.events if isinstance(row, AccountUpdate) and row.positions]
    assert positions[-1][0].quantity == 0


async def test_hung_up_stream_comes_back_and_tells_the_gap(market: Market, open_client: OpenClient) -> None:
    client = await open_client("v3")
    heard = Heard()
    async with running(market, client, heard):
        await market.fault({"type": "disconnect"}, {"event": "ORDER_TRADE_UPDATE"})
        assert isinstance(await client.place_order(ENTRY), Accepted)
        await heard.until(lambda events: StreamUp(had_gap=True) in events)
        assert any(isinstance(event, StreamDown) for event in heard.events)
        assert isinstance(await client.place_order(STOP), Accepted)
        await heard.until(lambda _: bool(heard.orders("tes.s.s1")))


async def test_listen_key_is_shared_and_renewed(open_client: OpenClient) -> None:
    """Scenario W7, fact sheet section 4."""
    for version in ("v3", "v1"):
        client = await open_client(version)
        key = await client.open_listen_key()
        assert await client.open_listen_key() == key
        await client.renew_listen_key()


@dataclass
class Board:
    """Takes prices, and says when one has come."""

    marks: dict[str, MarkPrice] = field(default_factory=dict)
    quotes: dict[str, BookTicker] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def on_mark(self, mark: MarkPrice) -> None:
        self.marks[mark.symbol] = mark
        self.news.set()

    def on_quote(self, quote: BookTicker) -> None:
        self.quotes[quote.symbol] = quote
        self.news.set()

    def on_gap(self) -> None:
        """Nothing to forget."""

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def prices_of(market: Market, board: Board, symbols: list[str] | None) -> AsyncIterator[Followed]:
    connector, followed = AiohttpStreamConnector(market.venue.ws_url), Followed()
    stream = MarketStream(connector, SystemClock(), SystemRandomness(), board, followed, symbols)
    task = asyncio.create_task(stream.run())
    try:
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await connector.close()


async def test_mark_prices_arrive_for_named_symbols_and_for_all(market: Market) -> None:
    for symbols in (["BTCUSDT"], None):
        board = Board()
        async with prices_of(market, board, symbols):
            await board.until(lambda board=board: "BTCUSDT" in board.marks)  # type: ignore[misc]
        assert board.marks["BTCUSDT"].mark_price == 96_000
        assert (set(board.marks) == {"BTCUSDT"}) == (symbols is not None)


async def test_best_prices_arrive_for_what_is_followed_later_on(market: Market) -> None:
    board = Board()
    async with prices_of(market, board, None) as followed:
        await board.until(lambda: "BTCUSDT" in board.marks)
        followed.add("BTCUSDT")
        price = 96_000
        while "BTCUSDT" not in board.quotes:  # the subscription is under way: only a change after it is told
            price += 10
            await market.price("BTCUSDT", str(price))
            with suppress(TimeoutError):
                await asyncio.wait_for(board.until(lambda: "BTCUSDT" in board.quotes), 0.2)
        await board.until(lambda: abs(board.quotes["BTCUSDT"].ask_price - price) < 10)
        assert board.quotes["BTCUSDT"].bid_price < board.quotes["BTCUSDT"].ask_price
