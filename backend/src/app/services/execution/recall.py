"""Recall: what had ended and left memory is brought back from the record, because it turns out not to be over.

A fill can turn up after its entry was given up (scenario U10), by the stream or as a position that nobody explains, and
long after the process that sent it is gone. Then the trade goes on, and what its decision was told is corrected
(contract, section 9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from app.domain.ports import Clock
from app.domain.trades import Trade, TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.desk import Desk
from app.services.execution.intake import Intake

log = structlog.get_logger(__name__)

_MOST_GIVEN_UP = 10
_LATEST_FILL = timedelta(hours=1)
"""Of a request that is stuck for longer nobody has ever heard again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """One account's way back from the record into memory. Each method raises StoreUnavailable when it can't be read."""

    account_id: str
    trades: TradeRepository
    decisions: DecisionRepository
    intake: Intake
    clock: Clock
    desk: Callable[[str], Desk]
    _searched: set[str] = field(default_factory=set)
    """Assets whose entries of earlier processes were looked for; those of this one are in memory."""

    async def learn(self, desk: Desk, trade_id: str, fact: facts.Fact) -> None:
        """Tell a trade that is only on record of a fact."""
        trade = await self.trades.get(trade_id)
        if trade is None or trade.account_id != self.account_id:
            log.warning("recall.order_without_record", trade_id=trade_id)
            return
        await self.decision_of(trade)
        desk.revive(trade)
        desk.learn(trade_id, fact)

    async def entries_given_up(self, asset: str) -> None:
        """Put entries that an earlier process gave up within the hour back in reach of the asset's desk."""
        if asset in self._searched:
            return
        page = await self.trades.page(TradeStatus.FAILED, asset, _MOST_GIVEN_UP)
        since = self.clock.now() - _LATEST_FILL
        for trade in page.items:
            if trade.account_id == self.account_id and trade.created_at > since:
                await self.decision_of(trade)
                self.desk(asset).revive(trade)
        self._searched.add(asset)

    async def decision_of(self, trade: Trade) -> None:
        """Have the trade's decision at hand, so that its result can be corrected."""
        if self.intake.running(trade.decision_id) is None:
            stored = await self.decisions.find(trade.decision_id)
            if stored is not None:
                self.intake.recall(stored)
