"""The rules of the source tree that no other tool checks. Each exception is listed here with its reason."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
MAXIMUM_LINES = 500

SEAMED_MODULES = frozenset({"time", "random", "uuid", "secrets", "socket"})
SEAMED_CALLS = frozenset(
    {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "asyncio.sleep", "asyncio.open_connection"}
)
LOOP_TIME = frozenset({"time", "call_later", "call_at"})

SEAMS = {
    ("app/core/clock.py", "time"): "the service's clock",
    ("app/core/clock.py", "datetime.now"): "the service's clock",
    ("app/core/clock.py", "asyncio.sleep"): "the service's clock",
    ("app/core/randomness.py", "secrets"): "the service's chance",
    ("app/api/protocol.py", "loop.call_later"): "a connection's own timer, as the rest of its protocol has them",
    ("app/db/executors.py", "loop.call_later"): "the writer thread's, which the simulation replaces as a whole",
    ("app/cli/process.py", "socket"): "a port is taken before anything starts, so that one in use is told at once",
    ("aster_sim/clock.py", "time"): "the venue's clock",
    ("aster_sim/clock.py", "asyncio.sleep"): "the venue's clock",
    ("aster_sim/clock.py", "random"): "the venue's seeds",
    ("aster_sim/clock.py", "secrets"): "the venue's credentials",
}
"""Who may touch what the simulation replaces."""

MONEY_PATH = (
    *(f"app/{room}/" for room in ("domain", "schemas", "services", "repositories", "models", "integrations")),
    "aster_sim/core/",
)
FLOATS = {
    "app/integrations/aster/errors.py": "Retry-After is seconds",
    "app/integrations/aster/exchange_clock.py": "a round trip is seconds",
    "aster_sim/core/views.py": "the exchange sends its leverage brackets as JSON numbers",
}
"""Who may make a binary float near money, and of what."""


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def seams_used(tree: ast.Module) -> set[str]:
    """Names of the seams that a module calls, however it imported them."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins.update({(name.asname or name.name).split(".")[0]: name.name for name in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origins.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    return set(_calls(tree, origins))


def _calls(tree: ast.Module, origins: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in LOOP_TIME:
            owner = ast.unparse(node.func.value)
            if "loop" in owner:
                yield f"loop.{node.func.attr}"
        root, _, rest = ast.unparse(node.func).partition(".")
        called = ".".join(part for part in (origins.get(root, ""), rest) if part)
        if root not in origins:
            continue
        if called.split(".")[0] in SEAMED_MODULES:
            yield called.split(".")[0]
        for call in SEAMED_CALLS:
            if called == call or called.endswith(f".{call}"):
                yield call


def test_time_chance_and_sockets_come_through_the_seams() -> None:
    used = {(module, name) for module in MODULES for name in seams_used(parsed(module))}
    assert used <= set(SEAMS), "take it from the injected Clock or Randomness instead"


def test_every_exception_to_the_seams_is_still_needed() -> None:
    needed = {(module, name) for module in MODULES for name in seams_used(parsed(module))}
    assert set(SEAMS) == needed & set(SEAMS)


@pytest.mark.parametrize(
    ("code", "seam"),
    [
        ("import time\ntime.monotonic()", "time"),
        ("from time import time as now\nnow()", "time"),
        ("import random as r\nr.random()", "random"),
        ("from uuid import uuid4\nuuid4()", "uuid"),
        ("from datetime import datetime\ndatetime.now()", "datetime.now"),
        ("import datetime as d\nd.datetime.now(d.UTC)", "datetime.now"),
        ("import asyncio\nasyncio.sleep(1)", "asyncio.sleep"),
        ("from asyncio import sleep\nsleep(1)", "asyncio.sleep"),
        ("import asyncio\nasyncio.get_running_loop().time()", "loop.time"),
        ("import socket\nsocket.create_connection(())", "socket"),
    ],
)
def test_the_check_of_the_seams_sees_each_way_around_them(code: str, seam: str) -> None:
    assert seams_used(ast.parse(code)) == {seam}


def test_no_float_is_made_on_the_money_path() -> None:
    found = set()
    for module in MODULES:
        calls = [node for node in ast.walk(parsed(module)) if isinstance(node, ast.Call)]
        if module.startswith(MONEY_PATH) and any(ast.unparse(call.func) == "float" for call in calls):
            found.add(module)
    assert found <= set(FLOATS), "money is Decimal, from text"


def test_the_domain_imports_the_standard_library_only() -> None:
    imported = set()
    for module in MODULES:
        if not module.startswith("app/domain/"):
            continue
        for node in ast.walk(parsed(module)):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("app.domain")} == set()


def test_a_module_stays_readable_in_one_sitting() -> None:
    lengths = {module: len((SOURCE / module).read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MAXIMUM_LINES} == {}


def test_every_public_thing_says_what_it_is() -> None:
    """Modules, and public classes and functions on their top level, have docstrings."""
    bare = []
    for module in MODULES:
        tree = parsed(module)
        bare += [module] if tree.body and not ast.get_docstring(tree) else []
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                is_bare = not node.name.startswith("_") and not ast.get_docstring(node)
                bare += [f"{module}: {node.name}"] if is_bare else []
    assert bare == []
