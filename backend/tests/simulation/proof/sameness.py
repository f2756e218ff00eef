"""Whether a seed performs the same in processes that hash differently: each seed's trace, as a fingerprint."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proof import coverage
from proof.disk import scratch_folder
from proof.performance import judge_seed

_ROOT = Path(__file__).parents[1]
_CHUNK = 50
_LIMIT_PER_SEED_S = 20


def fingerprints(seeds: range, hash_seed: int) -> list[str]:
    """Of each seed, performed in a process of its own whose sets and dictionaries of text hash in their own way."""
    done = subprocess.run(
        [sys.executable, "-m", "proof.sameness", str(seeds.start), str(seeds.stop)],
        cwd=_ROOT, env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        timeout=60 + _LIMIT_PER_SEED_S * len(seeds),
    )  # fmt: skip
    return done.stdout.split()


def differing(seeds: range, on_progress: Callable[[int], None] = lambda _: None) -> list[int]:
    """Seeds whose traces differ between two processes side by side; ``on_progress`` hears how many are compared."""
    found: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(seeds), _CHUNK):
            chunk = seeds[start : start + _CHUNK]
            one, other = pool.map(fingerprints, (chunk, chunk), (1, 2))
            found += [seed for seed, first, second in zip(chunk, one, other, strict=True) if first != second]
            on_progress(start + len(chunk))
    return found


def main(arguments: Sequence[str]) -> None:
    """Prints a fingerprint for each seed of a range."""
    coverage.install()
    with scratch_folder() as folder:
        for seed in range(*map(int, arguments)):
            print(judge_seed(seed, Path(folder)).fingerprint)


if __name__ == "__main__":
    main(sys.argv[1:])
