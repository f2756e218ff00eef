"""Which tests a run has, what it cost, and how to run alone what failed: a pytest plugin that is always on.

``make test`` runs with ``--part short``, ``make test-all`` the rest with ``--part rest``: the tests that are marked
``long``, the further cases of tests of the whole service, and the property tests once more with all their examples.
Without the option everything that is named runs.
"""

from __future__ import annotations

import os
import resource
import time

import pytest

CPU_BOUND_S = 360
ELAPSED_BOUND_S = 240
"""What ``make test`` may cost on two quiet cores; told at its end, never a failure: machines differ."""
WHOLE_SERVICE = "tests/integration/execution/"
"""Where each case starts a service and an exchange: of a test with many cases, two are short, the first and the last.

They differ in every parameter where cases are a product of parameters.
"""
_STARTED_AT = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--part``."""
    parser.addoption("--part", choices=("short", "rest"), help="only the short tests, or only the rest")


@pytest.hookimpl(trylast=True)  # after hypothesis, which marks the property tests there
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the other part of the run has; but run what was named, if that is nothing else.

    What waits for time at an exchange begins first, so that the unit tests fill the gaps and no worker is left alone.
    """
    items.sort(key=lambda item: item.nodeid.startswith("tests/unit/"))
    part = config.getoption("part")
    if part is None:
        return
    rest = _further_cases(items) | {item for item in items if item.get_closest_marker("long") is not None}
    kept = [item for item in items if _belongs(item, part, rest)]
    if kept or part == "rest":
        config.hook.pytest_deselected(items=[item for item in items if not _belongs(item, part, rest)])
        items[:] = kept


def _further_cases(items: list[pytest.Item]) -> set[pytest.Item]:
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.nodeid.startswith(WHOLE_SERVICE):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {item for of_one_test in cases.values() for item in of_one_test[1:-1]}


def _belongs(item: pytest.Item, part: str, rest: set[pytest.Item]) -> bool:
    if part == "short":
        return item not in rest
    return item in rest or item.get_closest_marker("hypothesis") is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell how to run alone what failed, and what the run cost beside what it may cost."""
    failed = [report.nodeid for kind in ("failed", "error") for report in terminalreporter.getreports(kind)]
    if failed:
        terminalreporter.section("run a failed test alone, from the repository's root")
        for node in dict.fromkeys(failed):
            terminalreporter.line(f"make test ARGS='-n0 \"{node}\"'")
    if config.getoption("part") == "short" and config.args_source.name != "ARGS":
        terminalreporter.line(_cost())


def _cost() -> str:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    elapsed_s = time.monotonic() - _STARTED_AT
    return (
        f"cost: {cpu_s:.0f} s of CPU time (bound {CPU_BOUND_S}), {elapsed_s:.0f} s elapsed "
        f"(bound {ELAPSED_BOUND_S} on two quiet cores; load now {os.getloadavg()[0]:.1f})"
    )
