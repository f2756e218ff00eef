"""Killed at any instant, again and again: ``make crash KILLS=200`` makes it long, the default is a handful.

``TES_CRASH_KILLS`` and ``TES_CRASH_SEED`` are what the Makefile sets.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from crash import RECOVERED_WITHIN_S, crash_run

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("TES_CRASH_KILLS", "4"))


@pytest.mark.timeout(600 + KILLS * RECOVERED_WITHIN_S)
async def test_killed_at_any_instant_it_recovers_by_itself(tmp_path: Path) -> None:
    """C1, C3, C5, W4, H5: one entry per decision, everything protected, record and ledger equal, no gap in ``seq``."""
    seed = int(os.environ.get("TES_CRASH_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"crash run: {KILLS} kills, seed {seed}; again with TES_CRASH_SEED={seed}", flush=True)
    async with crash_run(tmp_path, seed, lambda text: print(text, flush=True)) as run:
        await run.run(KILLS)
        print(run.summary(), flush=True)
        assert run.sent
