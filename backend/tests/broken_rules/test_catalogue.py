"""The catalogue of breakages fits the source and the tests as they are; ``make broken-rules`` tries it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from catalogue import BACKEND, REAL_TESTS, SOURCE, Breakage, CatalogueError, chosen, load, scenarios

ENTRIES = load()


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Names of the test functions of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_each_edit_fits_once_and_leaves_python(entry: Breakage) -> None:
    whole = (SOURCE / entry.file).read_text(encoding="utf-8")
    broken = entry.applied_to(whole)
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(whole))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_each_entry_names_tests_that_exist_and_trade_on_the_venue(entry: Breakage) -> None:
    assert entry.tests
    for node in entry.tests:
        path, _, name = node.partition("::")
        assert path.startswith(REAL_TESTS), f"{node} is no test of the whole service"
        assert name.partition("[")[0] in functions_in(BACKEND / path), f"{node} does not exist"


def test_every_scenario_is_broken_at_least_once() -> None:
    assert set(scenarios()) - {entry.scenario for entry in ENTRIES} == set()


def test_an_edit_that_does_not_fit_exactly_once_is_refused() -> None:
    edit = Breakage(name="U1-x", breaks="", file="x.py", old="a", new="b", tests=())
    assert edit.applied_to("cat") == "cbt"
    for text in ("dog", "banana"):
        with pytest.raises(CatalogueError, match="must be there once"):
            edit.applied_to(text)


def test_entries_are_chosen_by_scenario_family_or_name() -> None:
    def named(name: str) -> Breakage:
        return Breakage(name=name, breaks="", file="", old="", new="", tests=())

    entries = [named("U1-sent-twice"), named("U10-forgotten"), named("P1-ignored")]
    assert [entry.name for entry in chosen(entries, ["U1"])] == ["U1-sent-twice"]
    assert [entry.name for entry in chosen(entries, ["U", "P1-ignored"])] == [entry.name for entry in entries]
    assert chosen(entries, []) == entries
    with pytest.raises(CatalogueError, match="X9"):
        chosen(entries, ["X9"])
