"""The table of docs/reconciliation.md is the code's: every kind of difference, and what is done about it."""

from __future__ import annotations

import re
from pathlib import Path

from app.services.execution.reconciliation import ACTIONS, DifferenceKind

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reconciliation.md"
ROW = re.compile(r"^\| `(\w+)`: [^|]+\|[^|]+\| ([^|]+)\| [^|]*`DriftFound`[^|]*\|$", re.MULTILINE)


def test_every_difference_has_its_row_and_every_row_its_difference() -> None:
    rows = [name for name, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert sorted(rows) == sorted(kind.value for kind in DifferenceKind)


def test_every_row_says_what_the_code_says_it_does() -> None:
    told = dict(ROW.findall(PAGE.read_text(encoding="utf-8")))
    for kind, action in ACTIONS.items():
        assert told[kind.value].startswith(action), kind.value
