"""What may be ordered: over every instrument of recorded exchange infos and of our own, and some built here."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.instruments import Instrument, LotRule
from app.domain.money import ZERO, is_multiple
from support.samples import samples

BUILT = Instrument(
    symbol="ODDUSDT",
    status="TRADING",
    base_asset="ODD",
    quote_asset="USDT",
    margin_asset="USDT",
    tick_size=Decimal("0.25"),
    minimum_price=Decimal("0.10"),
    maximum_price=Decimal(5000),
    lot=LotRule(minimum=Decimal(1), maximum=Decimal(1000), step=Decimal(1)),
    market_lot=LotRule(minimum=Decimal(5), maximum=Decimal(500), step=Decimal(5)),
    minimum_notional=Decimal(5),
    percent_up=Decimal("1.05"),
    percent_down=Decimal("0.95"),
    market_take_bound=Decimal("0.05"),
    trigger_protect=Decimal("0.05"),
    maximum_orders=200,
    maximum_algo_orders=10,
    order_types=frozenset({"MARKET"}),
    times_in_force=frozenset({"GTC"}),
)


def _from_row(row: dict[str, Any]) -> Instrument:
    filters = {one["filterType"]: one for one in row["filters"]}
    lot, market_lot = (
        LotRule(minimum=Decimal(one["minQty"]), maximum=Decimal(one["maxQty"]), step=Decimal(one["stepSize"]))
        for one in (filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"])
    )
    price = filters["PRICE_FILTER"]
    return replace(
        BUILT,
        symbol=row["symbol"],
        status=row["status"],
        tick_size=Decimal(price["tickSize"]),
        minimum_price=Decimal(price["minPrice"]),
        maximum_price=Decimal(price["maxPrice"]),
        lot=lot,
        market_lot=market_lot,
        minimum_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
    )


@pytest.fixture(scope="module", params=samples("exchange_info.json"))
def instruments(request: pytest.FixtureRequest) -> tuple[Instrument, ...]:
    """The symbols, read straight from the file."""
    path: Path = request.param
    return tuple(_from_row(row) for row in json.loads(path.read_text(encoding="utf-8"))["symbols"])


def test_every_recorded_symbol_sizes_within_its_filters(instruments: tuple[Instrument, ...]) -> None:
    """Scenario Z1: both lot filters accept the quantity, and its value never exceeds the money."""
    for instrument in instruments:
        low = max(instrument.minimum_price, instrument.tick_size, Decimal("0.0001"))
        for ticks in (0, 1, 17, 12_345):
            price = low + ticks * instrument.tick_size
            for notional in (Decimal("7.77"), Decimal(1000), Decimal("123456.789")):
                quantity = instrument.market_quantity_within(notional, price)
                assert quantity * price <= notional
                assert notional < (quantity + instrument.market_step) * price or not instrument.market_step
                for rule in (instrument.lot, instrument.market_lot):
                    assert is_multiple(quantity, rule.step), instrument.symbol


def test_every_recorded_symbol_puts_prices_on_its_ticks(instruments: tuple[Instrument, ...]) -> None:
    for instrument in instruments:
        low, high = instrument.minimum_price, instrument.maximum_price
        for share in (Decimal("0.000001"), Decimal("0.123456789"), Decimal("0.5"), Decimal("0.987654321")):
            wished = low + (high - low) * share
            price = instrument.price_at_nearest_tick(wished)
            assert abs(price - wished) * 2 <= instrument.tick_size
            assert instrument.is_price_on_tick(price), instrument.symbol
            if instrument.tick_size:  # some that are yet to be listed have none
                assert not instrument.is_price_on_tick(price + instrument.tick_size / 2)


def test_recorded_settling_symbols_do_not_trade(instruments: tuple[Instrument, ...]) -> None:
    """Scenario H3."""
    by_status = {instrument.status: instrument.is_trading for instrument in instruments}
    assert by_status.pop("TRADING") is True
    assert by_status["SETTLING"] is False
    assert set(by_status.values()) == {False}


MONEY = st.decimals(min_value=Decimal("1e-18"), max_value=Decimal("1e15"), allow_nan=False, allow_infinity=False)
PRICES = st.decimals(min_value=Decimal("1e-8"), max_value=Decimal("1e7"), allow_nan=False, allow_infinity=False)


@given(MONEY, PRICES)
def test_no_quantity_is_worth_more_than_the_money(notional: Decimal, price: Decimal) -> None:
    """However many digits the sender wrote: compared as exact fractions."""
    quantity = BUILT.market_quantity_within(notional, price)
    (q, q_by), (p, p_by), (n, n_by) = (number.as_integer_ratio() for number in (quantity, price, notional))
    assert q * p * n_by <= n * q_by * p_by


def test_thirty_five_nines_do_not_buy_one() -> None:
    instrument = replace(BUILT, market_lot=BUILT.lot)
    assert instrument.market_quantity_within(Decimal("0." + "9" * 35), Decimal(1)) == ZERO


def test_market_bounds_are_the_stricter_of_both_filters() -> None:
    assert (BUILT.market_step, BUILT.market_minimum, BUILT.market_maximum) == (5, 5, 500)
    loose = replace(BUILT, market_lot=LotRule(minimum=ZERO, maximum=ZERO, step=ZERO))
    assert (loose.market_step, loose.market_minimum, loose.market_maximum) == (1, 1, 1000)
    unbounded = replace(loose, lot=LotRule(minimum=ZERO, maximum=ZERO, step=ZERO))
    assert unbounded.market_maximum == ZERO


def test_ticks_count_from_the_minimum_price() -> None:
    """PRICE_FILTER asks for (price - minPrice) % tickSize == 0."""
    assert BUILT.price_at_nearest_tick(Decimal("10.20")) == Decimal("10.10")
    assert BUILT.is_price_on_tick(Decimal("10.10"))
    assert not BUILT.is_price_on_tick(Decimal("10.25"))


@pytest.mark.parametrize(
    ("price", "is_allowed"), [("0.10", True), ("-0.15", False), ("4999.85", True), ("5000.10", False)]
)
def test_prices_outside_the_bounds_are_off(price: str, is_allowed: bool) -> None:
    assert BUILT.is_price_on_tick(Decimal(price)) is is_allowed


def test_bounds_of_zero_are_no_bounds() -> None:
    free = replace(BUILT, minimum_price=ZERO, maximum_price=ZERO)
    assert free.is_price_on_tick(Decimal("1000000.25"))
    assert free.is_price_on_tick(Decimal("0.25"))
