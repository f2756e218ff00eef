"""Instruments: the built-in eight, and recorded exchange infos."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from aster_sim.core.catalogue import CatalogueError, built_in_catalogue, load_catalogue
from support.samples import samples


def _info(tmp_path: Path, **change: object) -> Path:
    raw = json.loads(json.dumps(built_in_catalogue().instruments["BTCUSDT"].raw))
    raw.update(change)
    path = tmp_path / "info.json"
    path.write_text(json.dumps({"symbols": [raw]}))
    return path


def test_the_built_in_catalogue_has_eight_priced_symbols_with_the_documented_filters():
    catalogue = built_in_catalogue()
    assert list(catalogue.instruments) == [
        f"{base}USDT" for base in ("BTC", "ETH", "SOL", "BNB", "ASTER", "DOGE", "XRP", "1000PEPE")
    ]
    btc = catalogue.instruments["BTCUSDT"]
    assert (btc.tick, btc.step, btc.min_notional, btc.market_max_qty) == (
        Decimal("0.1"),
        Decimal("0.001"),
        Decimal(5),
        Decimal(120),
    )
    assert catalogue.start_prices["BTCUSDT"] == 96000
    assert catalogue.start_prices["ETHUSDT"] == 3400
    assert catalogue.start_prices.keys() == catalogue.instruments.keys()
    for row in catalogue.instruments.values():
        assert row.tick < catalogue.start_prices[row.symbol] / 1000


@pytest.mark.parametrize("path", samples("exchange_info.json"))
def test_a_recorded_exchange_info_loads_whole(path):
    catalogue = load_catalogue(path)
    body = json.loads(path.read_text(encoding="utf-8"))
    assert [dict(row.raw) for row in catalogue.instruments.values()] == body["symbols"]
    assert {row.symbol for row in catalogue.instruments.values() if row.trading} == {
        row["symbol"] for row in body["symbols"] if row["status"] == "TRADING"
    }
    assert list(catalogue.assets) == body["assets"]


def test_a_saved_exchange_info_loads_as_it_was(tmp_path):
    catalogue = load_catalogue(_info(tmp_path))
    assert catalogue.instruments["BTCUSDT"] == built_in_catalogue().instruments["BTCUSDT"]
    assert catalogue.start_prices == {"BTCUSDT": Decimal(96000)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters": []}, "BTCUSDT lacks the filter"),
        ({"status": None, "pricePrecision": "many"}, "BTCUSDT: bad or missing field"),
        ({"marketTakeBound": "x"}, "BTCUSDT: bad or missing field"),
    ],
)
def test_a_damaged_exchange_info_names_symbol_and_fault(tmp_path, change, words):
    with pytest.raises(CatalogueError, match=words):
        load_catalogue(_info(tmp_path, **change))


def test_an_unreadable_exchange_info_says_so(tmp_path):
    broken = tmp_path / "info.json"
    broken.write_text("{")
    for path in (broken, tmp_path / "absent.json"):
        with pytest.raises(CatalogueError, match="cannot be read"):
            load_catalogue(path)
