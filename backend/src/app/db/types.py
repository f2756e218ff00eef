"""Column types. Each says how its value is spelled in a database; both dialects share everything else.

| type | Python | SQLite (STRICT tables) | PostgreSQL |
|---|---|---|---|
| ``Money`` | finite ``Decimal`` | exact plain text, trailing zeros kept | ``NUMERIC`` |
| ``UtcDateTime`` | aware ``datetime`` | integer microseconds since 1970, UTC | ``TIMESTAMPTZ`` |
| ``Flag`` | ``bool`` | 0 or 1 | ``BOOLEAN`` |
| ``Name`` | a ``StrEnum`` | its value as text | its value as text |
| ``Json`` | JSON values | text | text: it comes back as it went in, and nothing queries inside |
| ``Whole`` | ``int`` of 64 bits | ``INTEGER`` | ``BIGINT`` |

An encoder refuses what it cannot keep exactly (floats, NaN, naive times) with ``TypeError`` or ``ValueError``. Encoders
are plain functions, chosen once per statement: a bracket's intent has about 170 values, and they are encoded on the
event loop. PostgreSQL is given every value as text and reads it as its column's type.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, Integer, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")

Converter: TypeAlias = Callable[[Any], Any]
"""Converts a value that is not None."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SQLITE = "sqlite"
_MAXIMUM_MAGNITUDE = 60
"""Digits on either side of the point; nothing that is traded comes near, and plain text stays short."""

Whole = BigInteger().with_variant(Integer(), _SQLITE)


class StoredType(TypeDecorator[T]):
    """A type with converters of its own. None is NULL in all of them."""

    impl = Text
    cache_ok = True

    def encoder(self, dialect: Dialect) -> Converter:
        """What spells a value for the dialect's driver."""
        raise NotImplementedError

    def decoder(self, dialect: Dialect) -> Converter:
        """What reads a value from the dialect's driver."""
        raise NotImplementedError

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """SQLAlchemy's name for encoding."""
        return None if value is None else self.encoder(dialect)(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """SQLAlchemy's name for decoding."""
        return None if value is None else self.decoder(dialect)(value)


class Money(StoredType[Decimal]):
    """An exact decimal: prices, quantities, amounts, rates."""

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text where the database has no exact decimals."""
        return dialect.type_descriptor(Text() if dialect.name == _SQLITE else Numeric())

    def encoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """Plain text, without exponent."""
        return _money_text

    def decoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The decimal, with the digits that were stored."""
        return Decimal


class UtcDateTime(StoredType[datetime]):
    """A moment, to the microsecond."""

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An integer in SQLite, which has no type for moments: it sorts and compares as one."""
        return dialect.type_descriptor(Integer() if dialect.name == _SQLITE else DateTime(timezone=True))

    def encoder(self, dialect: Dialect) -> Converter:
        """Microseconds on SQLite, ISO 8601 with its offset on PostgreSQL."""
        return _microseconds if dialect.name == _SQLITE else _moment_text

    def decoder(self, dialect: Dialect) -> Converter:
        """The moment in UTC."""
        return _moment if dialect.name == _SQLITE else _in_utc


class Flag(StoredType[bool]):
    """Yes or no."""

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """STRICT tables of SQLite have no boolean."""
        return dialect.type_descriptor(Integer() if dialect.name == _SQLITE else Boolean())

    def encoder(self, dialect: Dialect) -> Converter:
        """0 or 1 on SQLite, a word on PostgreSQL."""
        return _bit if dialect.name == _SQLITE else _flag_text

    def decoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The flag."""
        return bool


class Name(StoredType[StrEnum]):
    """A member of an enumeration, by its value. New members need no migration."""

    def __init__(self, enumeration: type[StrEnum]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def encoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The member's value; any text that is none raises ``ValueError``."""
        enumeration = self.enumeration
        values = {member: member.value for member in enumeration}

        def encode(value: Any) -> str:
            try:
                return values[value]
            except (KeyError, TypeError):
                raise ValueError(f"{value!r} is no {enumeration.__name__}") from None

        return encode

    def decoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The member."""
        return self.enumeration


class Json(StoredType[Any]):
    """JSON values. Decimals are written as text, as everywhere in our JSON."""

    def encoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The value as JSON text."""
        return _json_text

    def decoder(self, dialect: Dialect) -> Converter:  # noqa: ARG002 — the same everywhere
        """The value that the text spells."""
        return json.loads


def _checked_money(value: Any) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError(f"money must be a Decimal, not {type(value).__name__}")
    if not value.is_finite():
        raise ValueError("money must be finite")
    if value and abs(value.adjusted()) > _MAXIMUM_MAGNITUDE:
        raise ValueError("money is beyond all reason: more than 60 digits before or after the point")
    return value


def _money_text(value: Any) -> str:
    return format(_checked_money(value), "f")


def _checked_moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"a moment must be a datetime, not {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError("a moment must carry its zone")
    return value


def _microseconds(value: Any) -> int:
    return (_checked_moment(value) - _EPOCH) // _MICROSECOND


def _moment_text(value: Any) -> str:
    return _checked_moment(value).isoformat()


def _moment(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _checked_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a flag must be a bool, not {type(value).__name__}")
    return value


def _bit(value: Any) -> int:
    return int(_checked_flag(value))


def _flag_text(value: Any) -> str:
    return "true" if _checked_flag(value) else "false"


def _json_default(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} is no JSON value")


_json_text = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_json_default).encode
