"""Resuming: decisions that a dead process left without an end are taken up (scenario C1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.domain.errors import StoreUnavailable
from app.domain.policy import RiskPolicy
from app.domain.ports import Clock
from app.domain.trades import AdjustmentKind, CloseReason, Trade, TradeError
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.repositories.trades import TradeRepository
from app.schemas.decision import AssetDecision
from app.services.execution import facts, results
from app.services.execution.commands import Alert, Severity
from app.services.execution.desk import Desk
from app.services.execution.intake import Intake, RunningDecision
from app.services.execution.planning import EntryWish
from app.services.execution.risk import too_old

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """Finds an account's unfinished decisions."""

    account_id: str
    decisions: DecisionRepository
    trades: TradeRepository
    intake: Intake
    policy: RiskPolicy
    clock: Clock
    desk: Callable[[str], Desk]
    on_change: Callable[[Trade], None]
    on_trouble: Callable[[str], None]
    tell: Callable[[Alert, str | None], None]

    async def take_up(self) -> list[tuple[RunningDecision, list[AssetDecision]]]:
        """Let trades and adjustments report by themselves; returns what is still to be carried out, and judged anew.

        That is what left nothing on record, only a close to make room, or a close that is bound to its trades. What has
        ended stays ended (scenario C9).
        """
        left: list[tuple[RunningDecision, list[AssetDecision]]] = []
        for stored, of_decision in await self._read_unfinished():
            if self.intake.running(stored.decision_id) is not None:
                continue  # taken on by this very process
            running = self.intake.resume(stored)
            recorded = {one.asset for one in of_decision if self._goes_on_by_itself(running, one)}
            items = [
                item
                for item in running.decision.decisions
                if item.asset not in recorded and running.is_at_work(item.asset)
            ]
            for item in items:
                there = self.desk(item.asset).active
                known = (trade for trade in there if trade.received_at <= running.received_at)
                running.meant[item.asset] = frozenset(trade.id for trade in known)
            if items:
                left.append((running, items))
        return left

    def _goes_on_by_itself(self, running: RunningDecision, recorded: Trade) -> bool:
        """Whether nothing is left to do for what a decision began in a trade; or note what it was."""
        asset = recorded.asset
        trade = self.desk(asset).trade(recorded.id) or recorded
        self.on_change(trade)
        if trade.decision_id == running.decision_id:
            return True
        for begun in trade.adjustments:
            if begun.decision_id != running.decision_id or not begun.closes or begun.error is not None:
                continue
            if begun.kind is AdjustmentKind.CLOSE:
                running.bound[asset] = (*running.bound.get(asset, ()), trade)
                return False
            if begun.kind is AdjustmentKind.FLIP:
                if trade.is_ended:
                    running.flipped[asset] = trade.id
                return False
            self._close_all_of(trade, running)
        return True

    def _close_all_of(self, trade: Trade, running: RunningDecision) -> None:
        """A decrease by everything is on record, and perhaps it was not asked for yet."""
        if trade.is_ended or trade.close_reason is not None:
            return
        now, desk = self.clock.now(), self.desk(trade.asset)
        item = next(item for item in running.decision.decisions if item.asset == trade.asset)
        wish = EntryWish(
            decision_id=running.decision_id, item=item, decided_at=running.decided_at, received_at=running.received_at
        )
        refusal = too_old(wish, self.policy, now)
        if refusal is None:
            desk.learn(trade.id, facts.CloseAsked(at=now, reason=CloseReason.DECISION))
            return
        self.intake.report(running.decision_id, running.received_at, results.refused(item, refusal))
        error = TradeError(code=refusal.code, message=refusal.message)
        desk.learn(trade.id, facts.AdjustmentFailed(at=now, decision_id=running.decision_id, error=error))

    async def _read_unfinished(self) -> list[tuple[StoredDecision, list[Trade]]]:
        """Decisions without an end with the trades that they led to; a record that can't be read is read again."""
        while True:
            try:
                return await self._read_readable()
            except StoreUnavailable as error:
                self.on_trouble(f"the record can't be read: {error}")
                log.warning("service.record_not_read", account_id=self.account_id, error=str(error))
            await self.clock.sleep(_PAUSE_S)

    async def _read_readable(self) -> list[tuple[StoredDecision, list[Trade]]]:
        """Without those of which anything can't be read: what it has led to is not known, so it is not begun again."""
        unfinished = await self.decisions.unfinished(self.account_id)
        unreadable = list(unfinished.unreadable)
        readable = []
        for one in unfinished.items:
            of_decision = await self.trades.of_decision(self.account_id, one.decision_id)
            unreadable += of_decision.unreadable
            if not of_decision.unreadable:
                readable.append((one, list(of_decision.items)))
        for spoiled in unreadable:
            text = f"{spoiled}: the unfinished decision that it belongs to is not resumed; look at what it led to"
            self.tell(Alert(Severity.CRITICAL, "record_unreadable", text), spoiled.asset)
        return readable
