"""Deliberate bugs that the simulation must catch: ``make mutants``. Ends with 1 when one survives.

The bugs are entries of the catalogue of broken rules, applied to a copy of the source by its own runner's bench; what
other tests prove with assertions, the simulation finds here without knowing what it looks for. A seed that breaks a
rule on the whole source as well has caught nothing. What a seed once found must break the world that was kept of it;
for a bug that only one seed among thousands meets, that world is all.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

_HERE = Path(__file__).parent
sys.path.append(str(_HERE.parents[1] / "broken_rules"))

from catalogue import SOURCE, Breakage, CatalogueError, load  # noqa: E402 — the folder is no package
from trial import Bench  # noqa: E402

from proof.found import FOUND_WORLDS, Found  # noqa: E402

WITHIN = 300
"""Seeds within which each bug must be caught; the hunt stops at the first that does."""
_PATIENCE_S = 300.0
"""Of one bug's hunt: no other seed is begun after that."""
_LIMIT_S = 900.0
"""When a hunt that hangs in one seed is ended."""


@dataclass(frozen=True, slots=True)
class Bug:
    """An edit of the source that must be caught; ``is_rare`` where only worlds that were kept meet it."""

    edit: Breakage
    is_rare: bool = False

    @property
    def worlds(self) -> list[str]:
        """The seeds whose kept worlds it broke."""
        return [seed for seed, bug in _kept_worlds() if bug == self.edit.name]


@functools.cache
def _kept_worlds() -> list[tuple[str, str | None]]:
    """Each kept world's seed, and the name of the bug that it catches."""
    paths = sorted(FOUND_WORLDS.glob("*.json"), key=lambda path: int(path.stem))
    return [(path.stem, Found.read(path).put_back_by) for path in paths]


def chosen(names: Sequence[str]) -> list[Bug]:
    """The bugs of ``mutants.toml``: entries of the catalogue by name, those written out there, and the rare ones.

    Raises:
        CatalogueError: an entry that is not there, or whose edit no longer fits the source; a rare one without a world.
    """
    document = tomllib.loads((_HERE.parent / "mutants.toml").read_text(encoding="utf-8"))
    known = {entry.name: entry for entry in load()}
    unknown = [name for name in (*document["catalogue"], *document["rare_catalogue"]) if name not in known]
    if unknown:
        raise CatalogueError(f"the catalogue of broken rules has no {', '.join(unknown)}")

    def taken(names: Sequence[str], own: Mapping[str, Mapping[str, str]], *, is_rare: bool = False) -> list[Bug]:
        edits = [known[name] for name in names] + [Breakage(name=name, tests=(), **own[name]) for name in own]
        return [Bug(edit, is_rare) for edit in edits]

    bugs = taken(document["catalogue"], document["bugs"])
    rare = taken(document["rare_catalogue"], document["rare"], is_rare=True)
    for bug in (*bugs, *rare):
        bug.edit.applied_to((SOURCE / bug.edit.file).read_text(encoding="utf-8"))
    untold = [bug.edit.name for bug in rare if not bug.worlds]
    if untold:
        raise CatalogueError(f"no world in found/ is broken by {', '.join(untold)}")
    return [bug for bug in (*bugs, *rare) if not names or bug.edit.name in names]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="which bugs (default: all)")
    parser.add_argument("--within", type=int, default=WITHIN, help=f"seeds for each (default {WITHIN})")
    parser.add_argument("--jobs", type=int, default=2, help="bugs side by side (default 2)")
    parser.add_argument("--everything", action="store_true", help="the whole catalogue, to see what could be named")
    wish = parser.parse_args(arguments)
    bugs = [Bug(entry) for entry in load()] if wish.everything else chosen(wish.names)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        survivors = _hunt_all(bugs, Path(directory), wish.jobs, wish.within)
    rare = sum(bug.is_rare for bug in bugs)
    print(f"{len(bugs) - len(survivors)} of {len(bugs)} bugs caught, {len(bugs) - rare} of them hunted within "
          f"{wish.within} seeds each and {rare} in the worlds that once met them, in {time.monotonic() - began:.0f} s"
          + (f"; SURVIVED: {', '.join(survivors)}" if survivors else ""))  # fmt: skip
    return 1 if survivors else 0


def _hunt_all(bugs: Sequence[Bug], directory: Path, jobs: int, within: int) -> list[str]:
    benches: SimpleQueue[Bench] = SimpleQueue()
    for number in range(jobs):
        benches.put(Bench(directory / str(number)))

    def attempt(bug: Bug) -> str:
        bench = benches.get()
        try:
            with bench.broken(bug.edit):
                said = "CAUGHT" if bug.is_rare else _hunt(bench, within)
                return _perform_kept(bench, bug, said) if said.startswith("CAUGHT") else said
        finally:
            benches.put(bench)

    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        for bug, said in zip(bugs, pool.map(attempt, bugs), strict=True):
            name = bug.edit.name
            if said.startswith("CAUGHT"):
                _, seed, what = said.split(" ", 2)
                how = f"caught in world {seed:>7}" if bug.is_rare else f"caught after {int(seed):>4} seeds"
                print(f"{how}  {name:<44} {what[:110]}", flush=True)
            else:
                survivors.append(name)
                print(f"SURVIVED                 {name:<44} {said[:110]}", flush=True)
    return survivors


def _hunt(bench: Bench, within: int) -> str:
    """``CAUGHT <seed> <what>``, or why it was not."""
    ends_at = time.monotonic() + _PATIENCE_S
    first, said = 1, ""
    while not said:
        seconds = ends_at - time.monotonic()
        said = _perform(bench.python, "--first", first, "--seeds", within - first + 1, "--seconds", seconds)
        if said.startswith("CAUGHT") and (seed := int(said.split()[1])) and breaks_by_itself(seed):
            first, said = seed + 1, ""
    return said


def _perform_kept(bench: Bench, bug: Bug, said: str) -> str:
    """What was said before, or of the kept worlds; or why one of them has not caught the bug."""
    for seed in bug.worlds:
        of_world = _perform(bench.python, "--found", seed)
        if not of_world.startswith("CAUGHT"):
            return f"the world found/{seed}.json, which it once broke, passes"
        said = of_world if bug.is_rare else said
    return said


@functools.cache
def breaks_by_itself(seed: int) -> bool:
    """Whether a seed breaks a rule on the source as it is."""
    return _perform(sys.executable, "--first", seed, "--seeds", 1).startswith("CAUGHT")


def _perform(python: str | Path, *options: object) -> str:
    try:
        done = subprocess.run(
            [python, "-m", "proof.hunt", *map(str, options)],
            cwd=_HERE.parent, env={**os.environ, "PYTHONPATH": str(_HERE.parent)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {_LIMIT_S:.0f} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return "CAUGHT 0 it does not even start: " + (done.stderr.strip().splitlines() or ["no word"])[-1]
    return lines[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
