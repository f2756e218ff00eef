"""A running venue and its levers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from app.integrations.aster.aiohttp_transport import AiohttpTransport
from app.integrations.aster.auth import Credentials, V1Credentials, V3Credentials
from aster_sim.server import RunningVenue


@dataclass
class Market:
    """The venue and its levers."""

    venue: RunningVenue
    _control: AiohttpTransport

    async def control(self, method: str, path: str, body: object = None) -> Any:
        text = json.dumps(body) if body is not None else ""
        response = await self._control.request(method, f"/sim{path}", "", text, {"Content-Type": "application/json"}, 5)
        assert response.status < 300, response.body
        return json.loads(response.body) if response.body else None

    async def price(self, symbol: str, price: str) -> None:
        await self.control("POST", "/prices", {symbol: price})

    async def fault(self, action: dict[str, Any], match: dict[str, Any], count: int = 1) -> None:
        await self.control("POST", "/faults", [{"match": match, "action": action, "count": count}])

    def credentials(self, version: str) -> Credentials:
        account = self.venue.accounts[0]
        if version == "v1":
            return V1Credentials(api_key=account.api_key, api_secret=account.api_secret)
        return V3Credentials(
            user=account.user,
            signer=account.signer,
            private_key=account.private_key,
            chain_id=self.venue.chain_id,
        )
