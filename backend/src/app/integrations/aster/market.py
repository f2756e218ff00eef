"""The market: instruments, prices, depth. Nothing here is signed."""

from __future__ import annotations

from datetime import datetime

import msgspec
import structlog

from app.domain.instruments import Instrument
from app.domain.reports import BookTicker, Candle, MarkPrice, OrderBook
from app.integrations.aster import endpoints, parse, wire
from app.integrations.aster.exchange_clock import ms_from_datetime
from app.integrations.aster.forms import form
from app.integrations.aster.gateway import Gateway
from app.integrations.aster.instruments import read_exchange_info
from app.integrations.aster.priorities import Priority

_log = structlog.get_logger(__name__)

_decode_index = msgspec.json.Decoder(wire.PremiumIndex).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_ticker = msgspec.json.Decoder(wire.BookTicker).decode
_decode_candles = msgspec.json.Decoder(list[list[str | int | float]]).decode
_decode_depth = msgspec.json.Decoder(wire.Depth).decode


def _mark_prices(body: bytes) -> dict[str, MarkPrice]:
    """All prices that can be read: a symbol that is not trading yet must not hide the others."""
    marks = {}
    for row in _decode_rows(body):
        try:
            mark = parse.mark_price(_decode_index(row))
        except (ValueError, OverflowError) as error:
            _log.debug("aster.mark_price_unreadable", reason=type(error).__name__)
            continue
        marks[mark.symbol] = mark
    return marks


class MarketCalls:
    """The part of :class:`~app.integrations.aster.client.AsterClient` that reads the market.

    Raises as :meth:`~app.integrations.aster.gateway.Gateway.read` says.
    """

    _gateway: Gateway

    async def instruments(self) -> dict[str, Instrument]:
        """Trading rules of all symbols. Ticks change: refresh now and then. Also adopts the rate limits named there."""
        catalogue = await self._gateway.read(
            endpoints.EXCHANGE_INFO, "", read_exchange_info, priority=Priority.RECOVERY
        )
        if catalogue.weight_limit_1m is not None:
            self._gateway.budget.set_limit(catalogue.weight_limit_1m)
        self._gateway.order_windows.set_limits(catalogue.order_limit_1m, catalogue.order_limit_10s)
        return catalogue.instruments

    async def mark_price(self, symbol: str) -> MarkPrice:
        """Mark and index price of one symbol."""
        return await self._gateway.read(
            endpoints.PREMIUM_INDEX, form([("symbol", symbol)]), lambda body: parse.mark_price(_decode_index(body))
        )

    async def mark_prices(self) -> dict[str, MarkPrice]:
        """Mark and index prices of all symbols; more of them than exchangeInfo lists."""
        return await self._gateway.read(endpoints.PREMIUM_INDEX, "", _mark_prices)

    async def book_ticker(self, symbol: str) -> BookTicker:
        """Best bid and ask of one symbol."""
        return await self._gateway.read(
            endpoints.BOOK_TICKER, form([("symbol", symbol)]), lambda body: parse.book_ticker(_decode_ticker(body))
        )

    async def candles(self, symbol: str, interval: str, since: datetime, limit: int, *, of_mark: bool) -> list[Candle]:
        """Candles of the mark price, or of the last price, from ``since`` on, oldest first; ``limit`` below 500."""
        query = [("symbol", symbol), ("interval", interval), ("startTime", str(ms_from_datetime(since)))]
        return await self._gateway.read(
            endpoints.MARK_CANDLES if of_mark else endpoints.CANDLES,
            form([*query, ("limit", str(limit))]),
            lambda body: [parse.candle(row) for row in _decode_candles(body)],
        )

    async def depth(self, symbol: str, limit: int = 50) -> OrderBook:
        """The book down to ``limit`` levels.

        Raises:
            ValueError: ``limit`` is none of 5, 10, 20, 50, 100, 500, 1000.
        """
        weight = endpoints.DEPTH_WEIGHT.get(limit)
        if weight is None:
            raise ValueError(f"depth knows the limits {sorted(endpoints.DEPTH_WEIGHT)}, not {limit}")
        return await self._gateway.read(
            endpoints.DEPTH,
            form([("symbol", symbol), ("limit", str(limit))]),
            lambda body: parse.order_book(symbol, _decode_depth(body)),
            weight=weight,
        )
