"""Carrying a decision out: phase by phase, each asset on its own (contract, section 4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.domain.errors import ErrorCode, ExchangeError, StoreConflict, StoreUnavailable
from app.domain.trades import AdjustmentKind
from app.integrations.aster.client import AsterClient
from app.schemas.decision import Action, AssetDecision
from app.services.execution import results
from app.services.execution.closing import Closer
from app.services.execution.desk import Desk
from app.services.execution.desk_tools import Adjust, Enter
from app.services.execution.halting import KillSwitch
from app.services.execution.intake import Intake, RunningDecision
from app.services.execution.mailbox import MailboxFull
from app.services.execution.market import Market
from app.services.execution.phases import Phase, beside_unreadable, only_reduces, phase_of
from app.services.execution.planning import EntryWish, adjustment_kind
from app.services.execution.recording import Recording
from app.services.execution.risk import CheckFailed, Exposure, RiskRefused, check_expected
from app.services.execution.supervision import Supervisor

_PHASE_PATIENCE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class DecisionRunner:
    """Brings each asset's decision of one account to its desk, with the market as it is."""

    client: AsterClient
    market: Market
    intake: Intake
    kill_switch: KillSwitch
    background: Supervisor
    desk: Callable[[str], Desk]
    closer: Closer
    recording: Recording
    there: Callable[[str], frozenset[str]]
    """Ids of the trades on an asset that have not ended, and of the decisions whose entries are on their way to it."""
    unknown: Callable[[str], RiskRefused | None]
    """Why it is not known yet whether an asset is held."""
    on_refused: Callable[[EntryWish, RiskRefused], None]

    async def carry_out(self, running: RunningDecision) -> None:
        """Carry out a decision that was just taken on: it is about the trades that are there now."""
        with self._ending(running, running.decision.decisions):
            running.meant = {item.asset: self.there(item.asset) for item in running.decision.decisions}
        await self.work_through(running, running.decision.decisions)

    async def work_through(self, running: RunningDecision, chosen: Sequence[AssetDecision]) -> None:
        """Work through the phases; a phase begins when the one before has ended, or after 2 s."""
        for phase in Phase:
            items = [item for item in chosen if phase_of(item) is phase]
            for item in items:
                self.background.start(self.carry_out_asset(running, item))
            if items and phase is not Phase.ENTRIES:
                ends = [asyncio.ensure_future(running.until_ended(item.asset)) for item in items]
                _, late = await asyncio.wait(ends, timeout=_PHASE_PATIENCE_S)
                for end in late:
                    end.cancel()

    @contextlib.contextmanager
    def _ending(self, running: RunningDecision, items: Sequence[AssetDecision]) -> Iterator[None]:
        """Should a step of ours break, these assets end with that, and the supervisor tells of the bug (C9)."""
        try:
            yield
        except Exception:
            for item in items:
                self.intake.report(running.decision_id, running.received_at, results.broken(item.asset, item.action))
            raise

    async def carry_out_asset(self, running: RunningDecision, item: AssetDecision) -> None:
        """Begin with one asset, or go on with what a dead process had begun."""
        with self._ending(running, (item,)):
            await self._carry_out_asset(running, item)

    async def _carry_out_asset(self, running: RunningDecision, item: AssetDecision) -> None:
        if not running.is_at_work(item.asset):
            return  # called off before its phase had begun
        wish = EntryWish(
            decision_id=running.decision_id,
            item=item,
            decided_at=running.decided_at,
            received_at=running.received_at,
            flipped=running.flipped.get(item.asset),
            source=running.decision.source,
            meant=running.meant.get(item.asset),
        )
        if item.adds_risk and running.decision.unreadable:
            self.on_refused(wish, beside_unreadable(running.decision.unreadable))
            return
        if only_reduces(item) and (not_known := self.unknown(item.asset)):
            self.on_refused(wish, not_known)
            return
        match item.action:
            case Action.HOLD:
                self.intake.report(running.decision_id, running.received_at, results.skipped(item))
            case Action.BUY | Action.SELL:
                await self._enter(running, wish)
            case Action.CLOSE_POSITION if refusal := _contradiction(wish, self.desk(item.asset).exposure(wish)):
                self.on_refused(wish, await self.closer.contradicted(wish, refusal))
            case Action.CLOSE_POSITION:
                await self._close(running, wish)
            case Action.ADJUST_POSITION | Action.ADJUST_ORDERS:
                await self._adjust(running, wish)

    async def _close(self, running: RunningDecision, wish: EntryWish) -> None:
        bound = running.bound.get(wish.item.asset)
        if bound is not None:
            result = await self.closer.go_on(wish, bound)
        elif await self._is_taken_on(running):
            result = await self.closer.close_for(wish)
        else:
            return  # whoever sent it is told
        self.intake.report(running.decision_id, running.received_at, result)

    async def _is_taken_on(self, running: RunningDecision) -> bool:
        """Whether the decision is on record, or may go on without for now: an exit does not wait for the disk."""
        await self.recording.try_to_land(running.landing)
        landing = running.landing
        return not landing.done() or (not landing.cancelled() and landing.exception() is None)

    async def _enter(self, running: RunningDecision, wish: EntryWish) -> None:
        """Look at the market, then queue at the asset's desk, where risk, plan and intent happen in one go."""
        if self.kill_switch.refusal is not None:
            self.on_refused(wish, self.kill_switch.refusal)
            return
        asset = wish.item.asset
        try:
            view = await self.market.view(asset)
            self.desk(asset).enter(Enter(wish, view, running.landing))
        except ExchangeError as error:
            self._on_unread(wish, error)
        except MailboxFull:
            text = f"too many entries are waiting for {asset}; send fewer at once"
            self.on_refused(wish, RiskRefused(code=ErrorCode.NOT_READY, message=text))

    async def _adjust(self, running: RunningDecision, wish: EntryWish) -> None:
        """The same for a change to a position of ours. What takes risk away goes on while halted."""
        is_increase = adjustment_kind(wish.item) is AdjustmentKind.INCREASE
        try:
            if is_increase:
                await asyncio.shield(running.landing)
            elif not await self._is_taken_on(running):
                return
        except (StoreUnavailable, StoreConflict):
            return  # whoever sent it is told
        if is_increase and self.kill_switch.refusal is not None:
            self.on_refused(wish, self.kill_switch.refusal)
            return
        desk = self.desk(wish.item.asset)
        try:
            view = await self.market.view(desk.asset)
            liquidation = None if is_increase else await self._liquidation_price(wish, desk)
        except ExchangeError as error:
            self._on_unread(wish, error)
            return
        desk.adjust(Adjust(wish, view, liquidation))

    async def _liquidation_price(self, wish: EntryWish, desk: Desk) -> Decimal | None:
        """Where the exchange would liquidate our position, when its stop is to be moved (scenario P6).

        Raises:
            ExchangeError: it could not be read.
        """
        change = wish.item.position_adjustment or wish.item.order_adjustment
        trade = next((trade for trade in desk.active if trade.exposure), None)
        if change is None or change.moved_stop is None or trade is None:
            return None
        rows = await self.client.positions(desk.asset)
        ours = (row for row in rows if row.position_side is trade.position_side and not row.is_flat)
        return next((row.liquidation_price for row in ours), None)

    def _on_unread(self, wish: EntryWish, error: ExchangeError) -> None:
        text = f"{wish.item.asset} could not be read from the exchange, so nothing was sent: {error}"
        self.on_refused(wish, RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text))


def _contradiction(wish: EntryWish, exposure: Exposure) -> RiskRefused | None:
    """Why a close must not be asked for, where what is held is not what the sender takes to be held; or None."""
    try:
        check_expected(wish, exposure)
    except CheckFailed as refusal:
        return refusal.refused
    return None
