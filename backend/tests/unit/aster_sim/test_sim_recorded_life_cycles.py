"""Frames of user streams, recorded from the engine's lineage and written by hand, beside ours for the same actions.

Names, order and fields must agree, and every value too but for those in ``EXPLAINED``; a difference that goes away
or is added fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from random import Random
from typing import Any

import pytest

from aster_sim.core.catalogue import Catalogue, parse_instrument
from aster_sim.core.orders import BOTH
from aster_sim.core.venue import Venue
from support.samples import sample, samples
from support.sim_bench import START_US, Bench

OURS = {
    "E": "times are the clock's",
    "T": "times are the clock's",
    "o.T": "times are the clock's",
    "o.c": "ids are given by client and venue",
    "o.i": "ids are given by client and venue",
    "o.t": "ids are given by client and venue",
    "o.si": "ids are given by client and venue",
}
MARK_ON_TICK = "our mark price is on the tick, Binance's was 0.07577341: it moves unrealised PnL and isolated margin"
BINANCES: dict[str, dict[str, str]] = {
    "otoco_stop_triggered": {
        "a.P.up": MARK_ON_TICK,
        "a.P.iw": MARK_ON_TICK,
        "a.B.cw": MARK_ON_TICK + "; the cross wallet is what the isolated one leaves",
        "o.n": "0.0045444, which Binance cut to 0.00454439 (binary rounding)",
    },
    "single_stop_market_fill": {
        "o.V": "self-trade prevention mode, added by Binance in 2023; not in AsterDEX's documents",
        "o.pm": "price match mode, added by Binance in 2023; not in AsterDEX's documents",
        "o.gtd": "good-till date, added by Binance in 2023; not in AsterDEX's documents",
    },
}
"""Where the recordings of Binance differ besides."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """The numbers of a bracket's life, from the entry to the exit that fills."""

    symbol: str
    tick: str
    quantity: str
    price: str
    wallet: str
    earned: str
    below: str
    above: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The numbers of a stop without a bracket; the wallet is of no account."""

    symbol: str
    tick: str
    quantity: str
    price: str
    trigger: str


NUMBERS: dict[tuple[str, str], Bracket | Stop] = {
    ("otoco_stop_triggered", "ours"): Bracket("LARKUSDT", "0.001", "12", "2.500", "500", "3.25", "2.450", "2.550"),
    ("otoco_stop_triggered", "recorded"): Bracket(
        "TRXUSDT", "0.00001", "150", "0.07575", "316.19875734", "25.89322001", "0.07550", "0.07600"
    ),
    ("manual_market_close_expires_gte_gtc_siblings", "ours"): Bracket(
        "LARKUSDT", "0.001", "12", "2.510", "500", "3", "2.450", "2.550"
    ),
    ("manual_market_close_expires_gte_gtc_siblings", "recorded"): Bracket(
        "TRXUSDT", "0.00001", "150", "0.07596", "316.14609474", "25.85422001", "0.07550", "0.07650"
    ),
    ("single_stop_market_fill", "ours"): Stop("PLUMUSDT", "0.00001", "20", "1.20000", "1.10000"),
    ("single_stop_market_fill", "recorded"): Stop("SEIUSDT", "0.0000001", "53", "0.8983000", "0.8500000"),
}


def _instrument(symbol: str, tick: str, price: str) -> Catalogue:
    """One symbol with the tick and the step of the recording."""
    raw = {
        "symbol": symbol,
        "pair": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 7,
        "quantityPrecision": 0,
        "triggerProtect": "0.05",
        "marketTakeBound": "0.05",
        "liquidationFee": "0.025",
        "timeInForce": ["GTC"],
        "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "1000000", "stepSize": "1"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "1", "maxQty": "1000000", "stepSize": "1"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.05", "multiplierDown": "0.95"},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
        ],
    }
    return Catalogue({symbol: parse_instrument(raw)}, (), {symbol: Decimal(price)})


def _bench(symbol: str, tick: str, price: str, *, wallet: str, taker_rate: str = "0.0004") -> Bench:
    holder: dict[str, Bench] = {}
    venue = Venue(
        _instrument(symbol, tick, price),
        Random(1),
        lambda: holder["bench"].now_us if holder else START_US,
        taker_rate=Decimal(taker_rate),
    )
    venue.open_account("maker", Decimal(100_000))
    bench = holder["bench"] = Bench(venue, venue.open_account("alice", Decimal(wallet)))
    return bench


def _offer(bench: Bench, symbol: str, side: str, quantity: str, price: str) -> None:
    """Somebody offers the quantity at the price of the recorded fill."""
    maker = bench.venue.state.accounts["maker"]
    bench.place(maker, symbol=symbol, side=side, type="LIMIT", timeInForce="GTC", quantity=quantity, price=price)


def _legs(numbers: Bracket, side: str) -> list[dict[str, str]]:
    """An OTOCO as the web page of the recording places it."""
    close, target, stop = (
        ("SELL", numbers.above, numbers.below) if side == "BUY" else ("BUY", numbers.below, numbers.above)
    )
    common = {"securityType": "USDT_FUTURES", "symbol": numbers.symbol, "quantity": numbers.quantity}
    exits = {**common, "side": close, "timeInForce": "GTE_GTC", "workingType": "MARK_PRICE", "reduceOnly": "true"}
    exits["priceProtect"] = "TRUE"
    return [
        {**common, "strategySubId": "1", "side": side, "type": "MARKET"},
        {**exits, "strategySubId": "2", "type": "TAKE_PROFIT_MARKET", "stopPrice": target},
        {**exits, "strategySubId": "3", "type": "STOP_MARKET", "stopPrice": stop},
    ]


def _isolated_at_one(numbers: Bracket) -> Bench:
    bench = _bench(numbers.symbol, numbers.tick, numbers.price, wallet=numbers.wallet)
    market = bench.venue.market(numbers.symbol)
    bench.venue.settings.set_leverage(bench.account, market, 1)
    bench.venue.settings.set_margin_type(bench.account, market, "ISOLATED")
    return bench


def _otoco_stop_triggered(numbers: Bracket) -> list[dict[str, Any]]:
    bench = _isolated_at_one(numbers)
    bench.account.position(numbers.symbol, BOTH).realised = Decimal(numbers.earned)
    bench.events()
    bench.venue.strategies.place(bench.account, "OTOCO", "", _legs(numbers, "SELL"))
    _offer(bench, numbers.symbol, "SELL", numbers.quantity, numbers.above)
    bench.jump(numbers.above, numbers.symbol)
    return bench.events()


def _manual_market_close(numbers: Bracket) -> list[dict[str, Any]]:
    bench = _isolated_at_one(numbers)
    bench.venue.strategies.place(bench.account, "OTOCO", "", _legs(numbers, "BUY"))
    position = bench.account.position(numbers.symbol, BOTH)
    assert position.entry_price == Decimal(numbers.price) + Decimal(numbers.tick)
    # the story begins with the position that it closes: what it earned and owned before is taken from the numbers
    position.realised = Decimal(numbers.earned)
    bench.account.wallet = Decimal(numbers.wallet)
    bench.events()
    bench.jump(str(position.entry_price), numbers.symbol)
    bench.place(symbol=numbers.symbol, side="SELL", type="MARKET", quantity=numbers.quantity, reduceOnly="true")
    return bench.events()


def _single_stop_market_fill(numbers: Stop) -> list[dict[str, Any]]:
    symbol, quantity, trigger = numbers.symbol, numbers.quantity, numbers.trigger
    bench = _bench(symbol, numbers.tick, numbers.price, wallet="1000", taker_rate="0.0005")
    _offer(bench, symbol, "SELL", quantity, numbers.price)
    bench.place(symbol=symbol, side="BUY", type="MARKET", quantity=quantity)
    bench.place(symbol=symbol, side="SELL", type="STOP_MARKET", stopPrice=trigger, quantity=quantity)
    bench.events()
    _offer(bench, symbol, "BUY", quantity, trigger)
    bench.jump(str(Decimal(trigger) + 100 * Decimal(numbers.tick)), symbol)
    bench.jump(trigger, symbol)
    return bench.events()[-1:]


PLAYED: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "otoco_stop_triggered": _otoco_stop_triggered,
    "manual_market_close_expires_gte_gtc_siblings": _manual_market_close,
    "single_stop_market_fill": _single_stop_market_fill,
}


def _explained(name: str, origin: str) -> set[str]:
    """The fields of a story that differ from ours."""
    always = OURS.keys() - {"o.si"} if name == "single_stop_market_fill" else OURS.keys()
    return always | (BINANCES.get(name, {}).keys() if origin == "recorded" else set())


@pytest.fixture(params=samples("user_stream.json"))
def origin(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Whose stories, and their frames by name."""
    path: Path = request.param
    whose = "ours" if path == sample("user_stream.json") else "recorded"
    return whose, json.loads(path.read_text(encoding="utf-8"))


