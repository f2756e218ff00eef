"""Market stream frames: markPrice and bookTicker (asterdex-facts.md section 7). The others are issue 3's."""

from __future__ import annotations

import re
from typing import Any

from aster_sim.core.market import Market
from aster_sim.core.numbers import money, plain
from aster_sim.core.state import State
from aster_sim.http.hub import Hub

_KNOWN = re.compile(r"[a-z0-9]+@(markPrice(@1s)?|bookTicker)|!markPrice@arr(@1s)?|!bookTicker", re.ASCII)
_MARKET_STREAM = re.compile(r"[^@]+@.+|!.+")
SLOW_MARK_S = 3


def is_market_stream(name: str) -> bool:
    """Whether a name is that of a market stream at all; anything else is taken for a listen key."""
    return _MARKET_STREAM.fullmatch(name) is not None


def is_served(name: str, state: State) -> bool:
    """Whether the venue sends that market stream."""
    if not _KNOWN.fullmatch(name):
        return False
    return name.startswith("!") or name.partition("@")[0].upper() in state.markets


def mark_price_frame(market: Market, now_ms: int) -> dict[str, Any]:
    """``markPriceUpdate``."""
    prices = market.prices
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": market.instrument.symbol,
        "p": money(prices.mark),
        "i": money(prices.index),
        "P": money(prices.mark),
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


def publish_book(hub: Hub, state: State, symbol: str) -> None:
    """Send a symbol's bookTicker if anybody listens."""
    stream = f"{symbol.lower()}@bookTicker"
    names = [name for name in (stream, "!bookTicker") if hub.listened(name)]
    if not names:
        return
    frame = book_ticker_frame(state.markets[symbol], state.counters.update_id, state.now_ms())
    for name in names:
        hub.publish_market(name, frame)


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
