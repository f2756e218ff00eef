"""Cursors are opaque and checked; pages have bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.repositories.pages import (
    PAGE_BYTES,
    InvalidCursor,
    Slice,
    decode_cursor,
    encode_cursor,
    make_slice,
    read_page,
)


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_comes_back_as_its_number_and_fits_a_url(number: int) -> None:
    """No character needs escaping."""
    cursor = encode_cursor(number)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor) == number


@given(st.text(max_size=30))
def test_any_text_is_a_cursor_of_ours_or_refused(text: str) -> None:
    """Nothing but InvalidCursor comes of a stranger's cursor."""
    try:
        number = decode_cursor(text)
    except InvalidCursor:
        return
    assert 0 <= number < 2**63


@pytest.mark.parametrize("text", ["", "!", "LTE", encode_cursor(2**63), encode_cursor(1) + "\n", "wrL"])
def test_what_no_list_gave_is_refused(text: str) -> None:
    """Negative, too large, foreign digits, stray characters."""
    with pytest.raises(InvalidCursor, match="next_cursor"):
        decode_cursor(text)


async def read(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """The sizes of the items of each page of a list, read to its end; the items are numbered downwards."""
    items = [(len(sizes) - place, bytes(size)) for place, size in enumerate(sizes)]

    async def ask(wanted: int, before: int | None) -> Slice:
        behind = [item for item in items if before is None or item[0] < before]
        return make_slice(behind[:wanted], lambda item: item, wanted)

    pages: list[list[int]] = []
    cursor = None
    while True:
        page = await read_page(ask, limit, cursor)
        pages.append([len(item) for item in page.items])
        if (cursor := page.next_cursor) is None:
            return pages


async def test_the_last_page_has_no_cursor() -> None:
    """One row more than asked for is what tells that another page follows."""
    assert await read([], 2) == [[]]
    assert await read([1, 2], 2) == [[1, 2]]
    assert await read([1, 2, 3], 2) == [[1, 2], [3]]


@given(
    st.lists(st.sampled_from([1, 1000, PAGE_BYTES // 3, PAGE_BYTES, PAGE_BYTES * 2]), max_size=60), st.integers(1, 45)
)
def test_pages_are_bounded_in_items_and_bytes_and_lose_nothing(sizes: list[int], limit: int) -> None:
    """An item that is larger than a page comes alone; no page but the last ends before a bound."""
    pages = asyncio.run(read(sizes, limit))
    assert [size for page in pages for size in page] == sizes
    for page, following in pairwise(pages):
        assert len(page) == limit or sum(page) + following[0] > PAGE_BYTES
    assert all(len(page) <= limit and (len(page) <= 1 or sum(page) <= PAGE_BYTES) for page in pages)
