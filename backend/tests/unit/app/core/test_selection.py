"""The short part and the rest have every test between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from support.selection import WHOLE_SERVICE, pytest_collection_modifyitems


class Item:
    """What the selection asks of a collected test."""

    def __init__(self, nodeid: str, *marks: str) -> None:
        self.nodeid = nodeid
        self._marks = marks

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self._marks else None


def selected(part: str | None, items: list[Item]) -> list[str]:
    config: Any = SimpleNamespace(getoption=lambda _: part, hook=SimpleNamespace(pytest_deselected=lambda items: None))
    kept: Any = list(items)
    pytest_collection_modifyitems(config, kept)
    return [item.nodeid for item in kept]


ITEMS = [
    *(Item(f"{WHOLE_SERVICE}test_a.py::test_x[{case}]") for case in ("a", "b", "c", "d")),
    Item(f"{WHOLE_SERVICE}test_a.py::test_y"),
    Item("tests/integration/api/test_b.py::test_slow", "long"),
    *(Item(f"tests/unit/test_c.py::test_z[{case}]") for case in ("a", "b", "c")),
    Item("tests/unit/test_c.py::test_any", "hypothesis"),
]


def test_of_a_test_of_the_whole_service_the_short_part_has_the_first_and_the_last_case() -> None:
    x = f"{WHOLE_SERVICE}test_a.py::test_x"
    short, rest = selected("short", ITEMS), selected("rest", ITEMS)
    assert [name for name in short if name.startswith(x)] == [f"{x}[a]", f"{x}[d]"]
    assert [name for name in rest if name.startswith(x)] == [f"{x}[b]", f"{x}[c]"]


def test_no_test_is_in_neither_part_and_property_tests_are_in_both() -> None:
    short, rest = selected("short", ITEMS), selected("rest", ITEMS)
    assert sorted({*short, *rest}) == sorted(item.nodeid for item in ITEMS)
    assert {*short} & {*rest} == {"tests/unit/test_c.py::test_any"}


@pytest.mark.parametrize("part", ["short", None])
def test_a_long_test_that_is_named_alone_runs(part: str | None) -> None:
    assert selected(part, [ITEMS[5]]) == [ITEMS[5].nodeid]
