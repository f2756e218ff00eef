"""Start-up: each step is tried until it works, and says meanwhile what it waits for. Recovery is the same path (C3)."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from app.domain.errors import ExchangeError, StoreUnavailable
from app.domain.ports import Clock
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.repositories.trades import TradeRepository
from app.services.execution.market import Market
from app.services.execution.routing import StreamRouter

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_STREAM_PATIENCE_S = 5.0
_LOOK_S = 0.02


@dataclass(slots=True, kw_only=True)
class StartUp:
    """The steps of one account; ``trouble`` is what stands in the way of decisions."""

    account_id: str
    client: AsterClient
    market: Market
    router: StreamRouter
    decisions: DecisionRepository
    trades: TradeRepository
    clock: Clock
    trouble: str | None = "starting"

    async def connect(self) -> None:
        """Learn the exchange's time, instruments and modes; a mode that can't be traded is waited out (L4)."""
        pause_s = _PAUSE_S
        while True:
            try:
                await self.client.start()
                obstacle = await self.market.start()
            except ExchangeError as error:
                obstacle = f"the exchange can't be reached: {error}"
            if obstacle is None:
                return
            self.trouble = obstacle
            log.warning("start_up.not_connected", account_id=self.account_id, error=obstacle)
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def until_stream_is_up(self) -> None:
        """Give the user stream a moment, so that nothing falls between the first reads and it."""
        waited_s = 0.0
        while not self.router.is_up and waited_s < _STREAM_PATIENCE_S:
            await self.clock.sleep(_LOOK_S)
            waited_s += _LOOK_S

    async def unfinished_decisions(self) -> list[tuple[StoredDecision, list[Trade]]]:
        """Decisions without an end with the trades that they led to; a record that can't be read is read again."""
        while True:
            try:
                unfinished = await self.decisions.unfinished(self.account_id)
                return [(one, await self.trades.of_decision(self.account_id, one.decision_id)) for one in unfinished]
            except StoreUnavailable as error:
                self.trouble = f"the record can't be read: {error}"
                log.warning("start_up.record_not_read", account_id=self.account_id, error=str(error))
            await self.clock.sleep(_PAUSE_S)
