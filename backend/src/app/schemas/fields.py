"""Field types shared by the schemas: exact money in, text out; times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from app.domain.money import decimal_from_text, plain

_LARGEST_EXPONENT = 18


def _exact(value: Any) -> Any:
    """Take a JSON number or a string; refuse what is no finite decimal of a sane size."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("give a number, or a number as text")  # noqa: TRY004 — pydantic reports ValueErrors
    try:
        number = decimal_from_text(value.strip() if isinstance(value, str) else str(value))
    except ValueError as error:
        raise ValueError(str(error)) from None
    if number and not -_LARGEST_EXPONENT <= number.adjusted() <= _LARGEST_EXPONENT:
        raise ValueError(f"the number is out of range (1e-{_LARGEST_EXPONENT} to 1e{_LARGEST_EXPONENT})")
    if len(number.as_tuple().digits) > 2 * _LARGEST_EXPONENT:
        raise ValueError(f"the number has more than {2 * _LARGEST_EXPONENT} digits")
    return number


def _utc(value: datetime) -> datetime:
    """Read a time without a zone as UTC (contract, section 4)."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def iso(value: datetime) -> str:
    """Spell a time as RFC 3339 in UTC, with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Number = Annotated[
    Decimal,
    BeforeValidator(_exact),
    PlainSerializer(plain, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "title": "Decimal"}, mode="validation"),
    WithJsonSchema({"type": "string", "title": "Decimal"}, mode="serialization"),
]
"""An exact decimal: a JSON number or a string in, a string out."""

Positive = Annotated[Number, Field(gt=0)]
"""A :data:`Number` above zero."""

UtcTime = Annotated[datetime, AfterValidator(_utc), PlainSerializer(iso, return_type=str, when_used="json-unless-none")]
"""An aware time in UTC."""
