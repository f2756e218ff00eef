"""A venue on a real port, with prices that only the test moves, and clients of either version on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aster_venue import Market

from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.integrations.aster.aiohttp_transport import AiohttpTransport
from app.integrations.aster.client import AsterClient
from aster_sim.server import VenueConfig, start_venue


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    venue = await start_venue(VenueConfig(seed=7, prices="manual"))
    control = AiohttpTransport(venue.rest_url)
    market = Market(venue, control)
    await market.price("BTCUSDT", "96000")
    await market.price("ETHUSDT", "3400")
    try:
        yield market
    finally:
        await control.close()
        await venue.stop()


@pytest.fixture
async def open_client(market: Market) -> AsyncIterator[Callable[[str], Awaitable[AsterClient]]]:
    clients: list[AsterClient] = []

    async def open_(version: str = "v3") -> AsterClient:
        transport = AiohttpTransport(market.venue.rest_url)
        client = AsterClient(transport, market.credentials(version), SystemClock(), SystemRandomness())
        clients.append(client)
        await client.start()
        return client

    yield open_
    for client in clients:
        await client.close()


@pytest.fixture(params=["v3", "v1"])
async def client(request: pytest.FixtureRequest, open_client: Callable[[str], Awaitable[AsterClient]]) -> AsterClient:
    return await open_client(request.param)
