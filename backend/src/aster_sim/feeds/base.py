"""What a price feed is to the server."""

from __future__ import annotations

from typing import Protocol


class Feed(Protocol):
    """A source of prices that runs beside the server until it is cancelled."""

    @property
    def name(self) -> str:
        """What the control API calls it."""
        ...

    async def run(self) -> None:
        """Move prices until the feed has no more of them."""
        ...

    async def close(self) -> None:
        """Let go of what the feed holds open. Safe to call twice."""
        ...
