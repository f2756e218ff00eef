"""JSON from outside: exact numbers, a bounded depth, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError

from app.domain.errors import DecisionRefused, ErrorCode

MAXIMUM_DEPTH = 32
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, so that brackets in them do not count, and brackets."""
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_object(body: bytes | str, expected: str) -> dict[str, Any]:
    """Read a JSON object; numbers with a fraction become Decimal, NaN and infinities are refused.

    Args:
        body: what came.
        expected: what it must hold, for the message.

    Raises:
        DecisionRefused: ``validation_error``.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if _is_too_deep(text):
        raise invalid(f"the body is nested deeper than {MAXIMUM_DEPTH} levels")
    try:
        raw = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, InvalidOperation) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise invalid(f"the body must be a JSON object with {expected}")
    if "\\u" in text and _has_half_character(raw):
        raise invalid("the body has half of a surrogate pair, which is no character")
    return raw


def wrong_fields(error: ValidationError) -> DecisionRefused:
    """``validation_error`` with a sentence for each wrong field: its path, what is wrong; never what was sent."""
    sentences, paths = [], []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field; check the spelling"
        sentences.append(f"{path}: {message}" if path else message)
        paths.append(path)
    return invalid("; ".join(sentences), field=paths[0] or None)


def invalid(message: str, *, field: str | None = None) -> DecisionRefused:
    """``validation_error`` with this message, about this field."""
    return DecisionRefused(ErrorCode.VALIDATION_ERROR, message, field=field)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _has_half_character(value: Any) -> bool:
    """Whether a text inside can't be written as UTF-8, which no database and no answer could hold."""
    if isinstance(value, str):
        return _SURROGATES.search(value) is not None
    if isinstance(value, dict):
        return any(_has_half_character(name) or _has_half_character(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_has_half_character, value))


def _is_too_deep(text: str) -> bool:
    """Whether brackets nest too deep. Asked before parsing: a parser in C that recurses can take the process down."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAXIMUM_DEPTH:
                return True
        elif first in "]}":
            depth -= 1
    return False
