"""Prices: mark prices and best prices from the market stream, each with a limit to its age; read where that is passed.

A mark price comes every second, the best prices when they change. So best prices of a few seconds ago still hold,
provided that the socket that brings them has brought a mark price since: it would have brought a change too (ADR 9).
"""

from __future__ import annotations

from app.domain.ports import Clock
from app.domain.reports import BookTicker, MarkPrice
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed

MARK_FRESH_S = 3.0
QUOTE_FRESH_S = 5.0
SOCKET_SILENT_S = 2.5


class Prices:
    """The newest known prices. Takes what the market stream brings; a gap in it voids the best prices."""

    def __init__(self, client: AsterClient, clock: Clock, followed: Followed) -> None:
        self._client = client
        self._clock = clock
        self._followed = followed
        self._marks: dict[str, tuple[MarkPrice, float]] = {}
        self._quotes: dict[str, tuple[BookTicker, float]] = {}
        self._heard_at: float | None = None

    def on_mark(self, mark: MarkPrice) -> None:
        """Take a mark price from the market stream."""
        self._heard_at = self._clock.monotonic()
        self._marks[mark.symbol] = (mark, self._heard_at)

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

    async def mark(self, asset: str) -> MarkPrice:
        """A fresh mark price.

        Raises:
            ExchangeError: the stream is silent, and the price could not be read.
        """
        known = self._marks.get(asset)
        if known is not None and self._clock.monotonic() - known[1] <= MARK_FRESH_S:
            return known[0]
        mark = await self._client.mark_price(asset)
        self._marks[asset] = (mark, self._clock.monotonic())
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
        return self.quote_at_hand(asset) or await self._client.book_ticker(asset)
