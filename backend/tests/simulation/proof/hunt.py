"""Seeds, one after the other, until one breaks a rule: what ``mutants`` runs against a broken copy of the source."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from proof import coverage
from proof.disk import scratch_folder
from proof.performance import judge_seed


def main(arguments: Sequence[str]) -> int:
    """Prints ``CAUGHT <seed> <what>`` or ``PASSED``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--first", type=int, default=1)
    wish = parser.parse_args(arguments)
    coverage.install()
    with scratch_folder() as folder:
        for seed in range(wish.first, wish.first + wish.seeds):
            verdict = judge_seed(seed, Path(folder))
            if verdict.violations:
                print(f"CAUGHT {seed} {verdict.violations[0]}")
                return 0
    print("PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
