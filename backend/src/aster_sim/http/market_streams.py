"""Market streams that follow events: trades, best prices, liquidations; and mark prices by the second.

Those that are sampled (depth, candles, 24-hour figures) are in ``sampled_streams``. Names and fields:
asterdex-facts.md section 7.
"""

from __future__ import annotations

from typing import Any

from aster_sim.core.market import Market
from aster_sim.core.numbers import money, plain
from aster_sim.core.orders import Trade
from aster_sim.core.state import State, UserEvent
from aster_sim.http.hub import Hub
from aster_sim.http.tape_views import agg_trade_frame, trade_frame
from aster_sim.runtime import Runtime
from aster_sim.tape.tape import Print, public_trades

SLOW_MARK_S = 3
_LIQUIDATION = "autoclose-"


def mark_price_frame(market: Market, now_ms: int) -> dict[str, Any]:
    """``markPriceUpdate``."""
    prices = market.prices
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": market.instrument.symbol,
        "p": money(prices.mark),
        "P": money(prices.mark),
        "i": money(prices.index),
        "r": money(market.funding.rate),
        "T": market.funding.next_ms,
    }


def book_ticker_frame(market: Market, update_id: int, now_ms: int) -> dict[str, Any]:
    """``bookTicker``."""
    bid, bid_qty = market.best(asks=False)
    ask, ask_qty = market.best(asks=True)
    return {
        "e": "bookTicker",
        "u": update_id,
        "E": now_ms,
        "T": market.prices.changed_ms,
        "s": market.instrument.symbol,
        "b": plain(bid),
        "B": plain(bid_qty),
        "a": plain(ask),
        "A": plain(ask_qty),
    }


def force_order_frame(update: dict[str, Any]) -> dict[str, Any]:
    """``forceOrder`` out of the liquidated account's own ORDER_TRADE_UPDATE."""
    order = update["o"]
    return {
        "e": "forceOrder",
        "E": update["E"],
        "o": {key: order[key] for key in ("s", "S", "o", "f", "q", "p", "ap", "X", "l", "z", "T")},
    }


def publish_marks(hub: Hub, state: State, second: int) -> None:
    """Send mark prices: every call those at 1 s, every third call the others."""
    suffixes = ("@1s", "") if second % SLOW_MARK_S == 0 else ("@1s",)
    now_ms = state.now_ms()
    for suffix in suffixes:
        if hub.listened(f"!markPrice@arr{suffix}"):
            rows = [mark_price_frame(market, now_ms) for market in state.markets.values() if market.priced]
            hub.publish_market(f"!markPrice@arr{suffix}", rows)
        for symbol, market in state.markets.items():
            stream = f"{symbol.lower()}@markPrice{suffix}"
            if market.priced and hub.listened(stream):
                hub.publish_market(stream, mark_price_frame(market, now_ms))


class MarketStreams:
    """Keeps the public record and tells its followers at once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def price_moved(self, symbol: str) -> None:
        """A symbol's price was moved by the feed or the control API."""
        market = self._runtime.venue.state.markets[symbol]
        printed = self._runtime.tape.moved(market)
        if not self._runtime.hub.crowded:
            return
        self._publish_print(market, printed)
        self._publish_book(market)

    def executed(self, trades: list[Trade], touched: list[str], events: list[UserEvent]) -> None:
        """Clients traded: print their trades, show new best prices, tell of liquidations."""
        markets = self._runtime.venue.state.markets
        for trade in public_trades(trades):
            market = markets[trade.symbol]
            self._publish_print(market, self._runtime.tape.executed(market, trade))
        if not self._runtime.hub.crowded:
            return
        for symbol in touched:
            self._publish_book(markets[symbol])
        for event in events:
            self._publish_liquidation(event.payload)

    def _publish_print(self, market: Market, printed: Print) -> None:
        hub = self._runtime.hub
        if not hub.crowded:
            return
        lower = market.instrument.symbol.lower()
        now_ms = self._runtime.venue.state.now_ms()
        if hub.listened(f"{lower}@aggTrade"):
            tape = self._runtime.tape.of(market)
            hub.publish_market(f"{lower}@aggTrade", agg_trade_frame(tape, printed, now_ms))
        if hub.listened(f"{lower}@trade"):
            tape = self._runtime.tape.of(market)
            hub.publish_market(f"{lower}@trade", trade_frame(tape, printed, now_ms))

    def _publish_book(self, market: Market) -> None:
        hub = self._runtime.hub
        stream = f"{market.instrument.symbol.lower()}@bookTicker"
        names = [name for name in (stream, "!bookTicker") if hub.listened(name)]
        if not names:
            return
        frame = book_ticker_frame(market, self._runtime.next_update_id(), self._runtime.venue.state.now_ms())
        for name in names:
            hub.publish_market(name, frame)

    def _publish_liquidation(self, payload: dict[str, Any]) -> None:
        if payload["e"] != "ORDER_TRADE_UPDATE":
            return
        order = payload["o"]
        if order["x"] != "CALCULATED" or not order["c"].startswith(_LIQUIDATION):
            return
        hub = self._runtime.hub
        for name in (f"{order['s'].lower()}@forceOrder", "!forceOrder@arr"):
            if hub.listened(name):
                hub.publish_market(name, force_order_frame(payload))
