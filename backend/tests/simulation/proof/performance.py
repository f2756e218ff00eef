"""One seed, performed and judged; and a failing world, reduced while it still fails."""

from __future__ import annotations

import dataclasses
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proof.happenings import Happening
from proof.rules import Violation, check
from proof.stage import Stage
from proof.trace import Trace
from proof.world import World, make


@dataclass(slots=True)
class Verdict:
    """What came of a world."""

    seed: int
    violations: list[Violation]
    virtual_s: float
    counts: Counter[str]
    reached: Counter[str]
    fingerprint: str
    faults: int
    lines: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def rules(self) -> set[str]:
        """Names of the broken rules."""
        return {violation.rule for violation in self.violations}


def judge(world: World, folder: Path, *, with_story: bool = False) -> Verdict:
    """Perform a world and apply every rule. A performance that breaks is a violation too."""
    stage = Stage(world, folder)
    try:
        run = stage.perform()
        violations = check(run)
    except Exception as error:  # noqa: BLE001 — whatever broke is what the seed has found
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        violations = [Violation("is performed", text)]
    trace: Trace = stage.trace
    faults = sum(count for name, count in trace.reached.items() if name.startswith("fate:"))
    faults += trace.counts["no route"] + trace.counts["stream lost"] + trace.counts["commit failed"]
    lines = trace.lines if with_story else []
    return Verdict(
        world.seed, violations, stage.loop.time(), trace.counts, trace.reached, trace.fingerprint(), faults, lines
    )


def judge_seed(seed: int, folder: Path, *, with_story: bool = False) -> Verdict:
    """Make a seed's world, and judge it."""
    return judge(make(seed), folder, with_story=with_story)


def shrink(world: World, folder: Path, rule: str, tell: Callable[[str], None]) -> World:
    """The smallest world found that still breaks ``rule``: happenings are left away, then what remains is calmed."""

    def still_fails(candidate: World) -> bool:
        return rule in judge(candidate, folder).rules

    size = max(1, len(world.happenings) // 2)
    while True:
        for candidate in _without(world, size):
            if still_fails(candidate):
                world = candidate
                tell(f"{len(world.happenings)} happenings still break it")
                break
        else:
            if size == 1:
                break
            size //= 2
    for candidate in _calmer(world):
        merged = dataclasses.replace(world, **candidate)
        if still_fails(merged):
            world = merged
            tell(f"calmer: {', '.join(candidate)}")
    return world


def _without(world: World, size: int) -> Iterator[World]:
    happenings = world.happenings
    for start in range(0, len(happenings), size):
        yield world.with_happenings(happenings[:start] + happenings[start + size :])


def _calmer(world: World) -> Iterator[dict[str, object]]:
    yield from ({"unrest": 0.0}, {"drift": 0.0}, {"skew_s": 0.0}, {"jitter": 0.1}, {"latency_s": 0.02}, {"depth": "1"})
    yield from ({"volatility": 0.0002}, {"hedged": ()}, {"ending": "hold"})
    if len(world.accounts) > 1:
        alone = tuple(one for one in world.happenings if one.details.get("account", "default") == "default")
        yield {"accounts": ("default",), "happenings": alone}
    simple = tuple(
        Happening(one.at, one.what, {**one.details, "repeats": 1}) if one.what == "decide" else one
        for one in world.happenings
    )
    yield {"happenings": simple}


def story(world: World, verdict: Verdict) -> str:
    """What happened, to be read from top to bottom."""
    lines = [f"seed {world.seed}: {', '.join(world.accounts)} on {', '.join(world.assets)}, {dict(world.settings)}"]
    lines += [f"  {happening}" for happening in world.happenings]
    lines += ["", "what happened (virtual seconds):"]
    lines += [f"{at:10.3f}  {kind:<14} {text}" for at, kind, text in verdict.lines]
    lines += ["", *(f"VIOLATED  {violation}" for violation in verdict.violations)]
    return "\n".join(lines)
