"""The names of market streams (asterdex-facts.md section 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from aster_sim.tape.bars import INTERVALS

_MARKET_STREAM = re.compile(r"[^@]+@.+|!.+")
_OF_ALL = re.compile(r"!(bookTicker|(?:ticker|miniTicker|forceOrder)@arr|markPrice@arr(?:@1s)?)", re.ASCII)
_OF_SYMBOL = re.compile(
    r"(?P<symbol>[a-z0-9]+)@(?:"
    r"(?P<plain>aggTrade|trade|bookTicker|ticker|miniTicker|forceOrder|markPrice(?:@1s)?)"
    r"|kline_(?P<interval>[0-9]+[mhdwM])"
    r"|depth(?P<levels>5|10|20)?(?:@(?P<speed>100|250|500)ms)?)",
    re.ASCII,
)
_DEPTH_PERIOD_MS = 250
_KLINE_PERIOD_MS = 250
_TICKER_PERIOD_MS = 1_000


class Kind(Enum):
    """What a stream tells of."""

    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    BOOK_TICKER = "bookTicker"
    MARK_PRICE = "markPrice"
    TICKER = "ticker"
    MINI_TICKER = "miniTicker"
    FORCE_ORDER = "forceOrder"
    KLINE = "kline"
    DEPTH = "depth"


@dataclass(frozen=True, slots=True)
class StreamName:
    """A parsed name; ``symbol`` None means all. ``period_ms`` is zero for streams that follow events."""

    kind: Kind
    symbol: str | None
    interval: str = ""
    levels: int = 0
    period_ms: int = 0


def is_market_stream(name: str) -> bool:
    """Whether a name is that of a market stream at all; anything else is taken for a listen key."""
    return _MARKET_STREAM.fullmatch(name) is not None


def parse_stream(name: str) -> StreamName | None:
    """What a name asks for; None when no such stream exists."""
    if name.startswith("!"):
        if not _OF_ALL.fullmatch(name):
            return None
        kind = Kind(name[1:].partition("@")[0])
        return StreamName(kind, None, period_ms=_plain_period_ms(kind))
    found = _OF_SYMBOL.fullmatch(name)
    if found is None:
        return None
    symbol = found["symbol"].upper()
    if found["plain"]:
        kind = Kind(found["plain"].partition("@")[0])
        return StreamName(kind, symbol, period_ms=_plain_period_ms(kind))
    if found["interval"]:
        if found["interval"] not in INTERVALS:
            return None
        return StreamName(Kind.KLINE, symbol, interval=found["interval"], period_ms=_KLINE_PERIOD_MS)
    period = int(found["speed"] or _DEPTH_PERIOD_MS)
    return StreamName(Kind.DEPTH, symbol, levels=int(found["levels"] or 0), period_ms=period)


def _plain_period_ms(kind: Kind) -> int:
    return _TICKER_PERIOD_MS if kind in {Kind.TICKER, Kind.MINI_TICKER} else 0
