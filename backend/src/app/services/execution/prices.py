"""Prices: mark prices and best prices from the market stream, each with a limit to its age; read where that is passed.

A mark price comes every second, the best prices when they change. So best prices of a few seconds ago still hold,
provided that the socket that brings them has brought a mark price since: it would have brought a change too (ADR 9).
"""

from __future__ import annotations

import asyncio

from app.domain.errors import Unavailable
from app.domain.money import ZERO
from app.domain.ports import Clock
from app.domain.reports import BookTicker, MarkPrice
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed

MARK_FRESH_S = 3.0
QUOTE_FRESH_S = 5.0
SOCKET_SILENT_S = 2.5
READ_FRESH_S = 1.0
"""What was read, and not heard, is the present price for so long."""
_TRIES = 3


class Prices:
    """The newest known prices. Takes what the market stream brings; a gap in it voids the best prices."""

    def __init__(self, client: AsterClient, clock: Clock, followed: Followed) -> None:
        self._client = client
        self._clock = clock
        self._followed = followed
        self._marks: dict[str, tuple[MarkPrice, float, float]] = {}
        """With when it was heard, or asked for, and for how long it is the present price."""
        self._quotes: dict[str, tuple[BookTicker, float]] = {}
        self._read_quotes: dict[str, tuple[BookTicker, float]] = {}
        self._heard_at: float | None = None

    def on_mark(self, mark: MarkPrice) -> None:
        """Take a mark price from the market stream; 0 is none: a symbol can be shown before it has a price."""
        self._heard_at = self._clock.monotonic()
        if mark.mark_price > ZERO:
            self._marks[mark.symbol] = (mark, self._heard_at, SOCKET_SILENT_S)

    def on_quote(self, quote: BookTicker) -> None:
        """Take changed best prices from the market stream."""
        self._quotes[quote.symbol] = (quote, self._clock.monotonic())

    def on_gap(self) -> None:
        """The stream is down: best prices may change without a word."""
        self._quotes.clear()
        self._heard_at = None

    @property
    def is_up(self) -> bool:
        """Whether the stream brings prices."""
        return self._heard_at is not None and self._clock.monotonic() - self._heard_at <= MARK_FRESH_S

    def follow(self, asset: str) -> None:
        """Keep the best prices of an asset at hand from now on."""
        self._followed.add(asset)

    def last_mark(self, asset: str) -> MarkPrice | None:
        """The newest known mark price, however old."""
        known = self._marks.get(asset)
        return known[0] if known else None

    def mark_at_hand(self, asset: str) -> MarkPrice | None:
        """The mark price of the moment: the stream told it lately, or it was just read."""
        known = self._marks.get(asset)
        if known is None or self._clock.monotonic() - known[1] > known[2]:
            return None
        return known[0]

    async def mark(self, asset: str) -> MarkPrice:
        """A fresh mark price; 0 where the exchange shows none.

        Raises:
            ExchangeError: the stream is silent, and the price could not be read.
        """
        known = self._marks.get(asset)
        if known is not None and self._clock.monotonic() - known[1] <= MARK_FRESH_S:
            return known[0]
        return await self._read_mark(asset)

    async def _read_mark(self, asset: str) -> MarkPrice:
        asked_at = self._clock.monotonic()
        mark = await self._client.mark_price(asset)
        if mark.mark_price > ZERO:
            self._marks[asset] = (mark, asked_at, READ_FRESH_S)
        return mark

    def quote_at_hand(self, asset: str) -> BookTicker | None:
        """The best prices, when the stream vouches for them."""
        known = self._quotes.get(asset)
        if known is None or self._heard_at is None:
            return None
        now = self._clock.monotonic()
        if now - known[1] > QUOTE_FRESH_S or now - self._heard_at > SOCKET_SILENT_S:
            return None
        return known[0]

    async def quote(self, asset: str) -> BookTicker:
        """Fresh best prices.

        Raises:
            ExchangeError: the stream does not vouch for any, and they could not be read.
        """
        known = self.quote_at_hand(asset)
        if known is not None:
            return known
        read = self._read_quotes.get(asset)
        if read is not None and self._clock.monotonic() - read[1] <= READ_FRESH_S:
            return read[0]
        asked_at = self._clock.monotonic()
        quote = await self._client.book_ticker(asset)
        self._read_quotes[asset] = (quote, asked_at)
        return quote

    async def present(self, asset: str) -> tuple[MarkPrice, BookTicker]:
        """Mark price and best prices of the moment. Waits for nothing where they are at hand.

        Raises:
            ExchangeError: they could not be read, or only so slowly that they are of no use.
        """
        for _ in range(_TRIES):
            began = self._clock.monotonic()
            mark, quote = self.mark_at_hand(asset), self.quote_at_hand(asset)
            if mark is not None and quote is not None:
                return mark, quote
            read = await asyncio.gather(self._present_mark(asset), self.quote(asset))
            if self._clock.monotonic() - began <= SOCKET_SILENT_S:
                return read
        raise Unavailable(f"the prices of {asset} took longer than {SOCKET_SILENT_S:g} s to read, {_TRIES} times")

    def recent(self, asset: str) -> tuple[MarkPrice, BookTicker] | None:
        """Mark price and best prices that are at most a moment older than those of the moment."""
        now, mark, quote = self._clock.monotonic(), self._marks.get(asset), self.quote_at_hand(asset)
        read = self._read_quotes.get(asset)
        if quote is None and read is not None and now - read[1] <= SOCKET_SILENT_S:
            quote = read[0]
        if mark is None or quote is None or now - mark[1] > SOCKET_SILENT_S:
            return None
        return mark[0], quote

    async def _present_mark(self, asset: str) -> MarkPrice:
        return self.mark_at_hand(asset) or await self._read_mark(asset)
