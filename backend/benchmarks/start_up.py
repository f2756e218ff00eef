"""What a start costs: ``python benchmarks/start_up.py [--trades 0,10,100,1000]``; ``docs/operations.md`` has the table.

Venue and service run in this process over real HTTP and WebSocket. So many trades are opened, the service is started
again, and its requests are counted by their names until it has read what it reads behind its readiness, too. Nothing
differs from the record, so the weight must be the same however much is open.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import structlog
from reconcile import PRICE, Meter, Stage, many_symbols, open_trades, until, until_nothing_is_read

from app.bootstrap import running
from app.core.configuration import load_settings
from app.domain.money import plain
from app.integrations.aster.endpoints import Endpoint
from app.integrations.aster.gateway import Gateway
from aster_sim.server import AccountSpec, LimitRules, VenueConfig, start_venue

MOST = 62
"""Of weight, whatever is open."""


class Names:
    """Counts what leaves by its name."""

    def __init__(self) -> None:
        self.weights: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        send = Gateway._send  # noqa: SLF001 -- each request goes through it, and nothing else names them

        async def noted(gateway: Gateway, endpoint: Endpoint, *rest: Any) -> Any:
            self.weights[endpoint.name] += rest[3]
            self.requests[endpoint.name] += 1
            return await send(gateway, endpoint, *rest)

        Gateway._send = noted  # type: ignore[method-assign] # noqa: SLF001 -- the process ends with the benchmark


async def measure(trades: int, names: Names) -> str:
    """Open trades, start again; one line of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        info, symbols = many_symbols(folder, max(trades, 1))
        venue = await start_venue(
            VenueConfig(
                seed=1,
                prices="manual",
                exchange_info=info,
                accounts=[AccountSpec("one", Decimal(10_000_000))],
                limits=LimitRules().times(100_000),
            )
        )
        (keys,) = venue.accounts
        environment = {
            "TES_VENUE": "testnet",
            "TES_DATABASE_URL": f"sqlite:///{folder / 'tes.db'}",
            "TES_API_TOKEN": "benchmark-token",
            "TES_ASTER_REST_URL": venue.rest_url,
            "TES_ASTER_WS_URL": venue.ws_url,
            "TES_ASTER_CHAIN_ID": str(venue.chain_id),
            "TES_RECONCILE_INTERVAL_SECONDS": "100000",
            "TES_SHUTDOWN_GRACE_SECONDS": "0",
        }
        (folder / "tes.toml").write_text(
            f'[accounts.one]\naster_user = "{keys.user}"\naster_signer = "{keys.signer}"\n'
            f'aster_private_key = "{keys.private_key}"\n'
        )
        settings = load_settings(environment, config=folder / "tes.toml")
        meter = Meter(venue)
        try:
            async with aiohttp.ClientSession() as http:
                prices = dict.fromkeys(symbols, plain(PRICE))
                async with http.post(f"{venue.control_url}/prices", json=prices) as response:
                    assert response.status == 200, await response.text()
                async with running(settings) as application:
                    await open_trades(Stage(venue, application, meter, http, symbols), "one", symbols[:trades])
                    service = application.service("one")
                    await service._market.terms._refresh(tuple(symbols[:trades][:10]))  # noqa: SLF001
                    await application.trades.settled()
                names.weights.clear()
                names.requests.clear()
                started_at = perf_counter()
                async with running(settings) as application:
                    service = application.service("one")

                    async def is_ready() -> bool:
                        return service.readiness().is_ready

                    await until(is_ready)
                    took_ms = (perf_counter() - started_at) * 1000
                    await until_nothing_is_read(Stage(venue, application, meter, http, symbols))
        finally:
            await venue.stop()
    weights = names.weights
    assert weights.total() <= MOST, weights
    parts = ", ".join(f"{part} {weight}" for part, weight in sorted(weights.items()))
    return f"{trades:>6} {names.requests.total():>9} {weights.total():>7} {took_ms:>11.0f}  {parts}"


async def main(trades: list[int]) -> None:
    """Measure, and print."""
    names = Names()
    print(f"{'trades':>6} {'requests':>9} {'weight':>7} {'ready (ms)':>11}  weight by request")
    for count in trades:
        print(await measure(count, names), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", default="0,10,100,1000")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main([int(text) for text in parser.parse_args().trades.split(",")]))
