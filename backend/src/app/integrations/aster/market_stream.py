"""Mark prices, live. Silence means a dead socket here, because prices come every second (scenario W2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from urllib.parse import quote

import structlog

from app.domain.ports import Clock, Randomness
from app.domain.reports import MarkPrice
from app.integrations.aster.backoff import Backoff
from app.integrations.aster.parse_stream import mark_prices
from app.integrations.aster.streams import SessionEnded
from app.integrations.aster.transport import StreamConnection, StreamConnector, StreamLost

_log = structlog.get_logger(__name__)

SILENCE_S = 15.0
"""So long without a price, and the connection is replaced."""

_BASE_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_STEADY_AFTER_S = 60.0
_EVERY_SYMBOL = "!markPrice@arr@1s"
_MOST_SYMBOLS_BY_NAME = 50


class MarketStream:
    """Hands each mark price to ``on_mark``, which must not block, in the order of arrival.

    Args:
        symbols: which; None is all that the exchange has. Many are taken from the stream of all.
    """

    def __init__(
        self,
        connector: StreamConnector,
        clock: Clock,
        randomness: Randomness,
        on_mark: Callable[[MarkPrice], None],
        symbols: Collection[str] | None = None,
    ) -> None:
        self._connector = connector
        self._clock = clock
        self._backoff = Backoff(clock, randomness, base_s=_BASE_DELAY_S, longest_s=_LONGEST_DELAY_S)
        self._on_mark = on_mark
        self._symbols = frozenset(symbols) if symbols is not None else None
        self._heard_at = 0.0

    @property
    def path(self) -> str:
        """What is subscribed to: symbols in lower case, as the exchange wants them."""
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
                group.create_task(self._watch_for_silence())
        except* SessionEnded as ended:
            reason = str(ended.exceptions[0])
        finally:
            await connection.close()
        return reason

    async def _read(self, connection: StreamConnection) -> None:
        try:
            while True:
                text = await connection.receive()
                self._heard_at = self._clock.monotonic()
                self._hand_over(text)
        except StreamLost as error:
            raise SessionEnded(str(error)) from None

    async def _watch_for_silence(self) -> None:
        while True:
            await self._clock.sleep(SILENCE_S / 3)
            if self._clock.monotonic() - self._heard_at > SILENCE_S:
                raise SessionEnded("no price came for too long")

    def _hand_over(self, text: str) -> None:
        try:
            marks = mark_prices(text)
        except (ValueError, OverflowError) as error:
            _log.warning("aster.mark_price_unreadable", reason=type(error).__name__)
            return
        for mark in marks:
            if self._symbols is None or mark.symbol in self._symbols:
                self._on_mark(mark)
