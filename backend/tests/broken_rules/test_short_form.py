"""One breakage of each scenario is planted, and one test of each must notice; ``make broken-rules`` tries them all."""

from __future__ import annotations

import pytest
from catalogue import Breakage, load
from trial import Bench, Finding

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def first_of_each_scenario() -> list[Breakage]:
    """The first entry of each scenario."""
    firsts: dict[str, Breakage] = {}
    for entry in load():
        firsts.setdefault(entry.scenario, entry)
    return list(firsts.values())


PATIENCE_S = 8
"""What a test waits for in vain because of a breakage, it waits for that long."""

ENTRIES = first_of_each_scenario()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A copy of the source to break."""
    return Bench(tmp_path_factory.mktemp("bench"))


def _must_be_noticed(bench: Bench, entry: Breakage) -> None:
    with bench.broken(entry):
        verdict = bench.run(entry.tests[:1], patience_s=PATIENCE_S, is_one_enough=True)
    assert verdict.having(Finding.ASSERTED), f"{entry.name}: {dict(verdict.outcomes)}\n{verdict.output[-2000:]}"


class TestOneHalf:
    """A worker of pytest-xdist takes a class as a whole; most of a trial is waiting, so two go side by side."""

    @pytest.mark.parametrize("entry", ENTRIES[::2], ids=lambda entry: entry.name)
    def test_a_broken_rule_is_noticed(self, bench: Bench, entry: Breakage) -> None:
        _must_be_noticed(bench, entry)


class TestOtherHalf:
    """As the one half."""

    @pytest.mark.parametrize("entry", ENTRIES[1::2], ids=lambda entry: entry.name)
    def test_a_broken_rule_is_noticed(self, bench: Bench, entry: Breakage) -> None:
        _must_be_noticed(bench, entry)
