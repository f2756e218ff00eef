"""Several accounts in one process, on one venue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
from arena import BTC, ETH, Levers, decide, until

from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.domain.events import EventType
from app.schemas.result import AssetResult
from aster_sim.server import AccountSpec, VenueConfig, start_venue
from support.faces import TOKEN


@dataclass
class House:
    """The application with all its accounts, and the venue's levers."""

    application: Application
    levers: Levers

    def is_ready(self, account: str) -> bool:
        return self.application.service(account).readiness().is_ready

    async def trade(self, account: str, **wish: Any) -> AssetResult:
        """One decision of one asset on one account."""
        result = await decide(self.application.service(account), wish, account_id=account)
        return result.results[0]

    async def alerts(self, account: str) -> list[str]:
        """Codes of the alerts that an account raised."""
        events = [one.event for one in await self.application.events.after(0, 10_000)]
        return [
            str(event.data["code"])
            for event in events
            if event.type is EventType.ALERT_RAISED and event.account_id == account
        ]


@asynccontextmanager
async def house(
    folder: Path, names: Sequence[str], extra: str = "", modes: Mapping[str, bool] = MappingProxyType({}), **config: Any
) -> AsyncIterator[House]:
    """All ``names`` on one venue, set to ``modes`` before the application starts.

    ``extra`` is added to each account's table of the TOML file.
    """
    accounts = [AccountSpec(name, Decimal(100_000)) for name in names]
    venue = await start_venue(VenueConfig(prices="manual", seed=3, accounts=accounts, **config))
    tables = [
        f'[accounts.{keys.name}]\naster_user = "{keys.user}"\naster_signer = "{keys.signer}"\n'
        f'aster_private_key = "{keys.private_key}"\n{extra}'
        for keys in venue.accounts
    ]
    toml = folder / "several.toml"
    toml.write_text("\n".join(tables))
    environment = {
        "TES_VENUE": "testnet",
        "TES_DATABASE_URL": f"sqlite:///{folder / 'several.db'}",
        "TES_API_TOKEN": TOKEN,
        "TES_ASTER_REST_URL": venue.rest_url,
        "TES_ASTER_WS_URL": venue.ws_url,
        "TES_ASTER_CHAIN_ID": str(venue.chain_id),
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_RECONCILE_INTERVAL_SECONDS": "1",
        "TES_SHUTDOWN_GRACE_SECONDS": "0",
    }
    async with aiohttp.ClientSession() as http:
        levers = Levers(venue, http)
        try:
            await levers.price(BTC, "96000")
            await levers.price(ETH, "3400")
            for name in names if modes else ():
                await levers.call("POST", "/modes", {"account": name, **modes})
            async with running(load_settings(environment, config=toml)) as application:
                yield House(application, levers)
        finally:
            await venue.stop()


async def all_ready(home: House, names: Sequence[str]) -> None:
    """Wait until each of ``names`` takes decisions."""
    await until(lambda: all(home.is_ready(name) for name in names))
