"""The entry flow: an entry on its way from the request to the exchange; assess, intent on record, then send."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from app.domain.errors import ErrorCode, NotSent, StoreConflict, StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.orders import OrderTrigger
from app.domain.reports import NeverSent, Placement
from app.domain.trades import CloseReason, Trade, TradeError, TradeTrigger
from app.services.execution import facts
from app.services.execution.adjuster import Adjuster
from app.services.execution.desk_tools import DeskTools, Enter
from app.services.execution.planning import new_trade, position_side_for
from app.services.execution.risk import RiskApproved, RiskRefused, assess
from app.services.execution.send_time import called_off, late_objection
from app.services.execution.sending import stamp_for

if TYPE_CHECKING:
    from app.services.execution.desk import Desk


class EntryFlow:
    """Carries out entries on the asset of one desk."""

    def __init__(self, desk: Desk, tools: DeskTools, adjuster: Adjuster) -> None:
        self._desk = desk
        self._tools = tools
        self._adjuster = adjuster

    def enter(self, message: Enter, ended: Iterable[Trade]) -> None:
        """Assess an entry, and carry it out as what it is; ``ended`` are the asset's trades that ended lately."""
        tools = self._tools
        now = tools.clock.now()
        self._adjuster.begins(message.wish.decision_id)
        if not tools.is_at_work(message.wish):
            return  # a close has called it off (scenario O10)
        if self._adjuster.resumes_flip(message):
            return
        message = self._adjuster.after_its_close(message, ended)
        exposure = self._desk.exposure(message.wish)
        verdict = tools.refuses_entries() or assess(message.wish, message.market, exposure, tools.policy, now)
        if isinstance(verdict, RiskRefused):
            tools.on_refused(message.wish, verdict)
        elif verdict.plan.closes is not None:
            self._adjuster.flip(message, verdict, verdict.plan.closes)
        elif verdict.plan.onto is not None:
            self._adjuster.add(message, verdict, verdict.plan.onto)
        else:
            self._open(message, verdict, now)

    def _open(self, message: Enter, verdict: RiskApproved, now: datetime) -> None:
        tools = self._tools
        side = position_side_for(verdict.plan.side, is_hedge_mode=tools.market.is_hedge_mode)
        trade = new_trade(
            verdict.plan,
            trade_id=tools.ids.new(),
            account_id=tools.policy.account_id,
            position_side=side,
            now=now,
        )
        try:
            stamp = stamp_for(tools.client, OrderRole.ENTRY)
        except NotSent as error:
            refusal = RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=str(error))
            tools.on_refused(message.wish, refusal)
            return
        entry = replace(trade.entry.after(OrderTrigger.SUBMIT, now), stamp=stamp)
        trade = trade.with_order(entry).after(TradeTrigger.SUBMIT)
        self._desk.parts.expect(verdict.plan, trade.opening[1:])
        self._desk.begin(trade)
        self._desk.start(("enter", trade.id), self._submit(message, verdict, trade))

    async def _submit(self, message: Enter, approved: RiskApproved, trade: Trade) -> None:
        """Make the intent durable, then send the entry: in this order, always."""
        tools = self._tools
        events = tuple(tools.narrator.changes(None, trade))
        try:
            landing = tools.trades.record_intent(trade, events)
            obstacle = await tools.market.prepare(trade.id, approved.plan)  # while the writer is at work
            await landing
            await message.is_durable
            self._desk.is_on_record(trade.id)
        except (StoreUnavailable, StoreConflict) as error:
            text = f"the decision could not be recorded, so nothing was sent: {error}"
            self._give_up(message, trade, RiskRefused(code=ErrorCode.NOT_READY, message=text))
            return
        except Exception:  # nothing has left yet: the asset is set free again, and the supervisor tells of the bug
            text = "an internal step failed before anything was sent; see the log"
            self._give_up(message, trade, RiskRefused(code=ErrorCode.INTERNAL_ERROR, message=text))
            raise
        objection = functools.partial(self._objection, approved, trade.id)
        obstacle = obstacle or objection() or await self._desk.once.until_there_is_room(trade.id, objection)
        placement: Placement
        if obstacle is not None:
            placement = NeverSent(reason=obstacle.message)
        else:
            self._desk.learn(trade.id, facts.EntrySent(at=tools.clock.now()))
            placement, obstacle = await self._desk.once.send(trade.id, trade.entry, objection)
        self._placed(trade, placement, obstacle)

    def _objection(self, approved: RiskApproved, trade_id: str) -> TradeError | None:
        """What speaks against sending by now: the moment, or a close that was asked for meanwhile (scenario O10)."""
        trade = self._desk.trade(trade_id)
        if trade is not None and trade.is_leaving:
            code = ErrorCode.HALTED if trade.close_reason is CloseReason.HALT else ErrorCode.SUPERSEDED
            return TradeError(code=code, message=called_off(trade.asset))
        return late_objection(self._tools, approved.plan)

    def _placed(self, trade: Trade, placement: Placement, error: TradeError | None) -> None:
        at, order_id = self._tools.clock.now(), trade.entry.client_order_id
        self._desk.learn(trade.id, facts.Placed(at=at, client_order_id=order_id, placement=placement, error=error))

    def _give_up(self, message: Enter, trade: Trade, refusal: RiskRefused) -> None:
        self._desk.forget(trade)
        self._tools.market.entries_ended(trade)
        self._tools.on_refused(message.wish, refusal)
