"""One breakage of each scenario is planted, and one test of each must notice; ``make broken-rules`` tries them all."""

from __future__ import annotations

import pytest
from catalogue import FAMILIES, Breakage, load
from trial import Bench, Finding

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def first_of_each_scenario(family: str) -> dict[str, Breakage]:
    """The first entry of each scenario of a family."""
    firsts: dict[str, Breakage] = {}
    for entry in load():
        if entry.scenario.rstrip("0123456789") == family:
            firsts.setdefault(entry.scenario, entry)
    return firsts


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A copy of the source to break."""
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_broken_rule_is_noticed(bench: Bench, family: str) -> None:
    missed = []
    for entry in first_of_each_scenario(family).values():
        with bench.broken(entry):
            verdict = bench.run(entry.tests[:1])
        if not verdict.having(Finding.ASSERTED):
            missed.append(f"{entry.name}: {dict(verdict.outcomes)}\n{verdict.output[-2000:]}")
    assert missed == []
