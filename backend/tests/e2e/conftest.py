"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    """A venue in this process, whose prices the test sets, with one account."""
    running = await start_venue(
        VenueConfig(seed=5, prices="manual", accounts=[AccountSpec("default", Decimal(100_000))])
    )
    yield running
    await running.stop()
