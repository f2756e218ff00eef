"""A symbol is found by its usual spellings, and never guessed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.instruments import Instrument, LotRule
from app.domain.symbols import symbol_named

LOT = LotRule(Decimal(1), Decimal(0), Decimal(1))
BTC = Instrument(
    symbol="BTCUSDT",
    status="TRADING",
    base_asset="BTC",
    quote_asset="USDT",
    margin_asset="USDT",
    tick_size=Decimal(1),
    minimum_price=Decimal(1),
    maximum_price=Decimal(9),
    lot=LOT,
    market_lot=LOT,
    minimum_notional=Decimal(5),
    percent_up=Decimal(2),
    percent_down=Decimal(0),
    market_take_bound=Decimal(1),
    trigger_protect=Decimal(1),
    maximum_orders=9,
    maximum_algo_orders=9,
    order_types=frozenset(),
    times_in_force=frozenset(),
)
ETH = replace(BTC, symbol="ETHUSDT", base_asset="ETH")
ETH_USD1 = replace(BTC, symbol="ETHUSD1", base_asset="ETH", quote_asset="USD1", margin_asset="USD1")
SOL = replace(BTC, symbol="SOLUSDT", base_asset="SOL")
SOL_OLD = replace(BTC, symbol="SOLBUSD", base_asset="SOL", quote_asset="BUSD", status="SETTLING")
GONE = replace(BTC, symbol="LUNAUSDT", base_asset="LUNA", status="SETTLING")
LISTED = {one.symbol: one for one in (BTC, ETH, ETH_USD1, SOL, SOL_OLD, GONE)}


@pytest.mark.parametrize(
    "said",
    [
        *("BTCUSDT", "btcusdt", "BTC", "btc", "BTC/USDT", "btc/usdt", "BTC-USDT", "BTC_USDT", "BTC/USDT:USDT"),
        *("BTCUSDT.P", "btcusdt.p", "BTCUSDTPERP", "BTCUSDT_PERP", "BTC-PERP", " BTC "),
    ],
)
def test_usual_spellings_are_found(said: str) -> None:
    assert symbol_named(said, LISTED) == "BTCUSDT"


@pytest.mark.parametrize(
    ("said", "symbol"), [("ETH/USD1", "ETHUSD1"), ("ETH-USDT", "ETHUSDT"), ("SOL", "SOLUSDT"), ("luna", "LUNAUSDT")]
)
def test_one_that_is_traded_wins(said: str, symbol: str) -> None:
    assert symbol_named(said, LISTED) == symbol


@pytest.mark.parametrize("said", ["ETH", "XBT", "BTC/EUR", "BTC/USDT:USDC", "BT", "", "/", "BTC/", "BTC USDT", "ÄBTC"])
def test_what_fits_none_or_several_stays_as_it_is(said: str) -> None:
    assert symbol_named(said, LISTED) == said
