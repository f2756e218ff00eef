"""How ccxt is pointed at a running venue: only its addresses, chain id and builder fee are set."""

from __future__ import annotations

from typing import Any

from aster_sim.server import RunningVenue


def settings(venue: RunningVenue, number: int = 0) -> dict[str, Any]:
    """What a user of ccxt writes to point it at the venue; the documentation shows the same."""
    rest, streams = venue.rest_url, venue.ws_url
    return {
        "privateKey": venue.accounts[number].private_key,
        "enableRateLimit": False,
        "options": {"defaultType": "swap", "builderFee": False, "v3ChainId": venue.chain_id},
        "urls": {
            "api": {
                "fapiPublic": f"{rest}/fapi",
                "fapiPrivate": f"{rest}/fapi",
                "sapiPublic": f"{rest}/api",
                "sapiPrivate": f"{rest}/api",
                "ws": {
                    "public": {"swap": f"{streams}/fstream/stream"},
                    "private": {"swap": f"{streams}/fstream/ws"},
                },
            }
        },
    }
