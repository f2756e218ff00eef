"""Cursors are opaque and checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.repositories.pages import InvalidCursor, decode_cursor, encode_cursor, make_page


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


def test_the_last_page_has_no_cursor() -> None:
    """One row more than asked for is what tells that another page follows."""
    assert make_page(["a", "b"], [2, 1], 2).next_cursor is None
    page = make_page(["a", "b", "c"], [3, 2, 1], 2)
    assert (page.items, page.next_cursor) == (("a", "b"), encode_cursor(2))
