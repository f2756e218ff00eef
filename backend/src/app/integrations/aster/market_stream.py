"""Mark prices of all symbols and the best prices of some, live, on one socket.

Silence means a dead socket here, because mark prices come every second (scenario W2). The best prices come when they
change, so silence about them says nothing by itself: that both come on one socket is what tells whether they still
hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import quote

import msgspec
import structlog

from app.domain.ports import Clock, Randomness
from app.domain.reports import BookTicker, MarkPrice
from app.integrations.aster.backoff import Backoff
from app.integrations.aster.parse_stream import market_prices
from app.integrations.aster.streams import SessionEnded
from app.integrations.aster.transport import StreamConnection, StreamConnector, StreamLost

_log = structlog.get_logger(__name__)

SILENCE_S = 15.0
"""So long without a price, and the connection is replaced."""

MOST_FOLLOWED = 100
"""Symbols whose best prices are followed at most: a connection may carry 200 streams (fact sheet, section 7)."""

_BASE_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_STEADY_AFTER_S = 60.0
_BETWEEN_WISHES_S = 0.25
"""The exchange takes ten messages a second; a wish names every symbol that has come up since the last one."""
_EVERY_SYMBOL = "!markPrice@arr@1s"
_MOST_SYMBOLS_BY_NAME = 50


class PriceListener(Protocol):
    """Who takes the prices. Nothing here may block."""

    def on_mark(self, mark: MarkPrice) -> None:
        """A mark price."""
        ...

    def on_quote(self, quote: BookTicker) -> None:
        """The best prices of a followed symbol have changed."""
        ...

    def on_gap(self) -> None:
        """The socket is lost: of changes from now on, until the next price, nothing is known."""
        ...


class Followed:
    """Symbols whose best prices are wanted; it only grows, up to :data:`MOST_FOLLOWED`."""

    def __init__(self) -> None:
        self.symbols: set[str] = set()
        self.has_news = asyncio.Event()

    def add(self, symbol: str) -> None:
        """Want the best prices of ``symbol`` too; beyond the limit nothing happens."""
        if symbol not in self.symbols and len(self.symbols) < MOST_FOLLOWED:
            self.symbols.add(symbol)
            self.has_news.set()


class MarketStream:
    """Hands each price to the listener, in the order of arrival.

    Args:
        symbols: whose mark prices; None is all that the exchange has. Many are taken from the stream of all.
        followed: whose best prices; may grow at any time.
    """

    def __init__(
        self,
        connector: StreamConnector,
        clock: Clock,
        randomness: Randomness,
        listener: PriceListener,
        followed: Followed,
        symbols: Collection[str] | None = None,
    ) -> None:
        self._connector = connector
        self._clock = clock
        self._backoff = Backoff(clock, randomness, base_s=_BASE_DELAY_S, longest_s=_LONGEST_DELAY_S)
        self._listener = listener
        self._followed = followed
        self._symbols = frozenset(symbols) if symbols is not None else None
        self._heard_at = 0.0

    @property
    def path(self) -> str:
        """The mark prices that are subscribed to: symbols in lower case, as the exchange wants them."""
        if self._symbols is None or len(self._symbols) > _MOST_SYMBOLS_BY_NAME:
            return f"/stream?streams={_EVERY_SYMBOL}"
        return "/stream?streams=" + "/".join(
            f"{quote(symbol.lower(), safe='')}@markPrice@1s" for symbol in sorted(self._symbols)
        )

    async def run(self) -> None:
        """Connect, read, reconnect, until cancelled. The socket is closed then."""
        while True:
            started_at = self._clock.monotonic()
            try:
                reason = await self._session(await self._connector.connect(self.path))
            except StreamLost as error:
                reason = str(error)
            self._listener.on_gap()
            _log.warning("aster.market_stream_down", reason=reason)
            if self._clock.monotonic() - started_at > _STEADY_AFTER_S:
                self._backoff.reset()
            await self._backoff.wait()

    async def _session(self, connection: StreamConnection) -> str:
        reason = "the stream ended"
        self._heard_at = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(connection))
                group.create_task(self._follow(connection))
                group.create_task(self._watch_for_silence())
        except* SessionEnded as ended:
            reason = str(ended.exceptions[0])
        finally:
            await connection.close()
        return reason

    async def _read(self, connection: StreamConnection) -> None:
        with _ending_the_session():
            while True:
                text = await connection.receive()
                self._heard_at = self._clock.monotonic()
                self._hand_over(text)

    async def _follow(self, connection: StreamConnection) -> None:
        """Ask for the best prices of whatever is followed and was not asked for on this connection."""
        asked_for: set[str] = set()
        number = 0
        while True:
            self._followed.has_news.clear()
            wanted = sorted(self._followed.symbols - asked_for)
            if wanted:
                number += 1
                streams = [f"{symbol.lower()}@bookTicker" for symbol in wanted]
                wish = {"method": "SUBSCRIBE", "params": streams, "id": number}
                with _ending_the_session():
                    await connection.send(msgspec.json.encode(wish).decode())
                asked_for.update(wanted)
                await self._clock.sleep(_BETWEEN_WISHES_S)
            await self._followed.has_news.wait()

    async def _watch_for_silence(self) -> None:
        while True:
            await self._clock.sleep(SILENCE_S / 3)
            if self._clock.monotonic() - self._heard_at > SILENCE_S:
                raise SessionEnded("no price came for too long")

    def _hand_over(self, text: str) -> None:
        try:
            prices = market_prices(text)
        except (ValueError, OverflowError) as error:
            _log.warning("aster.price_unreadable", reason=type(error).__name__)
            return
        for price in prices:
            if isinstance(price, BookTicker):
                self._listener.on_quote(price)
            elif self._symbols is None or price.symbol in self._symbols:
                self._listener.on_mark(price)


@contextmanager
def _ending_the_session() -> Iterator[None]:
    try:
        yield
    except StreamLost as error:
        raise SessionEnded(str(error)) from None
