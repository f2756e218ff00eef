"""Recall: what had ended and left memory is brought back from the record, because it turns out not to be over.

A fill can turn up after its entry was given up (scenario U10), by the stream or as a position that nobody explains, and
long after the process that sent it is gone. Then the trade goes on, and what its decision was told is corrected
(contract, section 9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from app.domain.ports import Clock
from app.domain.trades import Trade, TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.desk import Desk
from app.services.execution.intake import Intake
from app.services.execution.late_fills import doubtful_entries

log = structlog.get_logger(__name__)

_MAYBE_GIVEN_UP = frozenset({TradeStatus.FAILED, TradeStatus.CLOSED})
_MOST_GIVEN_UP = 200
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

    async def learn(self, desk: Desk, trade_id: str, fact: facts.Fact) -> None:
        """Tell a trade that is only on record of a fact."""
        trade = await self.trades.get(trade_id)
        if trade is None or trade.account_id != self.account_id:
            log.warning("recall.order_without_record", trade_id=trade_id)
            return
        await self.decision_of(trade)
        desk.revive(trade)
        desk.learn(trade_id, fact)

    async def at_start(self) -> None:
        """Hand the desks what is open, and entries that earlier processes gave up within the hour, to be asked for."""
        for trade in await self.trades.open_trades(self.account_id):
            await self.decision_of(trade)
            self.desk(trade.asset).adopt(trade)
            self.intake.hear(trade)  # a dead process may have recorded the trade, and not what it says of its decisions
        since = self.clock.now() - _LATEST_FILL
        for trade in await self.trades.latest(_MAYBE_GIVEN_UP, _MOST_GIVEN_UP):
            is_recent = trade.account_id == self.account_id and trade.created_at > since
            if is_recent and doubtful_entries(trade):
                await self.decision_of(trade)
                self.desk(trade.asset).revive(trade)

    async def decision_of(self, trade: Trade) -> None:
        """Have what may still be wrong of the trade's decisions at hand, so that it can be corrected."""
        changes = (one.decision_id for one in trade.adjustments if one.is_pending or one.client_order_id is not None)
        for decision_id in (trade.decision_id, *changes):
            if self.intake.running(decision_id) is None:
                stored = await self.decisions.find(decision_id)
                if stored is not None:
                    self.intake.recall(stored)
