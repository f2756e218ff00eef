"""Prices from AsterDEX's public streams, for paper trading at real prices (asterdex-facts.md section 7).

Mark prices, funding rates and last prices of all symbols arrive every second; symbols that are named
(``live:BTCUSDT,ETHUSDT``) also follow each public trade. While the connection is down prices stand still.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec

from aster_sim.clock import SimClock
from aster_sim.core.errors import VenueError
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO, parse_decimal
from aster_sim.core.venue import Venue

MAINNET_STREAMS = "wss://fstream.asterdex.com"
_LOG = logging.getLogger("aster_sim.live")
_DECODER = msgspec.json.Decoder()
_FIRST_PRICE_WITHIN_S = 15.0
_SILENCE_S = 30.0
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_ALL = ("!markPrice@arr@1s", "!miniTicker@arr")


class LiveFeedError(OSError):
    """AsterDEX's streams cannot be reached; the message says what to use instead."""


class LiveFeed:
    """Follows AsterDEX's streams; ``open`` must have succeeded before ``run``."""

    name = "live"

    def __init__(
        self,
        venue: Venue,
        clock: SimClock,
        symbols: Sequence[str],
        settle: Callable[[], None],
        url: str = MAINNET_STREAMS,
    ) -> None:
        """``symbols`` are followed trade by trade.  Raises ValueError for one that the exchange info has not."""
        unknown = [symbol for symbol in symbols if symbol not in venue.state.markets]
        if unknown:
            raise ValueError(f"prices live: the exchange info has no symbol {', '.join(unknown)}")
        self._venue = venue
        self._clock = clock
        self._settle = settle
        self._host = url
        self._url = f"{url}/stream?streams=" + "/".join([*_ALL, *(f"{symbol.lower()}@trade" for symbol in symbols)])
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def open(self) -> None:
        """Connect and wait for the first mark price.  Raises LiveFeedError."""
        self._session = aiohttp.ClientSession(trust_env=True)
        try:
            async with asyncio.timeout(_FIRST_PRICE_WITHIN_S):
                self._socket = await self._session.ws_connect(self._url)
                while not any(market.priced for market in self._venue.state.markets.values()):
                    self._take(await self._socket.receive_str())
        except (aiohttp.ClientError, OSError, TypeError) as error:
            await self.close()
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise LiveFeedError(
                f"prices 'live' come from AsterDEX's public streams, and {self._host} cannot be reached ({reason}); "
                "where there is no internet use --prices synthetic or candles:FILE"
            ) from error

    async def close(self) -> None:
        """Hang up; safe to call twice."""
        session, self._session, self._socket = self._session, None, None
        if session is not None:
            await session.close()

    async def run(self) -> None:
        """Follow until cancelled, connecting again whenever the stream ends (after 24 hours it always does)."""
        failures = 0
        while True:
            if self._socket is not None and await self._follow(self._socket):
                failures = 0
            await self._clock.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1
            self._socket = await self._connect_again()

    async def _connect_again(self) -> aiohttp.ClientWebSocketResponse | None:
        if self._session is None:
            return None
        try:
            async with asyncio.timeout(_FIRST_PRICE_WITHIN_S):
                return await self._session.ws_connect(self._url)
        except (aiohttp.ClientError, OSError) as error:
            _LOG.warning("sim.live.unreachable", extra={"reason": str(error) or type(error).__name__})
            return None

    async def _follow(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Take frames until the connection ends; whether there was any."""
        taken = False
        while True:
            try:
                message = await socket.receive(timeout=_SILENCE_S)
            except TimeoutError:
                _LOG.warning("sim.live.silent")
                await socket.close()
                return taken
            if message.type is not aiohttp.WSMsgType.TEXT:
                _LOG.warning("sim.live.disconnected", extra={"close_code": socket.close_code})
                return taken
            self._take(message.data)
            taken = True

    def _take(self, text: str) -> None:
        """Move prices as a frame says; what cannot be understood is passed over."""
        try:
            frame = _DECODER.decode(text)
        except msgspec.DecodeError:
            _LOG.warning("sim.live.not_json")
            return
        data = frame.get("data") if isinstance(frame, dict) else None
        for row in data if isinstance(data, list) else [data]:
            if isinstance(row, dict):
                self._move(row)
        self._settle()

    def _move(self, row: dict[str, Any]) -> None:
        market = self._venue.state.markets.get(str(row.get("s")))
        if market is None:
            return
        event, prices = row.get("e"), market.prices
        if event == "markPriceUpdate":
            mark = _price(row.get("p"))
            self._set_funding(market, row.get("r"))
            if mark:
                self._jump(market, mark, prices.last if market.priced else mark)
        elif event in {"trade", "24hrMiniTicker"} and market.priced:
            last = _price(row.get("p" if event == "trade" else "c"))
            if last and last != prices.last:
                self._jump(market, prices.mark, last)

    def _jump(self, market: Market, mark: Decimal, last: Decimal) -> None:
        self._venue.jump(market.instrument.symbol, mark, last)

    def _set_funding(self, market: Market, text: Any) -> None:
        rate = parse_decimal(str(text))
        if rate is not None and rate != market.funding.rate:
            try:
                self._venue.funding.change_terms(market, rate, None)
            except VenueError:
                _LOG.warning("sim.live.funding_rate_out_of_range", extra={"symbol": market.instrument.symbol})


def _price(text: Any) -> Decimal:
    """A price above zero, or zero for anything else."""
    return max(parse_decimal(str(text)) or ZERO, ZERO)
