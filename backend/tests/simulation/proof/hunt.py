"""Seeds, one after the other, until one breaks a rule: what ``mutants`` runs against a broken copy of the source.

With ``--found`` it is the worlds that once found a bug, by their seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from proof import coverage
from proof.disk import scratch_folder
from proof.found import FOUND_WORLDS, Found
from proof.performance import judge
from proof.world import World, make


def main(arguments: Sequence[str]) -> int:
    """Prints ``CAUGHT <seed> <what>`` or ``PASSED <why it ended>``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no other seed after that time")
    parser.add_argument("--found", type=int, nargs="*", default=[])
    wish = parser.parse_args(arguments)
    coverage.install()
    ends_at = time.monotonic() + wish.seconds
    with scratch_folder() as folder:
        for world in _worlds(range(wish.first, wish.first + wish.seeds), wish.found):
            if time.monotonic() > ends_at:
                print(f"PASSED all before seed {world.seed}, and time is up")
                return 0
            verdict = judge(world, Path(folder))
            if verdict.violations:
                print(f"CAUGHT {world.seed} {verdict.violations[0]}")
                return 0
    print("PASSED all")
    return 0


def _worlds(seeds: Sequence[int], found: Sequence[int]) -> Iterator[World]:
    yield from (make(seed) for seed in seeds)
    yield from (Found.read(FOUND_WORLDS / f"{seed}.json").world for seed in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
