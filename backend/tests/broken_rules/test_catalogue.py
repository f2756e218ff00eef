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


@cache
def parsed(path: Path) -> str:
    """A file of the source as Python reads it."""
    return ast.dump(ast.parse(path.read_text(encoding="utf-8")))


def misfit(entry: Breakage) -> str | None:
    """Why an edit can't be tried; None when it fits once and leaves other Python."""
    path = SOURCE / entry.file
    try:
        broken = ast.dump(ast.parse(entry.applied_to(path.read_text(encoding="utf-8"))))
    except (CatalogueError, SyntaxError) as error:
        return f"{entry.name}: {error}"
    return f"{entry.name} changes nothing" if broken == parsed(path) else None


def test_each_edit_fits_once_and_leaves_python() -> None:
    assert [found for entry in ENTRIES if (found := misfit(entry))] == []


def unknown_tests(entry: Breakage) -> list[str]:
    """Tests that an entry names and that do not exist, or are none of the whole service."""
    named = [node.partition("::") for node in entry.tests]
    return [
        f"{entry.name}: {path}::{name}"
        for path, _, name in named
        if not path.startswith(REAL_TESTS) or name.partition("[")[0] not in functions_in(BACKEND / path)
    ]


def test_each_entry_names_tests_that_exist_and_trade_on_the_venue() -> None:
    assert [entry.name for entry in ENTRIES if not entry.tests] == []
    assert [missing for entry in ENTRIES for missing in unknown_tests(entry)] == []


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
