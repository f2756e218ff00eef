"""Lists in pages: newest first, with an opaque cursor that stays valid while the list grows at its head."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from app.domain.errors import TesError
from app.repositories.readable import Found, Unreadable

T = TypeVar("T")

PAGE_BYTES = 1024 * 1024
"""A page ends early once it has so much, with a cursor, but has one item at least."""
_SLICE = 60
"""Items that are read and shown at once, a usual page: after them it is somebody else's turn."""
_LARGEST_NUMBER = 2**63 - 1
_DIGITS = "(?:[MN][DTjz]|O[DT])[AEIMQUYcgk]"
CURSOR_PATTERN = f"^(?:{_DIGITS}[w-z0-5]){{0,5}}(?:{_DIGITS}[w-z0-5]|{_DIGITS}|[MN][AQgw]|O[AQ])$"
"""What a cursor looks like, for the API's description: up to 18 decimal digits in base64."""


class InvalidCursor(TesError):
    """A cursor that no page of ours has given out."""


Show: TypeAlias = Callable[[T], bytes]
"""Puts an item into bytes. It can be pickled: items are shown where they are read, in another process."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some items as they are shown, and the cursor of those that come after them; None when there are none.

    ``unreadable`` are those of the page's rows that can't be read.
    """

    items: tuple[bytes, ...]
    next_cursor: str | None
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """Some items with their numbers, newest first; ``is_last`` when no more follow."""

    items: tuple[tuple[int, bytes | Unreadable], ...]
    is_last: bool


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


async def read_page(ask: Callable[[int, int | None], Awaitable[Slice]], limit: int, cursor: str | None) -> Page:
    """A page of at most ``limit`` items, slice by slice.

    ``ask`` gets how many items are wanted at most, and the number that they must be below, if any.

    Raises:
        InvalidCursor: ``cursor`` is not one that an earlier page gave.
    """
    before = None if cursor is None else decode_cursor(cursor)
    told: list[bytes | Unreadable] = []
    size = 0
    while True:
        part = await ask(min(_SLICE, limit + 1 - len(told)), before)
        for number, shown in part.items:
            if len(told) == limit or (told and size + _size(shown) > PAGE_BYTES):
                return _page_of(told, None if before is None else encode_cursor(before))
            told.append(shown)
            size += _size(shown)
            before = number
        if part.is_last:
            return _page_of(told, None)


def _page_of(told: Iterable[bytes | Unreadable], next_cursor: str | None) -> Page:
    found = Found(tuple(told))
    return Page(found.items, next_cursor, found.unreadable)


def _size(shown: bytes | Unreadable) -> int:
    return len(str(shown)) if isinstance(shown, Unreadable) else len(shown)


def slice_parameters(wanted: int, before: int | None) -> dict[str, object]:
    """Parameters of a query for one slice."""
    return {"limit": wanted} if before is None else {"limit": wanted, "before": before}


def make_slice(items: Iterable[tuple[int, T | Unreadable]], show: Show[T], wanted: int) -> Slice:
    """The items as they are shown, up to a page's bytes: what is beyond is asked for again, if at all."""
    shown: list[tuple[int, bytes | Unreadable]] = []
    size = 0
    for number, item in items:
        shown.append((number, item if isinstance(item, Unreadable) else show(item)))
        size += _size(shown[-1][1])
        if size > PAGE_BYTES:
            return Slice(tuple(shown), is_last=False)
    return Slice(tuple(shown), is_last=len(shown) < wanted)
