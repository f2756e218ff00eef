"""Texts of others, made fit for a terminal."""

from __future__ import annotations

import re

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: control characters but tab and end of line, and those that turn text
around. Colours, titles, moves of the cursor and answers that the terminal types itself all begin with one of them."""
_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def escaped(document: str) -> str:
    """A JSON document with those characters as JSON escapes them."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def harmless(text: str) -> str:
    """``text`` with a mark for each character that would act on the terminal that shows it."""
    return _ACTING.sub(_INSTEAD, text)
