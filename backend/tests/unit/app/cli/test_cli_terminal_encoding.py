"""A character that a terminal can't show never ends a command."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from app.cli.common import print_json
from app.cli.terminal import shows_everything, survive_any_encoding


def shown(monkeypatch: pytest.MonkeyPatch, encoding: str, work: Callable[[], None]) -> str:
    """What ``work`` writes on a terminal of this encoding."""
    written = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
        survive_any_encoding()
        work()
        return written.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "koi8-r", "utf-8"])
def test_what_cannot_be_shown_is_shown_plainly(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    text = shown(monkeypatch, encoding, lambda: print("a – b… → \udcff \U0001f642"))
    assert text == ("a – b… → ? \U0001f642\n" if encoding == "utf-8" else "a - b... -> ? ?\n")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_json_keeps_every_character(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    text = shown(monkeypatch, encoding, lambda: print_json({"rationale": "a – b"}, is_line=True))
    assert text == {"latin-1": '{"rationale": "a \\u2013 b"}\n', "utf-8": '{"rationale": "a – b"}\n'}[encoding]


def test_a_closed_stream_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    survive_any_encoding()
    assert not shows_everything()
