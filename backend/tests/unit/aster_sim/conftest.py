"""A venue core on a hand-moved clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.sim_bench import Bench, make_bench


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture
def thin() -> Bench:
    """A venue whose synthetic book holds a hundredth of the normal depth."""
    return make_bench(depth="0.01", balance="10000000")