def _leaves(frame: Any, path: str = "") -> dict[str, list[Any]]:
    """Every value of a frame under its path; a list's elements share one."""
    if isinstance(frame, dict):
        found: dict[str, list[Any]] = {}
        for key, value in frame.items():
            for leaf, values in _leaves(value, f"{path}.{key}" if path else key).items():
                found.setdefault(leaf, []).extend(values)
        return found
    if isinstance(frame, list):
        found = {}
        for row in frame:
            for leaf, values in _leaves(row, path).items():
                found.setdefault(leaf, []).extend(values)
        return found
    return {path: [frame]}


def _same(recorded: Any, ours: Any) -> bool:
    """Equal, of one JSON type; numbers in texts by value, since decimals shown differ by symbol and year."""
    if type(recorded) is not type(ours):
        return False
    if not isinstance(recorded, str):
        return bool(recorded == ours)
    try:
        return Decimal(recorded) == Decimal(ours)
    except InvalidOperation:
        return recorded == ours


def _differences(recorded: list[dict[str, Any]], ours: list[dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for theirs, mine in zip(recorded, ours, strict=True):
        left, right = _leaves(theirs), _leaves(mine)
        found |= left.keys() ^ right.keys()
        for path in left.keys() & right.keys():
            if len(left[path]) != len(right[path]) or not all(map(_same, left[path], right[path])):
                found.add(path)
    return found


def _story(frames: list[dict[str, Any]]) -> list[str]:
    return [
        "/".join([frame["e"], *(frame["o"][key] for key in ("x", "X", "o", "ot"))]) if "o" in frame else frame["e"]
        for frame in frames
    ]


@pytest.mark.parametrize("name", PLAYED)
def test_the_same_actions_tell_the_same_story(name, origin):
    whose, frames = origin
    assert _story(PLAYED[name](NUMBERS[name, whose])) == _story(frames[name])


@pytest.mark.parametrize("name", PLAYED)
def test_every_field_agrees_but_for_those_explained(name, origin):
    whose, frames = origin
    assert _differences(frames[name], PLAYED[name](NUMBERS[name, whose])) == _explained(name, whose)


def test_frames_of_one_trigger_share_their_time_as_recorded(origin):
    whose, frames = origin
    name = "otoco_stop_triggered"
    for told in (frames[name], PLAYED[name](NUMBERS[name, whose])):
        assert len({frame["T"] for frame in told[5:]}) == 1
