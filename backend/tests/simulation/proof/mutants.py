"""Deliberate bugs that the simulation must catch: ``make mutants``. Ends with 1 when one survives.

The bugs are entries of the catalogue of broken rules, applied to a copy of the source by its own runner's bench; what
other tests prove with assertions, the simulation finds here without knowing what it looks for. A seed that breaks a
rule on the whole source as well has caught nothing. What a seed once found must break the world that was kept of it.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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


def chosen(names: Sequence[str]) -> list[Breakage]:
    """The bugs of ``mutants.toml``: entries of the catalogue by name, and those written out there.

    Raises:
        CatalogueError: an entry that is not there, or whose edit no longer fits the source.
    """
    document = tomllib.loads((_HERE.parent / "mutants.toml").read_text(encoding="utf-8"))
    known = {entry.name: entry for entry in load()}
    own = [Breakage(name=name, tests=(), **fields) for name, fields in document.get("bugs", {}).items()]
    unknown = [name for name in document["catalogue"] if name not in known]
    if unknown:
        raise CatalogueError(f"the catalogue of broken rules has no {', '.join(unknown)}")
    entries = [known[name] for name in document["catalogue"]] + own
    for entry in entries:
        entry.applied_to((SOURCE / entry.file).read_text(encoding="utf-8"))
    return [entry for entry in entries if not names or entry.name in names]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="which bugs (default: all)")
    parser.add_argument("--within", type=int, default=WITHIN, help=f"seeds for each (default {WITHIN})")
    parser.add_argument("--jobs", type=int, default=2, help="bugs side by side (default 2)")
    parser.add_argument("--everything", action="store_true", help="the whole catalogue, to see what could be named")
    wish = parser.parse_args(arguments)
    entries = load() if wish.everything else chosen(wish.names)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        survivors = _hunt_all(entries, Path(directory), wish.jobs, wish.within)
    caught = len(entries) - len(survivors)
    print(f"{caught} of {len(entries)} bugs caught within {wish.within} seeds each, in {time.monotonic() - began:.0f} s"
          + (f"; SURVIVED: {', '.join(survivors)}" if survivors else ""))  # fmt: skip
    return 1 if survivors else 0


def _hunt_all(entries: Sequence[Breakage], directory: Path, jobs: int, within: int) -> list[str]:
    benches: SimpleQueue[Bench] = SimpleQueue()
    for number in range(jobs):
        benches.put(Bench(directory / str(number)))

    def attempt(entry: Breakage) -> str:
        bench = benches.get()
        try:
            with bench.broken(entry):
                return _hunt(bench, entry.name, within)
        finally:
            benches.put(bench)

    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        for entry, said in zip(entries, pool.map(attempt, entries), strict=True):
            if said.startswith("CAUGHT"):
                _, seed, what = said.split(" ", 2)
                print(f"caught after {int(seed):>4} seeds  {entry.name:<40} {what[:110]}", flush=True)
            else:
                survivors.append(entry.name)
                print(f"SURVIVED                 {entry.name:<40} {said[:110]}", flush=True)
    return survivors


def _hunt(bench: Bench, name: str, within: int) -> str:
    """``CAUGHT <seed> <what>``, or why it was not."""
    ends_at = time.monotonic() + _PATIENCE_S
    first, said = 1, ""
    while not said:
        seconds = ends_at - time.monotonic()
        said = _perform(bench.python, "--first", first, "--seeds", within - first + 1, "--seconds", seconds)
        if said.startswith("CAUGHT") and (seed := int(said.split()[1])) and breaks_by_itself(seed):
            first, said = seed + 1, ""
    worlds = [path.stem for path in sorted(FOUND_WORLDS.glob("*.json")) if Found.read(path).put_back_by == name]
    for seed in worlds if said.startswith("CAUGHT") else ():
        if not _perform(bench.python, "--found", seed).startswith("CAUGHT"):
            return f"the world found/{seed}.json, which it once broke, passes"
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
