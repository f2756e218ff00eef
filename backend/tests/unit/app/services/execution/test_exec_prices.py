"""Prices at hand are believed for as long as the stream vouches for them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from story import START

from app.domain.errors import Unavailable
from app.domain.reports import BookTicker, MarkPrice
from app.integrations.aster.market_stream import Followed
from app.services.execution.prices import MARK_FRESH_S, QUOTE_FRESH_S, READ_FRESH_S, SOCKET_SILENT_S, Prices

BTC = "BTCUSDT"


def mark(price: int) -> MarkPrice:
    return MarkPrice(
        symbol=BTC,
        mark_price=Decimal(price),
        index_price=Decimal(price),
        funding_rate=Decimal(0),
        next_funding_at=None,
        time=START,
    )


def quote(price: int) -> BookTicker:
    return BookTicker(
        symbol=BTC,
        bid_price=Decimal(price - 1),
        bid_quantity=Decimal(1),
        ask_price=Decimal(price),
        ask_quantity=Decimal(1),
        time=START,
    )


class Exchange:
    """Answers reads with a price of its own, and holds the time."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.reads = 0
        self.answer_s = 0.0
        self.followed = Followed()
        stand_in: Any = self
        self.prices = Prices(stand_in, stand_in, self.followed)

    def monotonic(self) -> float:
        return self.seconds

    async def mark_price(self, _symbol: str) -> MarkPrice:
        self.reads += 1
        self.seconds += self.answer_s
        return mark(500)

    async def book_ticker(self, _symbol: str) -> BookTicker:
        self.reads += 1
        return quote(500)

    async def present(self) -> tuple[Decimal, Decimal]:
        price, best = await self.prices.present(BTC)
        return price.mark_price, best.ask_price

    async def quoted(self) -> Decimal:
        return (await self.prices.quote(BTC)).ask_price


async def test_a_mark_price_is_read_once_the_stream_is_silent() -> None:
    exchange = Exchange()
    exchange.prices.on_mark(mark(100))
    exchange.seconds += MARK_FRESH_S
    assert (await exchange.prices.mark(BTC)).mark_price == 100
    exchange.seconds += 0.1
    assert (await exchange.prices.mark(BTC)).mark_price == 500
    assert (await exchange.prices.mark(BTC)).mark_price == 500
    assert exchange.reads == 1


async def test_best_prices_hold_until_they_change_while_the_socket_speaks() -> None:
    exchange = Exchange()
    exchange.prices.on_quote(quote(100))
    for _ in range(4):
        exchange.prices.on_mark(mark(100))
        assert await exchange.quoted() == 100
        exchange.seconds += 1
    exchange.prices.on_quote(quote(101))
    assert await exchange.quoted() == 101
    assert exchange.reads == 0


async def test_best_prices_of_a_silent_socket_are_read() -> None:
    exchange = Exchange()
    exchange.prices.on_mark(mark(100))
    exchange.prices.on_quote(quote(100))
    exchange.seconds += SOCKET_SILENT_S + 0.1
    assert exchange.prices.quote_at_hand(BTC) is None
    assert await exchange.quoted() == 500


async def test_old_best_prices_are_read_even_where_the_socket_speaks() -> None:
    exchange = Exchange()
    exchange.prices.on_quote(quote(100))
    exchange.seconds += QUOTE_FRESH_S + 0.1
    exchange.prices.on_mark(mark(100))
    assert await exchange.quoted() == 500


async def test_best_prices_from_before_a_gap_are_void() -> None:
    exchange = Exchange()
    exchange.prices.on_mark(mark(100))
    exchange.prices.on_quote(quote(100))
    exchange.prices.on_gap()
    exchange.prices.on_mark(mark(100))
    assert await exchange.quoted() == 500


async def test_a_mark_price_that_was_read_does_not_vouch_for_the_socket() -> None:
    exchange = Exchange()
    exchange.prices.on_quote(quote(100))
    await exchange.prices.mark(BTC)
    assert exchange.prices.quote_at_hand(BTC) is None


async def test_the_price_of_the_moment_is_read_where_the_stream_does_not_tell_it() -> None:
    """Z7: what was good enough to plan by is too old to send by."""
    exchange = Exchange()
    exchange.prices.on_mark(mark(100))
    exchange.prices.on_quote(quote(100))
    exchange.seconds += SOCKET_SILENT_S
    assert await exchange.present() == (100, 100)
    exchange.seconds += 0.1
    assert (await exchange.prices.mark(BTC)).mark_price == 100
    assert await exchange.present() == (500, 500)
    assert exchange.reads == 2
    exchange.seconds += READ_FRESH_S
    assert await exchange.present() == (500, 500)
    assert exchange.reads == 2
    exchange.seconds += 0.1
    await exchange.present()
    assert exchange.reads == 4


async def test_a_price_that_takes_too_long_to_read_is_none() -> None:
    """Z7: an answer that was on its way for long tells of the past."""
    exchange = Exchange()
    exchange.answer_s = SOCKET_SILENT_S + 0.1
    with pytest.raises(Unavailable):
        await exchange.present()


async def test_zero_is_no_mark_price() -> None:
    exchange = Exchange()
    exchange.prices.on_mark(mark(100))
    exchange.prices.on_mark(mark(0))
    assert (await exchange.prices.mark(BTC)).mark_price == 100
    assert exchange.prices.last_mark(BTC) == mark(100)
