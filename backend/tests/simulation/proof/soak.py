"""Thousands of seeds: ``make soak SEEDS=N``. Parallel, with progress, in bounded time, going on where it ended.

Ends with 1 when a seed broke a rule; the last line is the summary.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from proof import coverage
from proof.disk import scratch_folder
from proof.performance import judge, judge_seed, shrink, story
from proof.sameness import differing
from proof.world import make

CHUNK = 20
_HERE = Path(__file__).parent
_SOURCES = (_HERE, _HERE.parents[2] / "src")
_STATE = _HERE.parents[2] / ".proof" / "soak.json"
_AT_WORK: dict[str, Any] = {}


@dataclass(slots=True)
class Tally:
    """Sums over seeds."""

    seeds: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    with_crash: int = 0
    with_fault: int = 0
    cpu_s: float = 0.0
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take the sums of more seeds."""
        for name in ("seeds", "virtual_s", "faults", "with_crash", "with_fault", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts.update(other.counts)
        self.reached.update(other.reached)
        self.failures += other.failures

    def as_dict(self) -> dict[str, Any]:
        """For the file that a later run goes on from."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Tally:
        """Back from the file."""
        counters = {name: Counter(raw[name]) for name in ("counts", "reached")}
        return cls(**{**raw, **counters, "failures": [(seed, text) for seed, text in raw["failures"]]})

    def summary(self, seconds: float) -> str:
        """The last line."""
        counts = self.counts
        faults = f"{self.faults} faults (in {self.with_fault} seeds)"
        crashes = f"{counts['crash'] - self.seeds} crashes (in {self.with_crash} seeds)"
        return (
            f"{self.seeds} seeds, {len({seed for seed, _ in self.failures})} broke a rule; "
            f"{self.virtual_s / 3600:.1f} simulated hours, {counts['decide']} decisions, {counts['send']} requests, "
            f"{faults}, {crashes}, "
            f"{counts['start'] - self.seeds} restarts; {self.seeds / max(seconds, 0.001):.1f} seeds/s"
        )


def work(seeds: Sequence[int]) -> Tally:
    """Judge some seeds, in a process that is kept for more."""
    if not _AT_WORK:
        coverage.install()
        _AT_WORK["folder"] = scratch_folder()
    folder = Path(_AT_WORK["folder"].name)
    tally = Tally()
    began = time.process_time()
    for seed in seeds:
        verdict = judge_seed(seed, folder)
        tally.seeds += 1
        tally.virtual_s += verdict.virtual_s
        tally.counts.update(verdict.counts)
        tally.reached.update(verdict.reached)
        tally.faults += verdict.faults
        tally.with_fault += bool(verdict.faults)
        tally.with_crash += verdict.reached["crash:fuse end"] < verdict.counts["crash"]
        tally.failures += [(seed, str(violation)) for violation in verdict.violations[:3]]
    tally.cpu_s = time.process_time() - began
    return tally


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default 1)")
    parser.add_argument("--minutes", type=float, default=110.0, help="stop in time and say so (default 110)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--afresh", action="store_true", help="do not go on where an earlier run with this source ended"
    )
    parser.add_argument(
        "--replay", type=int, metavar="SEED", help="perform one seed, reduce it if it fails, tell its story"
    )
    parser.add_argument("--keep-whole", action="store_true", help="with --replay: do not reduce")
    parser.add_argument(
        "--same", type=int, metavar="SEEDS", help="compare so many seeds' traces in two processes that hash differently"
    )
    wish = parser.parse_args(arguments)
    if wish.same is not None:
        return _compare(range(wish.first, wish.first + wish.same))
    if wish.replay is not None:
        return _replay(wish.replay, reduces=not wish.keep_whole)
    began = time.monotonic()
    seeds = range(wish.first, wish.first + wish.seeds)
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    state = State(_fingerprint(wish.first, wish.seeds), len(chunks), afresh=wish.afresh)
    if state.done:
        print(f"going on: {state.tally.seeds} seeds were done before with this source (--afresh begins anew)")
    before = state.tally.seeds
    _run(chunks, state, wish.jobs, began + wish.minutes * 60)
    _tell(state.tally)
    if len(state.done) < len(chunks):
        print(f"time is up after {wish.minutes:g} minutes; the same command goes on")
    seconds = time.monotonic() - began
    tally = state.tally
    done = tally.seeds - before
    print(f"{done} seeds in {seconds:.0f} s, {tally.cpu_s / max(tally.seeds, 1):.3f} s of CPU each")
    print(tally.summary(seconds if not before else tally.cpu_s / wish.jobs))
    return 1 if tally.failures else 0


def _run(chunks: Sequence[range], state: State, jobs: int, deadline: float) -> None:
    broken = TextColumn("{task.fields[broken]} broke a rule")
    columns = (BarColumn(), MofNCompleteColumn(), broken, TimeElapsedColumn(), TimeRemainingColumn())
    waiting = iter([number for number in range(len(chunks)) if number not in state.done])
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool, Progress(*columns) as progress:
        bar = progress.add_task("", total=sum(map(len, chunks)), completed=state.tally.seeds, broken=0)
        running: dict[Future[Tally], int] = {}
        for number in _in_time(waiting, deadline):
            running[pool.submit(work, list(chunks[number]))] = number
            if len(running) >= jobs + 1:
                _collect(running, state, progress, bar)
        while running:
            _collect(running, state, progress, bar)


def _collect(running: dict[Future[Tally], int], state: State, progress: Progress, bar: Any) -> None:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        tally = future.result()
        state.keep(running.pop(future), tally)
        for seed, text in tally.failures:
            progress.console.print(f"seed {seed} broke a rule: {text}", markup=False, highlight=False)
        progress.update(bar, completed=state.tally.seeds, broken=len({seed for seed, _ in state.tally.failures}))


def _in_time(numbers: Iterable[int], deadline: float) -> Iterator[int]:
    for number in numbers:
        if time.monotonic() > deadline:
            return
        yield number


class State:
    """What is done already, kept in a file for the next run with the same source and the same seeds."""

    def __init__(self, name: str, chunks: int, *, afresh: bool) -> None:
        self._name = name
        self.done: set[int] = set()
        self.tally = Tally()
        if not afresh and _STATE.exists():
            raw = json.loads(_STATE.read_text(encoding="utf-8"))
            if raw["name"] == name and len(raw["done"]) < chunks:
                self.done, self.tally = set(raw["done"]), Tally.from_dict(raw["tally"])

    def keep(self, chunk: int, tally: Tally) -> None:
        """Add a chunk, and write it down."""
        self.done.add(chunk)
        self.tally.add(tally)
        _STATE.parent.mkdir(exist_ok=True)
        text = json.dumps({"name": self._name, "done": sorted(self.done), "tally": self.tally.as_dict()})
        partial = _STATE.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(_STATE)


def _fingerprint(first: int, seeds: int) -> str:
    digest = hashlib.sha256(f"{first} {seeds}".encode())
    for root in _SOURCES:
        for path in sorted(root.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _tell(tally: Tally) -> None:
    """What was reached, what never was, what failed and how to look at it."""
    missing = coverage.never_reached(tally.reached)
    total = len(coverage.universe())
    reached = total - sum(not name.startswith("scenario") for name in missing)
    print(f"reached {reached} of {total} state and event pairs, faults and crash points")
    met = {name: coverage.scenario_count(tally.reached, patterns) for name, patterns in coverage.SCENARIOS.items()}
    print("scenarios: " + ", ".join(f"{name} {count}" for name, count in met.items()))
    codes = sorted({name.rpartition(" ")[2] for name in tally.reached if name.startswith("code:")}, key=int)
    print(f"error codes: {' '.join(codes)}")
    if missing:
        print(f"never reached ({len(missing)}): " + ", ".join(missing))
    for seed in sorted({seed for seed, _ in tally.failures})[:20]:
        print(f"look at it: make soak ARGS='--replay {seed}'")


def _compare(seeds: range) -> int:
    with Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task("", total=len(seeds))
        different = differing(seeds, lambda compared: progress.update(bar, completed=compared))
    for seed in different[:20]:
        print(f"seed {seed} performs differently in another process")
    print(f"{len(seeds)} seeds performed in two processes with different hash seeds: {len(different)} differ")
    return 1 if different else 0


def _replay(seed: int, *, reduces: bool) -> int:
    coverage.install()
    with scratch_folder() as name:
        folder = Path(name)
        world = make(seed)
        verdict = judge(world, folder, with_story=True)
        if verdict.violations and reduces:
            rule = verdict.violations[0].rule
            print(f"seed {seed} breaks {rule!r}; reducing its {len(world.happenings)} happenings")
            world = shrink(world, folder, rule, print)
            verdict = judge(world, folder, with_story=True)
    print(story(world, verdict))
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
