"""Lists in pages: newest first, with an opaque cursor that stays valid while the list grows at its head."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.domain.errors import TesError

T = TypeVar("T")

_LARGEST_NUMBER = 2**63 - 1
_DIGITS = "(?:[MN][DTjz]|O[DT])[AEIMQUYcgk]"
CURSOR_PATTERN = f"^(?:{_DIGITS}[w-z0-5]){{0,5}}(?:{_DIGITS}[w-z0-5]|{_DIGITS}|[MN][AQgw]|O[AQ])$"
"""What a cursor looks like, for the API's description: up to 18 decimal digits in base64."""


class InvalidCursor(TesError):
    """A cursor that no page of ours has given out."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the cursor of those that come after them; None when there are none."""

    items: tuple[T, ...]
    next_cursor: str | None


def encode_cursor(number: int) -> str:
    """The cursor behind the row with that number."""
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The row number that ``cursor`` stands for.

    Raises:
        InvalidCursor: it is not one of ours.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not text.isdigit() or int(text) > _LARGEST_NUMBER:
        raise InvalidCursor("cursor is not one that a list has returned: take 'next_cursor' as it is")
    return int(text)


def page_parameters(limit: int, cursor: str | None) -> dict[str, object]:
    """Parameters of a page query: one row more than asked for tells whether another page follows."""
    parameters: dict[str, object] = {"limit": limit + 1}
    if cursor is not None:
        parameters["before"] = decode_cursor(cursor)
    return parameters


def make_page(items: Sequence[T], numbers: Sequence[int], limit: int) -> Page[T]:
    """The page of the first ``limit`` items."""
    more = len(items) > limit
    return Page(tuple(items[:limit]), encode_cursor(numbers[limit - 1]) if more else None)
