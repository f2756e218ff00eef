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
from app.domain.parts import opening
from app.domain.reports import NeverSent, Placement
from app.domain.trades import CloseReason, Trade, TradeError, TradeTrigger
from app.services.execution import facts
from app.services.execution.adjuster import Adjuster
from app.services.execution.checks import Case, assess
from app.services.execution.desk_tools import DeskTools, Enter
from app.services.execution.market import margin_key
from app.services.execution.outcomes import internal_error, not_recorded, refusal_of
from app.services.execution.planning import new_trade, position_side_for
from app.services.execution.risk import RiskApproved, RiskRefused
from app.services.execution.send_time import Cleared, called_off
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
        case = Case(
            wish=message.wish,
            market=message.market,
            exposure=self._desk.exposure(message.wish),
            policy=tools.policy,
            now=now,
            gate=tools.gate(),
        )
        verdict = assess(case)
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
        self._desk.parts.expect(verdict.plan, opening(trade)[1:])
        self._desk.begin(trade)
        self._desk.jobs.start(("enter", trade.id), self._submit(message, verdict, trade), trade.id)

    async def _submit(self, message: Enter, approved: RiskApproved, trade: Trade) -> None:
        """Make the intent durable, then send the entry: in this order, always."""
        tools = self._tools
        events = tuple(tools.narrator.changes(None, trade))
        keys = [margin_key(trade, part) for part in opening(trade)]
        try:
            landing = tools.trades.record_intent(trade, events)
            obstacle = await tools.market.prepare(keys, approved.plan)  # while the writer is at work
            await landing
            await message.is_durable
            self._desk.is_on_record(trade.id)
        except (StoreUnavailable, StoreConflict) as error:
            self._give_up(message, trade, not_recorded(error))
            return
        except Exception:  # nothing has left yet: the asset is set free again, and the supervisor tells of the bug
            self._give_up(message, trade, internal_error())
            raise
        try:
            obstacle = obstacle or self._called_off(trade.id)
            cleared = obstacle or await self._desk.send_time.approve(approved.plan, trade.id, trade.id, trade.entry)
        except StoreUnavailable as error:
            cleared = not_recorded(error)
        except Exception:  # as above; but the intent is on record, and so is its end
            self._hold_back(trade, internal_error())
            raise
        if isinstance(cleared, TradeError):
            self._hold_back(trade, cleared)
            return
        self._desk.learn(trade.id, facts.EntrySent(at=tools.clock.now()))
        objection = functools.partial(self._objection, trade.id, cleared)
        placement, against = await self._desk.once.send(trade.id, cleared.order, objection)
        self._placed(trade, placement, against)

    def _hold_back(self, trade: Trade, error: TradeError) -> None:
        self._placed(trade, NeverSent(reason=error.message), error)

    def _objection(self, trade_id: str, cleared: Cleared) -> TradeError | None:
        """What speaks against sending by now: the moment, or a close that was asked for meanwhile (scenario O10)."""
        return self._called_off(trade_id) or self._desk.send_time.objection(cleared)

    def _called_off(self, trade_id: str) -> TradeError | None:
        trade = self._desk.trade(trade_id)
        if trade is None or not trade.is_leaving:
            return None
        code = ErrorCode.HALTED if trade.close_reason is CloseReason.HALT else ErrorCode.SUPERSEDED
        return TradeError(code=code, message=called_off(trade.asset))

    def _placed(self, trade: Trade, placement: Placement, error: TradeError | None) -> None:
        at, order_id = self._tools.clock.now(), trade.entry.client_order_id
        self._desk.learn(trade.id, facts.Placed(at=at, client_order_id=order_id, placement=placement, error=error))

    def _give_up(self, message: Enter, trade: Trade, error: TradeError) -> None:
        self._desk.forget(trade)
        self._tools.market.entries_ended(trade)
        self._tools.on_refused(message.wish, refusal_of(error))
