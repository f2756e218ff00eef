"""JSON from outside: exact numbers, a bounded depth, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.domain.errors import DecisionRefused, ErrorCode

MAXIMUM_DEPTH = 32
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, so that brackets in them do not count, and brackets."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_LONGEST_KEY_SHOWN = 64
_BYTE_ORDER_MARK = "\ufeff"
_FENCED = re.compile(r"\s*```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n[ \t]*```\s*", re.DOTALL)


def read_object(body: bytes | str, expected: str) -> dict[str, Any]:
    """Read a JSON object, as :func:`read_json`; ``expected`` says in the message what it must hold.

    Raises:
        DecisionRefused: ``validation_error``.
    """
    raw = read_json(body)
    if not isinstance(raw, dict):
        raise invalid(f"the body must be a JSON object with {expected}")
    return raw


def read_json(body: bytes | str) -> Any:
    """Read JSON; numbers with a fraction become Decimal. NaN, infinities and a key that comes twice are refused.

    A byte order mark is dropped, and so is one Markdown fence around the whole, as language models write it.

    Raises:
        DecisionRefused: ``validation_error``.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    text = text.removeprefix(_BYTE_ORDER_MARK)
    fenced = _FENCED.fullmatch(text)
    text = fenced[1] if fenced else text
    if _is_too_deep(text):
        raise invalid(f"the body is nested deeper than {MAXIMUM_DEPTH} levels")
    try:
        raw = json.loads(
            text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object_of_unique_keys
        )
    except (ValueError, InvalidOperation) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if "\\u" in text and _has_half_character(raw):
        raise invalid("the body has half of a surrogate pair, which is no character")
    return raw


def wrong_fields(error: ValidationError) -> DecisionRefused:
    """``validation_error`` with a sentence for each wrong field: its path, what is wrong; never what was sent."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return invalid("; ".join(map(sentence_of, problems)), field=_path_of(problems[0]) or None)


def sentence_of(problem: ErrorDetails) -> str:
    """One wrong field: its path, and what is wrong."""
    path, message = _path_of(problem), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown field; check the spelling"
    return f"{path}: {message}" if path else message


def _path_of(problem: ErrorDetails) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")


def invalid(message: str, *, field: str | None = None) -> DecisionRefused:
    """``validation_error`` with this message, about this field."""
    return DecisionRefused(ErrorCode.VALIDATION_ERROR, message, field=field)


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A key that comes twice has two values, and a parser that keeps one drops the other unseen.

    Raises:
        DecisionRefused: a key comes twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = _first_repetition(name for name, _ in pairs)
        shown = _SURROGATES.sub("?", twice[:_LONGEST_KEY_SHOWN])
        raise invalid(f"the key {shown!r} comes twice in one object; leave one of the two out", field=shown)
    return found


def _first_repetition(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("every name comes once")


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
