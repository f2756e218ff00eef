"""The page of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parents[1] / "docs" / "invariants.md"


def test_every_test_that_guards_a_promise_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not any(f"def {test}(" in path.read_text(encoding="utf-8") for path in TESTS.rglob(file))
    ]
    assert len(named) > 40
    assert missing == []


def test_every_promise_names_its_scenarios_and_a_test() -> None:
    promises = re.split(r"^- ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(promises) > 20
    for promise in promises:
        assert re.search(r"\(([A-Z]\d+)(, [A-Z]\d+)*\)", promise), promise
        assert "::test_" in promise, promise
