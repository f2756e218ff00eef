"""Trading rules as exchange infos tell them, recorded ones and our own."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.integrations.aster.instruments import read_exchange_info
from support.samples import sample, samples

infos = pytest.mark.parametrize("path", samples("exchange_info.json"))


@infos
def test_every_recorded_symbol_is_read(path: Path) -> None:
    body = path.read_bytes()
    catalogue = read_exchange_info(body)
    symbols = {row["symbol"] for row in json.loads(body)["symbols"]}
    assert set(catalogue.instruments) == {symbol for symbol in symbols if not symbol.startswith("TEST")}
    trading = [instrument for instrument in catalogue.instruments.values() if instrument.is_trading]
    assert len(trading) > 10
    for instrument in trading:
        assert instrument.tick_size > 0
        assert instrument.lot.step > 0
        assert instrument.minimum_notional > 0
        assert instrument.percent_down < 1 < instrument.percent_up
        assert instrument.market_take_bound > 0
        assert instrument.maximum_algo_orders > 0
        assert {"MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET"} <= instrument.order_types


@infos
def test_recorded_bitcoin_rules_are_the_fact_sheets(path: Path) -> None:
    """Fact sheet, section 5."""
    bitcoin = read_exchange_info(path.read_bytes()).instruments["BTCUSDT"]
    assert (bitcoin.tick_size, bitcoin.lot.step, bitcoin.market_lot.maximum) == (
        Decimal("0.1"),
        Decimal("0.001"),
        Decimal(120),
    )
    assert (bitcoin.percent_up, bitcoin.percent_down, bitcoin.trigger_protect) == (
        Decimal("1.0200"),
        Decimal("0.9800"),
        Decimal("0.0200"),
    )
    assert bitcoin.minimum_notional == 5


def test_coarse_steps_and_tiny_ticks_are_read() -> None:
    mote = read_exchange_info(sample("exchange_info.json").read_bytes()).instruments["MOTEUSDT"]
    assert (mote.tick_size, mote.lot.step, mote.market_lot.step) == (Decimal("1E-7"), 1000, 5000)
    assert mote.market_step == 5000


@infos
def test_rate_limits_are_read(path: Path) -> None:
    catalogue = read_exchange_info(path.read_bytes())
    assert (catalogue.weight_limit_1m, catalogue.order_limit_1m, catalogue.order_limit_10s) == (2400, 1200, 300)


def test_symbol_that_cannot_be_read_is_reported_and_harms_no_other() -> None:
    info = json.loads(sample("exchange_info.json").read_bytes())
    info["symbols"] = info["symbols"][:3]
    info["symbols"][0]["filters"][0]["tickSize"] = "NaN"
    del info["symbols"][1]["status"]
    with capture_logs() as logs:
        catalogue = read_exchange_info(json.dumps(info).encode())
    assert list(catalogue.instruments) == [info["symbols"][2]["symbol"]]
    assert [entry["event"] for entry in logs] == ["aster.instrument_unreadable"] * 2


def test_answer_without_symbols_is_an_error() -> None:
    with pytest.raises(ValueError, match="symbols"):
        read_exchange_info(b'{"rateLimits":[]}')
