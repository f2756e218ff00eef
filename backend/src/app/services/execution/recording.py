"""Recording: how long an exit waits for the disk.

A decision's exit is on record before it leaves, so that a restart knows what it was for. A disk that takes nothing does
not keep anybody in a position, though (scenario C2).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from app.db.port import Landing
from app.domain.errors import StoreUnavailable
from app.repositories.trades import TradeRepository
from app.services.execution.supervision import Supervisor

_PATIENCE_S = 2.0
RECORD_S = 5.0
"""How long a sender waits to hear whether a decision was taken on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The record, seen by those who wait for it; ``store_health`` is None, or why the database takes no writes."""

    trades: TradeRepository
    background: Supervisor
    store_health: Callable[[], str | None]

    async def until_durable(self) -> None:
        """Wait until everything that has happened is on record.

        Raises:
            StoreUnavailable: it can't be recorded now.
        """
        await self.background.caught_up()
        await self.trades.settled()

    async def until_landed(self, landing: Landing) -> None:
        """Wait until this record is durable; raises what its future raises.

        Raises:
            StoreUnavailable: the database has not answered for a while: whether it has the record is not known.
        """
        try:
            async with asyncio.timeout(RECORD_S):
                await asyncio.shield(landing)
        except TimeoutError:
            raise StoreUnavailable(f"the database has not answered for {RECORD_S:g} s: nothing is sent") from None

    async def try_to_land(self, *landings: Landing) -> None:
        """Wait for these records for a moment: what only reduces risk goes on without."""
        if landings:
            await asyncio.wait(landings, timeout=self._patience_s)

    async def before_acting(self) -> None:
        """Wait for everything that has happened for a moment: what only reduces risk goes on without."""
        await self._try(self._patience_s)

    async def before_telling(self, *landings: Landing) -> None:
        """The same, and for these records; the database may take writes again meanwhile."""
        if landings:
            await asyncio.wait(landings, timeout=_PATIENCE_S)
        await self._try(_PATIENCE_S)

    async def _try(self, patience_s: float) -> None:
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(patience_s):
                await self.until_durable()

    @property
    def _patience_s(self) -> float:
        """No patience where it is known that the database takes nothing."""
        return _PATIENCE_S if self.store_health() is None else 0
