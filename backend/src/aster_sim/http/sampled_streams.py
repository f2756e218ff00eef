"""Market streams that are sampled by the clock: order books, candles, 24-hour figures.

A frame goes out when something changed and the stream's period is over, and at least once a second, so that
followers of a quiet market know that it is alive (AsterDEX, never quiet, has no such rule).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO, plain
from aster_sim.http.stream_names import Kind, StreamName, parse_stream
from aster_sim.http.tape_views import kline_frame, mini_ticker_frame, ticker_frame
from aster_sim.runtime import Runtime
from aster_sim.tape.tape import SymbolTape

TICK_S = 0.1
IDLE_S = 0.5
_QUIET_MS = 1_000
_BOOK_LEVELS = 1_000

Book = dict[Decimal, Decimal]
Levels = list[tuple[Decimal, Decimal]]


@dataclass(slots=True)
class _Sampled:
    """A followed stream and what it last showed."""

    name: StreamName
    due_ms: int = 0
    sent_ms: int = 0
    version: int = -1
    open_ms: int = 0
    update_id: int = 0
    bids: Book = field(default_factory=dict)
    asks: Book = field(default_factory=dict)
    shown_bids: set[Decimal] = field(default_factory=set)
    shown_asks: set[Decimal] = field(default_factory=set)


class SampledStreams:
    """Looks at all followed streams that follow the clock, ten times a second."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._streams: dict[str, _Sampled | None] = {}

    def snapshot_taken(self, symbol: str, bids: Levels, asks: Levels) -> None:
        """Somebody fetched a book: the next changes must name each of its levels, however short it lived."""
        for stream in self._streams.values():
            if stream is not None and stream.name.kind is Kind.DEPTH and stream.name.symbol == symbol:
                stream.shown_bids.update(price for price, _ in bids)
                stream.shown_asks.update(price for price, _ in asks)

    async def run(self) -> None:
        """Sample until cancelled; slower while nobody follows."""
        while True:
            await self._runtime.clock.sleep(TICK_S if self.sample() else IDLE_S)

    def sample(self) -> bool:
        """Send what is due; whether anybody follows a sampled stream."""
        followed = self._runtime.hub.followed()
        self._streams = {name: self._streams[name] if name in self._streams else _sampled(name) for name in followed}
        now_ms = self._runtime.venue.state.now_ms()
        busy = False
        for name, stream in self._streams.items():
            if stream is None:
                continue
            busy = True
            if now_ms >= stream.due_ms:
                stream.due_ms = now_ms + stream.name.period_ms - 20  # the tick before is nearer than the one after
                self._send(name, stream, now_ms)
        return busy

    def _send(self, name: str, stream: _Sampled, now_ms: int) -> None:
        markets = self._runtime.venue.state.markets
        kind, symbol = stream.name.kind, stream.name.symbol
        if symbol is None:
            self._send_all(name, stream, now_ms)
            return
        market = markets.get(symbol)
        if market is None or not market.priced:
            return
        if kind is Kind.DEPTH and stream.name.levels:
            self._send_partial_book(name, stream, market, now_ms)
        elif kind is Kind.DEPTH:
            self._send_book_changes(name, stream, market, now_ms)
        elif kind is Kind.KLINE:
            self._send_candle(name, stream, self._runtime.tape.of(market), now_ms)
        else:
            tape = self._runtime.tape.of(market)
            frame = ticker_frame if kind is Kind.TICKER else mini_ticker_frame
            self._publish(name, stream, frame(tape, tape.day(now_ms), now_ms), now_ms)

    def _send_all(self, name: str, stream: _Sampled, now_ms: int) -> None:
        """24-hour figures of all symbols."""
        frame = ticker_frame if stream.name.kind is Kind.TICKER else mini_ticker_frame
        tapes = [
            self._runtime.tape.of(market) for market in self._runtime.venue.state.markets.values() if market.priced
        ]
        self._publish(name, stream, [frame(tape, tape.day(now_ms), now_ms) for tape in tapes], now_ms)

    def _send_candle(self, name: str, stream: _Sampled, tape: SymbolTape, now_ms: int) -> None:
        interval = stream.name.interval
        if stream.version == tape.version and now_ms - stream.sent_ms < _QUIET_MS:
            return
        rows = tape.candles(interval, now_ms, start=None, end=None, limit=2)
        current, last_id = rows[-1], tape.last_id
        if stream.open_ms and stream.open_ms < current.open_ms and len(rows) > 1:
            ended = kline_frame(tape, interval, rows[0], last_id - current.trades, now_ms, closed=True)
            self._publish(name, stream, ended, now_ms)
        stream.open_ms, stream.version = current.open_ms, tape.version
        self._publish(name, stream, kline_frame(tape, interval, current, last_id, now_ms, closed=False), now_ms)

    def _send_partial_book(self, name: str, stream: _Sampled, market: Market, now_ms: int) -> None:
        levels = stream.name.levels
        bids, asks = market.depth(levels, asks=False), market.depth(levels, asks=True)
        self._publish_book(name, stream, market, now_ms, (bids, asks))

    def _send_book_changes(self, name: str, stream: _Sampled, market: Market, now_ms: int) -> None:
        bids = dict(market.depth(_BOOK_LEVELS, asks=False))
        asks = dict(market.depth(_BOOK_LEVELS, asks=True))
        changes = (
            _changes(stream.bids, bids, stream.shown_bids),
            _changes(stream.asks, asks, stream.shown_asks),
        )
        if not stream.update_id or any(changes) or now_ms - stream.sent_ms >= _QUIET_MS:
            stream.bids, stream.asks = bids, asks
            stream.shown_bids, stream.shown_asks = set(), set()
            self._publish_book(name, stream, market, now_ms, changes)

    def _publish_book(
        self,
        name: str,
        stream: _Sampled,
        market: Market,
        now_ms: int,
        sides: tuple[Levels, Levels],
    ) -> None:
        """``depthUpdate``: ids from the one after the last frame's to now's, which covers any snapshot in between."""
        update_id = self._runtime.next_update_id()
        before = stream.update_id or update_id - 1
        stream.update_id = update_id
        bids, asks = ([[plain(price), plain(quantity)] for price, quantity in side] for side in sides)
        frame = {
            "e": "depthUpdate",
            "E": now_ms,
            "T": market.prices.changed_ms,
            "s": market.instrument.symbol,
            "U": before + 1,
            "u": update_id,
            "pu": before,
            "b": bids,
            "a": asks,
        }
        self._publish(name, stream, frame, now_ms)

    def _publish(self, name: str, stream: _Sampled, payload: Any, now_ms: int) -> None:
        stream.sent_ms = now_ms
        self._runtime.hub.publish_market(name, payload)


def _sampled(name: str) -> _Sampled | None:
    parsed = parse_stream(name)
    return _Sampled(parsed) if parsed is not None and parsed.period_ms else None


def _changes(before: Book, after: Book, shown: set[Decimal]) -> Levels:
    """Levels that are new, have another quantity, or were shown in a snapshot since; zero for those that are gone."""
    gone = [(price, ZERO) for price in before.keys() | shown if price not in after]
    return sorted(gone) + [
        (price, quantity) for price, quantity in after.items() if price in shown or before.get(price) != quantity
    ]
