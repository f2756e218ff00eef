"""Resuming: decisions that a dead process left without an end are taken up (scenario C1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.domain.errors import StoreUnavailable
from app.domain.ports import Clock
from app.domain.trades import AdjustmentKind, Trade
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.repositories.trades import TradeRepository
from app.schemas.decision import AssetDecision
from app.schemas.result import AssetStatus
from app.services.execution.desk import Desk
from app.services.execution.intake import Intake, RunningDecision

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """Finds an account's unfinished decisions."""

    account_id: str
    decisions: DecisionRepository
    trades: TradeRepository
    intake: Intake
    clock: Clock
    desk: Callable[[str], Desk]
    on_change: Callable[[Trade], None]
    on_trouble: Callable[[str], None]

    async def take_up(self) -> list[tuple[RunningDecision, AssetDecision, str | None]]:
        """Let trades and adjustments report by themselves; returns what is to be decided anew.

        That is what left nothing on record, or only a close to make room: the closed trade is named then, and the entry
        the other way follows.
        """
        untouched: list[tuple[RunningDecision, AssetDecision, str | None]] = []
        for stored, of_decision in await self._read_unfinished():
            running = self.intake.resume(stored)
            recorded: set[str] = set()
            flipped: dict[str, str | None] = {}
            for one in of_decision:
                trade = self.desk(one.asset).trade(one.id) or one
                self.on_change(trade)
                kinds = [known.kind for known in trade.adjustments if known.decision_id == running.decision_id]
                if kinds == [AdjustmentKind.FLIP]:
                    flipped[one.asset] = one.id if trade.is_ended else None
                else:
                    recorded.add(one.asset)
            untouched += [
                (running, item, flipped.get(item.asset))
                for item in running.decision.decisions
                if item.asset not in recorded and running.results[item.asset].status is AssetStatus.PENDING
            ]
        return untouched

    async def _read_unfinished(self) -> list[tuple[StoredDecision, list[Trade]]]:
        """Decisions without an end with the trades that they led to; a record that can't be read is read again."""
        while True:
            try:
                unfinished = await self.decisions.unfinished(self.account_id)
                return [(one, await self.trades.of_decision(self.account_id, one.decision_id)) for one in unfinished]
            except StoreUnavailable as error:
                self.on_trouble(f"the record can't be read: {error}")
                log.warning("service.record_not_read", account_id=self.account_id, error=str(error))
            await self.clock.sleep(_PAUSE_S)
