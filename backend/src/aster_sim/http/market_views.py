"""REST bodies of the public side (asterdex-facts.md section 4)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aster_sim.core.funding_terms import DEFAULT_RATE, HOUR_MS
from aster_sim.core.market import Market
from aster_sim.core.numbers import money, plain
from aster_sim.core.state import State
from aster_sim.http.limits import LimitRules

Levels = list[tuple[Decimal, Decimal]]
INTEREST_RATE = "0.00010000"
PAST_FUNDINGS = 270


def exchange_info(state: State, rules: LimitRules) -> dict[str, Any]:
    """``exchangeInfo``: instruments as they were loaded, limits as they are enforced here."""
    return {
        "timezone": "UTC",
        "serverTime": state.now_ms(),
        "futuresType": "U_MARGINED",
        "rateLimits": rules.as_rows(),
        "exchangeFilters": [],
        "assets": list(state.catalogue.assets),
        "symbols": [market.instrument.raw for market in state.markets.values()],
    }


def premium_index(market: Market, now_ms: int) -> dict[str, Any]:
    """A row of ``premiumIndex``."""
    prices = market.prices
    return {
        "symbol": market.instrument.symbol,
        "markPrice": money(prices.mark),
        "indexPrice": money(prices.index),
        "estimatedSettlePrice": money(prices.mark),
        "lastFundingRate": money(market.funding.rate),
        "interestRate": INTEREST_RATE,
        "nextFundingTime": market.funding.next_ms,
        "time": now_ms,
    }


def funding_rows(market: Market, started_ms: int) -> list[dict[str, Any]]:
    """All of ``fundingRate`` for one symbol, oldest first: an invented past at the default rate, then what was paid."""
    terms = market.funding
    symbol = market.instrument.symbol
    latest = started_ms // terms.interval_ms * terms.interval_ms
    past = range(latest - (PAST_FUNDINGS - 1) * terms.interval_ms, latest + 1, terms.interval_ms)
    return [_funding_row(symbol, time_ms, DEFAULT_RATE) for time_ms in past] + [
        _funding_row(symbol, row.time_ms, row.rate) for row in terms.history if row.time_ms > latest
    ]


def _funding_row(symbol: str, time_ms: int, rate: Decimal) -> dict[str, Any]:
    return {"symbol": symbol, "fundingTime": time_ms, "fundingRate": money(rate)}


def funding_info(market: Market, now_ms: int) -> dict[str, Any]:
    """A row of ``fundingInfo``; the venue's rates have neither cap nor floor."""
    return {
        "symbol": market.instrument.symbol,
        "interestRate": INTEREST_RATE,
        "time": now_ms,
        "fundingIntervalHours": market.funding.interval_ms // HOUR_MS,
        "fundingFeeCap": None,
        "fundingFeeFloor": None,
    }


def ticker_price(market: Market) -> dict[str, Any]:
    """A row of ``ticker/price``."""
    prices = market.prices
    return {"symbol": market.instrument.symbol, "price": plain(prices.last), "time": prices.changed_ms}


def book_ticker(market: Market, update_id: int) -> dict[str, Any]:
    """A row of ``ticker/bookTicker``."""
    bid, bid_qty = market.best(asks=False)
    ask, ask_qty = market.best(asks=True)
    return {
        "symbol": market.instrument.symbol,
        "bidPrice": plain(bid),
        "bidQty": plain(bid_qty),
        "askPrice": plain(ask),
        "askQty": plain(ask_qty),
        "time": market.prices.changed_ms,
        "lastUpdateId": update_id,
    }


def depth(market: Market, bids: Levels, asks: Levels, update_id: int, now_ms: int) -> dict[str, Any]:
    """``depth`` out of the levels of both sides."""
    return {
        "lastUpdateId": update_id,
        "E": now_ms,
        "T": market.prices.changed_ms,
        "bids": [[plain(price), plain(qty)] for price, qty in bids],
        "asks": [[plain(price), plain(qty)] for price, qty in asks],
    }
