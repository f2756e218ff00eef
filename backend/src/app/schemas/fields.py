"""Field types shared by the schemas: exact money in, text out; times in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from app.domain.money import decimal_from_text, plain

_LARGEST_EXPONENT = 18
_SMALLEST, _LARGEST = Decimal(10) ** -_LARGEST_EXPONENT, Decimal(10) ** _LARGEST_EXPONENT


_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")


def _exact(value: Any) -> Any:
    """Take a JSON number or a string; refuse what is no finite decimal of a sane size.

    ``1,000`` is understood. Python's own ``1_000`` and digits of other scripts are not: a sender who writes them means
    something that we would have to guess.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("give a number, or a number as text")  # noqa: TRY004 — pydantic reports ValueErrors
    text = value.strip() if isinstance(value, str) else str(value)
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a decimal number")
    try:
        number = decimal_from_text(text)
    except ValueError as error:
        raise ValueError(str(error)) from None
    if number and not _SMALLEST <= number.copy_abs() <= _LARGEST:
        raise ValueError(f"the number is out of range (1e-{_LARGEST_EXPONENT} to 1e{_LARGEST_EXPONENT})")
    if len(number.as_tuple().digits) > 2 * _LARGEST_EXPONENT:
        raise ValueError(f"the number has more than {2 * _LARGEST_EXPONENT} digits")
    return number


def _before_unit(unit: str) -> BeforeValidator:
    """Reads ``10x`` or ``85%`` as the number before its unit."""

    def number(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = value.strip()
        return text[: -len(unit)] if text[-1:].lower() == unit and text[-2:-1].isdigit() else value

    return BeforeValidator(number)


def _utc(value: datetime) -> datetime:
    """Read a time without a zone as UTC (contract, section 4)."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the year 1 or behind the year 9999 in UTC") from None


def iso(value: datetime) -> str:
    """Spell a time as RFC 3339 in UTC, with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_SMALLEST_SHOWN, _LARGEST_SHOWN = 1e-18, 1e18
_POSITIVE_TEXT = r"^([1-9][0-9]{0,15}(\.[0-9]{1,16})?|0\.0{0,15}[1-9][0-9]{0,2})$"


def _described(text: str, **bounds: Any) -> WithJsonSchema:
    """How the API's description shows a number that may come as text: what every JSON Schema validator can check."""
    forms: list[dict[str, Any]] = [
        {"type": "number", "maximum": _LARGEST_SHOWN, **bounds},
        {"type": "string", "pattern": text},
    ]
    if bounds.get("minimum") == 0:
        forms = [{**forms[0], "minimum": _SMALLEST_SHOWN}, {"enum": [0, "0"]}, forms[1]]
    return WithJsonSchema({"anyOf": forms, "title": "Decimal"}, mode="validation")


_SHOWN = WithJsonSchema({"type": "string", "title": "Decimal"}, mode="serialization")

Number = Annotated[
    Decimal,
    BeforeValidator(_exact),
    PlainSerializer(plain, return_type=str, when_used="json-unless-none"),
    _SHOWN,
]
"""An exact decimal: a JSON number or a string in, a string out."""

NonNegative = Annotated[Number, Field(ge=0), _described(_POSITIVE_TEXT, minimum=0), _SHOWN]
"""A :data:`Number` from zero."""

Positive = Annotated[Number, Field(gt=0), _described(_POSITIVE_TEXT, minimum=_SMALLEST_SHOWN), _SHOWN]
"""A :data:`Number` above zero."""

Percentage = Annotated[
    Number,
    Field(ge=0, le=100),
    _before_unit("%"),
    _described(r"^(100|[1-9]?[0-9](\.[0-9]{1,16})?)$", minimum=0, maximum=100),
    _SHOWN,
]
"""A :data:`Number` from 0 to 100; as text it may end in ``%``."""

PositivePercentage = Annotated[
    Number,
    Field(gt=0, le=100),
    _before_unit("%"),
    _described(r"^(100|[1-9][0-9]?(\.[0-9]{1,16})?)$", minimum=_SMALLEST_SHOWN, maximum=100),
    _SHOWN,
]
"""A :data:`Number` above 0, up to 100; as text it may end in ``%``."""

Leverage = Annotated[
    Number,
    Field(ge=1),
    _before_unit("x"),
    _described(r"^[1-9][0-9]{0,15}$", minimum=1, multipleOf=1),
    _SHOWN,
]
"""A whole :data:`Number` from 1, also as ``10x``; that it is whole is checked where its message can say more."""

DecimalText = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""A text that may come as a whole number: an id of a database."""

UtcTime = Annotated[datetime, AfterValidator(_utc), PlainSerializer(iso, return_type=str, when_used="json-unless-none")]
"""An aware time in UTC."""
