"""Column types keep what they are given, exactly, or refuse it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.statements import POSTGRESQL, SQLITE
from app.db.types import Flag, Json, Money, Name, UtcDateTime


class Colour(StrEnum):
    RED = "red"


def encode(column_type: Any, value: Any) -> Any:
    return column_type.process_bind_param(value, SQLITE)


def round_trip(column_type: Any, value: Any) -> Any:
    return column_type.process_result_value(encode(column_type, value), SQLITE)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e30"), max_value=Decimal("1e30")))
def test_money_comes_back_equal_and_is_plain_text(value: Decimal) -> None:
    """No digit is lost and no exponent is written."""
    if value and abs(value.adjusted()) > 60:
        with pytest.raises(ValueError, match="beyond all reason"):
            encode(Money(), value)
        return
    text = encode(Money(), value)
    assert isinstance(text, str)
    assert "E" not in text
    assert round_trip(Money(), value) == value


def test_money_keeps_its_trailing_zeros() -> None:
    """A quantity at the precision of its step is shown as it was sent."""
    assert str(round_trip(Money(), Decimal("0.010"))) == "0.010"


@pytest.mark.parametrize("value", [1.5, 1, "1.5", True])
def test_money_refuses_what_is_no_decimal(value: Any) -> None:
    """A float on the money path is a bug that must not reach the record."""
    with pytest.raises(TypeError):
        encode(Money(), value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_money_refuses_what_is_not_finite(text: str) -> None:
    """NaN and infinities are refused at the door."""
    with pytest.raises(ValueError, match="finite"):
        encode(Money(), Decimal(text))


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 — the zone is added below
def test_a_moment_comes_back_equal_and_in_utc(naive: datetime, offset_minutes: int) -> None:
    """Microseconds survive, whatever the zone of the sender."""
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    stored = round_trip(UtcDateTime(), moment)
    assert stored == moment
    assert stored.tzinfo is UTC
    assert isinstance(encode(UtcDateTime(), moment), int)


def test_a_moment_without_a_zone_is_refused() -> None:
    """Naive times mean nothing."""
    with pytest.raises(ValueError, match="zone"):
        encode(UtcDateTime(), datetime(2026, 1, 1))  # noqa: DTZ001 — the point of the test


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES.filter(lambda value: value is not None))
def test_json_comes_back_equal(value: Any) -> None:
    """Lone surrogates, huge integers and empty keys included."""
    encode(Json(), value).encode()
    assert round_trip(Json(), value) == value


def test_json_spells_decimals_as_text_and_refuses_nan() -> None:
    """Money in JSON is text, as in every answer of ours."""
    assert round_trip(Json(), {"price": Decimal("1E-8")}) == {"price": "0.00000001"}
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(Json(), [math.nan])
    with pytest.raises(TypeError):
        encode(Json(), object())


def test_flags_and_names_are_strict() -> None:
    """A truthy thing is no flag, and a word that is no member is no name."""
    assert round_trip(Flag(), True) is True
    assert round_trip(Name(Colour), Colour.RED) is Colour.RED
    with pytest.raises(TypeError):
        encode(Flag(), 1)
    with pytest.raises(ValueError, match="blue"):
        encode(Name(Colour), "blue")


@pytest.mark.parametrize("column_type", [Money(), UtcDateTime(), Flag(), Name(Colour), Json()])
def test_absent_stays_absent(column_type: Any) -> None:
    """None is NULL, and NULL is None."""
    assert encode(column_type, None) is None
    assert round_trip(column_type, None) is None


def test_postgresql_keeps_its_own_types() -> None:
    """The second dialect needs no other statements: only the types are spelled differently there."""
    spelled = [POSTGRESQL.type_compiler_instance.process(kind) for kind in (Money(), UtcDateTime(), Flag(), Json())]
    assert spelled == ["NUMERIC", "TIMESTAMP WITH TIME ZONE", "BOOLEAN", "TEXT"]
