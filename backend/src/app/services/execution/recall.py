"""Recall: what had ended and left memory is brought back from the record, because it turns out not to be over.

A fill can turn up after its entry was given up (scenario U10), by the stream or as a position that nobody explains, and
long after the process that sent it is gone. Then the trade goes on, and what its decision was told is corrected
(contract, section 9).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from app.domain.errors import UnreadableRecord
from app.domain.ports import Clock
from app.domain.trades import Trade, TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.readable import Unreadable
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.commands import Alert, Severity
from app.services.execution.desk import Desk
from app.services.execution.intake import Intake
from app.services.execution.late_fills import LATEST_FILL, doubtful_entries

log = structlog.get_logger(__name__)

_MAYBE_GIVEN_UP = frozenset({TradeStatus.FAILED, TradeStatus.CLOSED})
_MOST_GIVEN_UP = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """One account's way back from the record into memory. Each method raises StoreUnavailable when it can't be read."""

    account_id: str
    trades: TradeRepository
    decisions: DecisionRepository
    intake: Intake
    clock: Clock
    desk: Callable[[str], Desk]
    tell: Callable[[Alert, str | None], None]
    """Raises an alert, about an asset where it is about one."""

    async def learn(self, desk: Desk, trade_id: str, fact: facts.Fact) -> None:
        """Tell a trade that is only on record of a fact."""
        try:
            trade = await self.trades.get(trade_id)
        except UnreadableRecord as error:
            log.warning("recall.trade_unreadable", trade_id=trade_id, error=str(error))
            return
        if trade is None or trade.account_id != self.account_id:
            log.warning("recall.order_without_record", trade_id=trade_id)
            return
        await self.decision_of(trade)
        desk.revive(trade)
        desk.learn(trade_id, fact)

    async def at_start(self) -> None:
        """Hand the desks what is open, and entries that earlier processes gave up within the hour, to be asked for.

        Trades that can't be read are told, and left alone: an unreadable open one is a position that is not ours to
        touch, whose orders on the book are kept.
        """
        found = await self.trades.open_trades(self.account_id)
        for trade in found.items:
            await self.decision_of(trade)
            self.desk(trade.asset).adopt(trade)
            self.intake.hear(trade)  # a dead process may have recorded the trade, and not what it says of its decisions
        since = self.clock.now() - LATEST_FILL
        ended = await self.trades.latest(_MAYBE_GIVEN_UP, _MOST_GIVEN_UP)
        for trade in ended.items:
            is_recent = trade.account_id == self.account_id and trade.created_at > since
            if is_recent and doubtful_entries(trade):
                await self.decision_of(trade)
                self.desk(trade.asset).revive(trade)
        self._tell_unreadable(found.unreadable, ended.unreadable)

    def _tell_unreadable(self, open_trades: Sequence[Unreadable], ended: Sequence[Unreadable]) -> None:
        for one in open_trades:
            text = (
                f"{one}: an open trade that the service can't look after; its orders stay on the book, and nothing is "
                "opened beside its position: see that the position has its stop"
            )
            self.tell(Alert(Severity.CRITICAL, "record_unreadable", text), one.asset)
        if ended:
            text = f"{len(ended)} ended trade(s) on record can't be read and are left out, such as {ended[0]}"
            self.tell(Alert(Severity.WARNING, "record_unreadable", text), None)

    async def decision_of(self, trade: Trade) -> None:
        """Have what may still be wrong of the trade's decisions at hand, so that it can be corrected."""
        changes = (one.decision_id for one in trade.adjustments if one.is_pending or one.client_order_id is not None)
        for decision_id in (trade.decision_id, *changes):
            if self.intake.running(decision_id) is None:
                try:
                    stored = await self.decisions.find(decision_id)
                except UnreadableRecord as error:
                    log.warning("recall.decision_unreadable", decision_id=decision_id, error=str(error))
                    continue
                if stored is not None:
                    self.intake.recall(stored)
