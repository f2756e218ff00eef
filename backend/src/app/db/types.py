# ruff: noqa: ARG002 — the methods have SQLAlchemy's signature
"""Column types. Each says how its value is spelled in a database; both dialects share everything else.

| type | Python | SQLite (STRICT tables) | PostgreSQL |
|---|---|---|---|
| ``Money`` | finite ``Decimal`` | exact plain text, trailing zeros kept | ``NUMERIC`` |
| ``UtcDateTime`` | aware ``datetime`` | integer microseconds since 1970, UTC | ``TIMESTAMPTZ`` |
| ``Flag`` | ``bool`` | 0 or 1 | ``BOOLEAN`` |
| ``Name`` | a ``StrEnum`` | its value as text | its value as text |
| ``Json`` | JSON values | text | text: it comes back as it went in, and nothing queries inside |
| ``Whole`` | ``int`` of 64 bits | ``INTEGER`` | ``BIGINT`` |

An encoder refuses what it cannot keep exactly (floats, NaN, naive times) with ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, Integer, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SQLITE = "sqlite"
_MAXIMUM_MAGNITUDE = 60
"""Digits on either side of the point; nothing that is traded comes near, and plain text stays short."""


def _json_default(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} is no JSON value")


_ENCODE_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_json_default).encode

Whole = BigInteger().with_variant(Integer(), _SQLITE)


class Money(TypeDecorator[Decimal]):
    """An exact decimal: prices, quantities, amounts, rates."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text where the database has no exact decimals."""
        return dialect.type_descriptor(Text() if dialect.name == _SQLITE else Numeric())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The decimal as the dialect keeps it."""
        if value is None:
            return None
        if not isinstance(value, Decimal):
            raise TypeError(f"money must be a Decimal, not {type(value).__name__}")
        if not value.is_finite():
            raise ValueError("money must be finite")
        if value and abs(value.adjusted()) > _MAXIMUM_MAGNITUDE:
            raise ValueError("money is beyond all reason: more than 60 digits before or after the point")
        return format(value, "f") if dialect.name == _SQLITE else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """The decimal, with the digits that were stored."""
        return None if value is None else Decimal(value)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, to the microsecond."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An integer in SQLite, which has no type for moments: it sorts and compares as one."""
        return dialect.type_descriptor(Integer() if dialect.name == _SQLITE else DateTime(timezone=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The moment as the dialect keeps it."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise TypeError(f"a moment must be a datetime, not {type(value).__name__}")
        if value.tzinfo is None:
            raise ValueError("a moment must carry its zone")
        return (value - _EPOCH) // _MICROSECOND if dialect.name == _SQLITE else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """The moment in UTC."""
        if value is None:
            return None
        return _EPOCH + timedelta(microseconds=value) if dialect.name == _SQLITE else value.astimezone(UTC)


class Flag(TypeDecorator[bool]):
    """Yes or no."""

    impl = Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """STRICT tables of SQLite have no boolean."""
        return dialect.type_descriptor(Integer() if dialect.name == _SQLITE else Boolean())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The flag as the dialect keeps it."""
        if value is None:
            return None
        if not isinstance(value, bool):
            raise TypeError(f"a flag must be a bool, not {type(value).__name__}")
        return int(value) if dialect.name == _SQLITE else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        """The flag."""
        return None if value is None else bool(value)


class Name(TypeDecorator[StrEnum]):
    """A member of an enumeration, by its value. New members need no migration."""

    impl = Text
    cache_ok = True

    def __init__(self, enumeration: type[StrEnum]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The member's value; any other text raises ``ValueError``."""
        return None if value is None else self.enumeration(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        """The member."""
        return None if value is None else self.enumeration(value)


class Json(TypeDecorator[Any]):
    """JSON values. Decimals are written as text, as everywhere in our JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The value as JSON text."""
        return None if value is None else _ENCODE_JSON(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value that the text spells."""
        return None if value is None else json.loads(value)
