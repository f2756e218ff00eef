"""A running venue with manual prices, and clients on it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue
from support.sim_client import SimClient


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    config = VenueConfig(
        prices="manual", seed=1, accounts=[AccountSpec("alice", Decimal(100_000)), AccountSpec("bob", Decimal(50_000))]
    )
    running = await start_venue(config)
    yield running
    await running.stop()


@pytest.fixture
async def alice(venue: RunningVenue) -> AsyncIterator[SimClient]:
    async with SimClient(venue, "alice") as client:
        yield client


@pytest.fixture
async def bob(venue: RunningVenue) -> AsyncIterator[SimClient]:
    async with SimClient(venue, "bob") as client:
        yield client
