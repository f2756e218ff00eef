"""ccxt, unmodified, on a running venue: only its addresses, chain id and builder fee are set."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue
from support.ccxt_settings import settings
from support.sim_client import SimClient


@pytest.fixture(scope="session")
def ccxt() -> ModuleType:
    """The library, which takes seconds to import: only where it is tested."""
    import ccxt.async_support
    import ccxt.pro

    return ccxt


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    accounts = [AccountSpec("alice", Decimal(100_000)), AccountSpec("bob", Decimal(50_000))]
    running = await start_venue(VenueConfig(prices="manual", seed=1, accounts=accounts))
    yield running
    await running.stop()


@pytest.fixture
async def human(venue: RunningVenue) -> AsyncIterator[SimClient]:
    """Somebody who moves prices through the control API."""
    async with SimClient(venue, "alice") as client:
        yield client


@pytest.fixture
async def exchange(ccxt: ModuleType, venue: RunningVenue) -> AsyncIterator[Any]:
    client = ccxt.async_support.aster(settings(venue))
    await client.load_markets()
    yield client
    await client.close()


@pytest.fixture
async def pro(ccxt: ModuleType, venue: RunningVenue) -> AsyncIterator[Any]:
    client = ccxt.pro.aster(settings(venue))
    await client.load_markets()
    yield client
    await client.close()
