"""Exact decimals: the named roundings go the way their names say, whatever the numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.money import (
    ZERO,
    decimal_from_text,
    divide_down,
    is_multiple,
    plain,
    round_down_to_step,
    round_nearest_to_step,
)

STEPS = st.sampled_from(
    [Decimal(text) for text in ("0.00000001", "0.001", "0.10", "0.25", "0.5", "1", "5", "10", "1E+2", "1000")]
)
VALUES = st.decimals(min_value=0, max_value=Decimal("1e12"), places=12, allow_nan=False, allow_infinity=False)
SIGNED = st.decimals(min_value=Decimal("-1e12"), max_value=Decimal("1e12"), places=12, allow_nan=False)


@given(VALUES, STEPS)
def test_rounding_down_never_exceeds_the_value_and_loses_less_than_a_step(value: Decimal, step: Decimal) -> None:
    """Scenario Z1."""
    rounded = round_down_to_step(value, step)
    assert rounded <= value < rounded + step
    assert is_multiple(rounded, step)


@given(SIGNED, STEPS)
def test_rounding_to_the_nearest_is_at_most_half_a_step_away(value: Decimal, step: Decimal) -> None:
    rounded = round_nearest_to_step(value, step)
    assert abs(rounded - value) * 2 <= step
    assert is_multiple(rounded, step)


@pytest.mark.parametrize(("value", "expected"), [("0.05", "0.0"), ("0.15", "0.2"), ("0.25", "0.2"), ("0.35", "0.4")])
def test_nearest_breaks_ties_to_even(value: str, expected: str) -> None:
    assert round_nearest_to_step(Decimal(value), Decimal("0.1")) == Decimal(expected)


@given(VALUES, STEPS)
def test_a_multiple_stays_what_it_is(count: Decimal, step: Decimal) -> None:
    value = int(count) * step
    assert round_down_to_step(value, step) == round_nearest_to_step(value, step)
    assert round_down_to_step(value, step) == value


@pytest.mark.parametrize("step", [ZERO, Decimal(-1)])
def test_no_step_leaves_the_value_alone(step: Decimal) -> None:
    value = Decimal("1.23456789")
    assert round_down_to_step(value, step) == round_nearest_to_step(value, step)
    assert round_down_to_step(value, step) == value
    assert is_multiple(value, step)


@pytest.mark.parametrize(("value", "is_whole"), [("0.3", True), ("0.30000", True), ("0.35", False), ("-0.2", True)])
def test_multiples_are_exact(value: str, is_whole: bool) -> None:
    assert is_multiple(Decimal(value), Decimal("0.1")) is is_whole


DIGITS = st.decimals(min_value=Decimal("1e-18"), max_value=Decimal("1e18"), allow_nan=False, allow_infinity=False)


@given(DIGITS, DIGITS)
def test_dividing_down_never_rounds_past_the_quotient(dividend: Decimal, divisor: Decimal) -> None:
    """With 28 digits and rounding to even, 0.999… of 35 digits divided by 1 would be 1."""
    quotient = divide_down(dividend, divisor)
    # exact integers: dividing by a decimal again would round
    numerator, denominator = quotient.as_integer_ratio()
    top, bottom = (dividend.as_integer_ratio(), divisor.as_integer_ratio())
    assert numerator * bottom[0] * top[1] <= top[0] * bottom[1] * denominator


def test_dividing_down_keeps_thirty_five_nines_below_one() -> None:
    assert divide_down(Decimal("0." + "9" * 35), Decimal(1)) < 1


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-inf", "", "1,5", "one", "0x10", "1e", "1e99999999999999999999"]
)
def test_what_is_no_finite_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        decimal_from_text(text)


@given(SIGNED)
def test_text_survives_reading_and_spelling(value: Decimal) -> None:
    spelt = plain(value)
    assert decimal_from_text(spelt) == value
    assert "E" not in spelt
    assert not (("." in spelt) and spelt.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.010", "0.01"), ("1E+3", "1000"), ("-0", "0"), ("0E-8", "0"), ("100", "100"), ("1e-8", "0.00000001")],
)
def test_plain_has_neither_exponent_nor_trailing_zeros(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text
