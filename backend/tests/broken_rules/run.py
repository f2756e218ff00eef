"""Break each rule on purpose and see its tests fail: ``make broken-rules``.

First the tests must pass as they are; then each entry of the catalogue is applied to a copy of the source, and each
test that it names must fail by assertion. Ends with 1 when a breakage survived, or could not be tried.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from catalogue import Breakage, CatalogueError, chosen, load
from trial import Bench, Finding, Verdict

_PATIENCE_UNBROKEN_S = 120
"""On the unbroken source a wait in vain stops the whole run, so only a hang may reach its end."""
_MEANING = {
    Finding.PASSED: "SURVIVED",
    Finding.BROKE: "no assertion",
    Finding.MISSING: "did not run",
}


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make broken-rules", description=__doc__)
    parser.add_argument("wanted", nargs="*", metavar="ID", help="a scenario (U1), a family (U) or an entry's name")
    parser.add_argument("--list", action="store_true", help="show the entries and try nothing")
    parser.add_argument("--jobs", type=int, default=2, help="trials side by side (default 2)")
    wish = parser.parse_args(arguments)
    try:
        entries = chosen(load(), wish.wanted)
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 1
    if wish.list:
        for entry in entries:
            print(f"{entry.name:<44} {entry.breaks}")
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="broken-rules-") as directory:
        code = _try_all(entries, Path(directory), wish.jobs)
    print(f"in {time.monotonic() - started:.0f} s")
    return code


def _try_all(entries: Sequence[Breakage], directory: Path, jobs: int) -> int:
    benches: SimpleQueue[Bench] = SimpleQueue()
    first = Bench(directory / "0")
    tests = {test for entry in entries for test in entry.tests}
    print(f"{len(entries)} breakages; first their {len(tests)} tests on the unbroken source", flush=True)
    whole = first.run(tests, workers=jobs, patience_s=_PATIENCE_UNBROKEN_S)
    sick = whole.having(Finding.ASSERTED, Finding.BROKE, Finding.MISSING)
    if sick:
        print(whole.output)
        for name, outcome in sick.items():
            print(f"NOT WELL {name}: {outcome.said or outcome.finding}")
        return 1
    print(f"all pass ({whole.seconds:.0f} s)", flush=True)
    benches.put(first)
    for number in range(1, jobs):
        benches.put(Bench(directory / str(number)))

    def attempt(entry: Breakage) -> Verdict:
        bench = benches.get()
        try:
            with bench.broken(entry):
                return bench.run(entry.tests)
        finally:
            benches.put(bench)

    survivors: list[str] = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(attempt, entry): entry for entry in entries}
        for number, done in enumerate(as_completed(running), start=1):
            entry, verdict = running[done], done.result()
            if not _report(f"{number:>3}/{len(entries)}", entry, verdict):
                survivors.append(entry.name)
    print(f"{len(entries) - len(survivors)} of {len(entries)} caught", end=" ")
    if survivors:
        print(f"\nnot caught: {', '.join(survivors)}", end=" ")
    return 1 if survivors else 0


def _report(place: str, entry: Breakage, verdict: Verdict) -> bool:
    """Print what became of an entry; whether each of its tests noticed."""
    bad = verdict.having(Finding.PASSED, Finding.BROKE, Finding.MISSING)
    word = "caught" if not bad else " / ".join(sorted({_MEANING[one.finding] for one in bad.values()}))
    print(f"{place} {entry.name:<44} {verdict.seconds:5.1f} s  {word}", flush=True)
    for name, outcome in bad.items():
        print(f"        {name}: {outcome.said or outcome.finding}", flush=True)
    return not bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
