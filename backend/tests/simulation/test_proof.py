"""A little of the proof in every test run; ``make soak SEEDS=10000`` is the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from proof import coverage, mutants
from proof.disk import scratch_folder
from proof.found import FOUND_WORLDS, Found
from proof.happenings import Happening
from proof.performance import judge, judge_seed, shrink, story
from proof.sameness import differing
from proof.world import make

SHORT = [
    pytest.param(range(1, 5), id="1-4"),
    pytest.param(range(5, 13), id="5-12", marks=pytest.mark.long),
    pytest.param(range(13, 25), id="13-24", marks=pytest.mark.long),
    pytest.param(range(25, 37), id="25-36", marks=pytest.mark.long),
]
FOUND = [
    pytest.param(path, id=path.stem) for path in sorted(FOUND_WORLDS.glob("*.json"), key=lambda path: int(path.stem))
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    coverage.install()
    with scratch_folder() as name:
        yield Path(name)
    # the proof's log is silent, and the next module of this process may look at what is logged
    structlog.reset_defaults()


@pytest.mark.parametrize("seeds", SHORT)
def test_the_promises_hold_in_simulated_worlds(folder: Path, seeds: range) -> None:
    """U, P, O, W, L, H and C at once; which of them each seed meets is told by make soak."""
    broken = {seed: judge_seed(seed, folder).violations for seed in seeds}
    told = {f"make story SEED={seed}": list(map(str, found)) for seed, found in broken.items() if found}
    assert told == {}


@pytest.mark.long
@pytest.mark.parametrize("path", FOUND)
def test_what_a_seed_has_found_stays_mended(folder: Path, path: Path) -> None:
    """Worlds reduced to what broke a rule; ``make mutants`` plants most of their bugs again."""
    assert list(map(str, judge(Found.read(path).world, folder).violations)) == []


@pytest.mark.long
def test_a_seed_performs_the_same_again_whatever_ran_before(folder: Path) -> None:
    first = [judge_seed(seed, folder).fingerprint for seed in range(200, 203)]
    assert [judge_seed(seed, folder).fingerprint for seed in reversed(range(200, 203))] == first[::-1]


@pytest.mark.long
def test_a_seed_performs_the_same_in_processes_that_hash_differently() -> None:
    """A few seeds; ``make soak ARGS='--same 500'`` compares as many as wished."""
    assert differing(range(300, 306)) == []


def test_every_mutant_still_fits_the_source() -> None:
    assert len(mutants.chosen([])) >= 25


@pytest.mark.long
def test_a_failing_world_is_reduced_to_what_matters(folder: Path) -> None:
    """A promise that nobody made is broken by one happening among many: the reduction finds that one."""
    world = make(8)
    position = Happening(1.5, "no_such_thing", {})
    world = world.with_happenings(tuple(sorted((*world.happenings, position), key=lambda one: one.at)))
    assert "is performed" in judge(world, folder).rules
    small = shrink(world, folder, "is performed", lambda _: None)
    assert [one.what for one in small.happenings] == ["no_such_thing"]
    told = story(small, judge(small, folder, with_story=True))
    assert "no_such_thing" in told
    assert "VIOLATED  is performed" in told
