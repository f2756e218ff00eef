"""The adjuster: changes to a desk's trades, on their way from the wish to the exchange.

As with entries: assess, intent on record, then send. The intent is an adjustment of the trade, taken in as a fact at
once, so that nobody else is assessed without it, and so that after a crash the trade goes on with it by itself. A
position that has to go (a flip, a decrease by everything) is closed once that is on record; the entry the other way
follows when it is gone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.errors import ErrorCode, ExchangeError, NotSent, StoreConflict, StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderTrigger
from app.domain.parts import leaving_quantity, parts_of
from app.domain.reports import NeverSent, Placement
from app.domain.trades import Adjustment, AdjustmentKind, CloseReason, Trade, TradeError, TradeStatus
from app.services.execution import facts
from app.services.execution.adjusting import next_key, reductions
from app.services.execution.checks import Case, assess_adjustment
from app.services.execution.desk_tools import Adjust, DeskTools, Enter
from app.services.execution.dust import error_of_dust, is_dust
from app.services.execution.outcomes import internal_error, not_recorded, refusal_of
from app.services.execution.planning import AdjustmentPlan, EntryWish, entry_orders
from app.services.execution.risk import AdjustmentApproved, Exposure, RiskApproved, RiskRefused, too_old
from app.services.execution.send_time import Cleared
from app.services.execution.sending import stamp_for
from app.services.execution.slices import cut

if TYPE_CHECKING:
    from app.services.execution.desk import Desk

_FLAT_PATIENCE_S = 3.0
_LOOK_S = 0.05
_ADJUSTABLE = (TradeStatus.PROTECTING, TradeStatus.OPEN)


class Adjuster:
    """Carries out what decisions change in the trades of one desk."""

    def __init__(self, desk: Desk, tools: DeskTools) -> None:
        self._desk = desk
        self._tools = tools
        self._flips: dict[str, Enter] = {}
        self._awaited: str | None = None
        """The decision for which the asset is kept free: its entry follows a close."""

    # --- what the desk asks -----------------------------------------------------------------------------------------

    def keeps_free_for_another(self, decision_id: str) -> bool:
        """Whether the asset was made free for the entry of another decision, which is about to follow."""
        return self._awaited not in (None, decision_id)

    def flips(self, trade_id: str, own: str | None = None) -> bool:
        """Whether a trade is about to be closed for an entry the other way, but that of the decision ``own``."""
        message = self._flips.get(trade_id)
        return message is not None and message.wish.decision_id != own

    def adjust(self, message: Adjust, exposure: Exposure) -> None:
        """Assess a change, and carry it out."""
        tools, wish = self._tools, message.wish
        case = Case(
            wish=wish,
            market=message.market,
            exposure=exposure,
            policy=tools.policy,
            now=tools.clock.now(),
            gate=tools.gate(),
            liquidation=message.liquidation,
        )
        verdict = assess_adjustment(case)
        if isinstance(verdict, RiskRefused):
            tools.on_refused(wish, verdict)
        else:
            self._carry_out(verdict)

    def add(self, message: Enter, approved: RiskApproved, onto: Trade) -> None:
        """Carry out an entry on top of a position of ours."""
        entry = approved.plan
        plan = AdjustmentPlan(
            wish=entry.wish,
            trade=onto,
            kind=AdjustmentKind.ADD,
            reference_price=entry.reference_price,
            quantity=entry.quantity,
            legs=entry.legs,
            entry=entry,
        )
        self._carry_out(AdjustmentApproved(plan=plan, entry=approved), message)

    def flip(self, message: Enter, approved: RiskApproved, closes: Trade) -> None:
        """Close a position of ours that is on the other side; its end brings the entry back (:meth:`on_ended`)."""
        plan = approved.plan
        adjustment = Adjustment(
            decision_id=plan.wish.decision_id,
            kind=AdjustmentKind.FLIP,
            received_at=plan.wish.received_at,
            asked_at=self._tools.clock.now(),
            reference_price=plan.reference_price,
        )
        if not self._take(plan.wish, closes.id, adjustment, None):
            return
        self._flips[closes.id] = message
        self._desk.jobs.start(("adjust", plan.wish.decision_id), self._close(closes.id, adjustment, message), closes.id)

    def resumes_flip(self, message: Enter) -> bool:
        """Whether the entry belongs to a flip that a dead process began; it then goes on."""
        for trade in self._desk.active:
            known = _flip_of(trade, message.wish)
            if known is not None and not self.flips(trade.id):
                if trade.close_reason is None and self._is_too_old(message, trade.id):
                    return True
                self._flips[trade.id] = message
                self._desk.jobs.start(("adjust", known.decision_id), self._close(trade.id, known, message), trade.id)
                return True
        return False

    def _is_too_old(self, message: Enter, trade_id: str) -> bool:
        """Give a flip up whose close was not asked for yet, when it is too old by now (scenario C9)."""
        now, wish = self._tools.clock.now(), message.wish
        refusal = too_old(wish, self._tools.policy.risk, now)
        if refusal is None:
            return False
        self._tools.on_refused(wish, refusal)
        error = TradeError(code=refusal.code, message=refusal.message)
        self._desk.learn(trade_id, facts.AdjustmentFailed(at=now, decision_id=wish.decision_id, error=error))
        return True

    def after_its_close(self, message: Enter, ended: Iterable[Trade]) -> Enter:
        """The entry, naming the trade that a dead process had begun to close for it, where that has ended by now."""
        for trade in ended:
            known = _flip_of(trade, message.wish)
            if known is not None and known.error is None:
                return replace(message, wish=_flipping(message.wish, trade))
        return message

    def on_ended(self, trade: Trade) -> None:
        """A trade is over: the entry that waited for it follows."""
        message = self._flips.pop(trade.id, None)
        if message is not None:
            self._awaited = message.wish.decision_id
            wish = _flipping(message.wish, trade)
            self._desk.jobs.start(("follow", wish.decision_id), self._follow(replace(message, wish=wish)))

    def on_kept(self, trade: Trade) -> None:
        """A trade goes on: what waits for its end is given up where that may never come."""
        message = self._flips.get(trade.id) if is_dust(trade) else None
        adjustment = _flip_of(trade, message.wish) if message is not None else None
        if adjustment is not None:
            self._give_up(trade.id, adjustment, error_of_dust(trade))

    def begins(self, decision_id: str) -> None:
        """The awaited entry is being assessed: from now on it speaks for itself."""
        if self._awaited == decision_id:
            self._awaited = None

    # --- intents ----------------------------------------------------------------------------------------------------

    def _carry_out(self, approved: AdjustmentApproved, message: Enter | None = None) -> None:
        plan, now = approved.plan, self._tools.clock.now()
        try:
            order, *further = self._orders(plan) or (None,)
        except NotSent as error:
            refusal = RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=str(error))
            self._tools.on_refused(plan.wish, refusal)
            return
        adjustment = Adjustment(
            decision_id=plan.wish.decision_id,
            kind=plan.kind,
            received_at=plan.wish.received_at,
            asked_at=now,
            reference_price=plan.reference_price,
            quantity=plan.quantity,
            leverage=plan.entry.leverage if plan.entry else None,
            requested_leverage=plan.entry.requested_leverage if plan.entry else None,
            client_order_id=order.client_order_id if order else None,
            legs=plan.legs,
            drops=plan.drops,
        )
        if not self._take(plan.wish, plan.trade.id, adjustment, order, tuple(further)):
            return
        # the jobs begin behind the record of what was just taken in
        if order is not None:
            job = self._send(approved, adjustment, order, message)
        elif plan.kind is AdjustmentKind.DECREASE:
            job = self._close(plan.trade.id, adjustment, message)
        else:
            return
        self._desk.jobs.start(("adjust", adjustment.decision_id), job, plan.trade.id)

    def _take(
        self,
        wish: EntryWish,
        trade_id: str,
        adjustment: Adjustment,
        order: Order | None,
        further: tuple[Order, ...] = (),
    ) -> bool:
        """Make an intent part of its trade, or refuse it: what is none of a trade's orders must not be sent.

        While a decision's first attempt is being settled, whose record was refused, there is no second one.
        """
        asked = facts.AdjustmentAsked(at=adjustment.asked_at, adjustment=adjustment, order=order, further=further)
        self._desk.take(trade_id, asked)
        trade = self._desk.trade(trade_id)
        own = (adjustment.decision_id, adjustment.asked_at)
        if trade is not None and own in {(known.decision_id, known.asked_at) for known in trade.adjustments}:
            return True
        text = f"an earlier attempt at decision {wish.decision_id} is still being settled, so nothing was sent"
        self._tools.on_refused(wish, RiskRefused(code=ErrorCode.NOT_READY, message=text))
        return False

    def _orders(self, plan: AdjustmentPlan) -> tuple[Order, ...]:
        """The orders that change the size, the first on its way; none where only exits change, or everything goes."""
        trade = plan.trade
        if plan.entry is not None:
            first, *further = entry_orders(plan.entry, next_key(trade, OrderRole.ENTRY), trade.position_side)
            self._desk.parts.expect(plan.entry, further)
        elif plan.kind is AdjustmentKind.DECREASE and plan.quantity < trade.exposure:
            parts = cut(plan.quantity, self._tools.market.instrument(trade.asset), plan.reference_price)
            first, *further = reductions(trade, parts)
        else:
            return ()
        stamp = stamp_for(self._tools.client, first.role)
        return (replace(first.after(OrderTrigger.SUBMIT, self._tools.clock.now()), stamp=stamp), *further)

    # --- jobs -------------------------------------------------------------------------------------------------------

    async def _send(
        self, approved: AdjustmentApproved, adjustment: Adjustment, order: Order, message: Enter | None
    ) -> None:
        """Make the intent durable, then send the order: in this order, always."""
        trade_id = approved.plan.trade.id
        try:
            cleared = await self._cleared(approved, order, message)
        except Exception:  # nothing has left yet: the trade goes on without, and the supervisor tells of the bug
            self._hold_back(trade_id, order, internal_error())
            raise
        if isinstance(cleared, TradeError):
            self._hold_back(trade_id, order, cleared)
            return
        self._desk.learn(trade_id, facts.AdjustmentSent(at=self._tools.clock.now(), decision_id=adjustment.decision_id))
        objection = functools.partial(self._objection, approved, cleared)
        placement, against = await self._desk.once.send(trade_id, cleared.order, objection)
        self._placed(trade_id, cleared.order, placement, against)

    async def _cleared(self, approved: AdjustmentApproved, order: Order, message: Enter | None) -> Cleared | TradeError:
        """The order as it may be sent once its intent is recorded, or why it may not."""
        tools, cleared, trade_id = self._tools, Cleared(order=order), approved.plan.trade.id
        try:
            await tools.background.caught_up()
            landing = tools.trades.settled()
            obstacle = None
            if approved.entry is not None:
                keys = [part.client_order_id for part in self._parts(trade_id, order)]
                obstacle = await tools.market.prepare(keys, approved.entry.plan)
            await landing
            if message is not None:
                await message.is_durable
            obstacle = obstacle or self._gone(approved)
            if obstacle is None and approved.entry is not None:
                judged = await self._desk.send_time.approve(approved.entry.plan, order.client_order_id, trade_id, order)
                if isinstance(judged, TradeError):
                    return judged
                cleared = judged
        except (StoreUnavailable, StoreConflict) as error:
            return not_recorded(error)
        return obstacle or self._gone(approved) or cleared

    def _parts(self, trade_id: str, order: Order) -> tuple[Order, ...]:
        trade = self._desk.trade(trade_id)
        return parts_of(trade, order) if trade is not None else (order,)

    def _objection(self, approved: AdjustmentApproved, cleared: Cleared) -> TradeError | None:
        """What speaks against sending by now."""
        return self._gone(approved) or self._desk.send_time.objection(cleared)

    def _gone(self, approved: AdjustmentApproved) -> TradeError | None:
        """Whether the position is no longer there to be changed, or not enough of it to be reduced (O9)."""
        planned = approved.plan.trade
        trade = self._desk.trade(planned.id)
        if trade is not None and trade.status in _ADJUSTABLE and not trade.is_leaving:
            if leaving_quantity(trade) <= trade.exposure:
                return None
            text = f"less was left of the position on {planned.asset} than this and earlier decreases were to take off"
            return TradeError(code=ErrorCode.POSITION_ABSENT, message=text)
        text = f"the position on {planned.asset} was closed before the order could be sent"
        return TradeError(code=ErrorCode.POSITION_ABSENT, message=text)

    def _hold_back(self, trade_id: str, order: Order, obstacle: TradeError) -> None:
        self._placed(trade_id, order, NeverSent(reason=obstacle.message), obstacle)

    def _placed(self, trade_id: str, order: Order, placement: Placement, error: TradeError | None) -> None:
        at, order_id = self._tools.clock.now(), order.client_order_id
        self._desk.learn(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement, error=error))

    async def _close(self, trade_id: str, adjustment: Adjustment, message: Enter | None) -> None:
        """Ask for the close once it is on record why. A decrease takes risk away, so it does not wait for ever.

        Of a flip the entry is judged by everything first: its close is not asked for in vain (scenario Z8).
        """
        refusal: TradeError | None = None
        try:
            await self._tools.recording.until_durable()
            if message is not None:
                await message.is_durable
                refusal = await self._refusal_of_flip(trade_id, adjustment, message)
        except (StoreUnavailable, StoreConflict) as error:
            if message is not None:
                refusal = not_recorded(error)
        except Exception:  # nothing has left yet: the position stays, and the supervisor tells of the bug
            self._give_up(trade_id, adjustment, internal_error())
            raise
        if refusal is not None:
            self._give_up(trade_id, adjustment, refusal)
            return
        asked = facts.CloseAsked(at=self._tools.clock.now(), reason=CloseReason.DECISION)
        self._desk.learn(trade_id, asked)

    async def _refusal_of_flip(self, trade_id: str, adjustment: Adjustment, message: Enter) -> TradeError | None:
        """Why the entry of a flip would not be sent, while the position that it closes is still held."""
        while self._desk.jobs.is_looked_at(trade_id):
            await self._tools.clock.sleep(_LOOK_S)
        trade = self._desk.trade(trade_id)
        if trade is None or trade.close_reason is not None or trade.is_ended:
            return None  # it goes anyway
        wish = replace(message.wish, planned_price=adjustment.reference_price)
        return await self._desk.send_time.flip_refusal(wish, message.market)

    def _give_up(self, trade_id: str, adjustment: Adjustment, error: TradeError) -> None:
        """Leave the position as it is."""
        self._flips.pop(trade_id, None)
        at, decision_id = self._tools.clock.now(), adjustment.decision_id
        self._desk.learn(trade_id, facts.AdjustmentFailed(at=at, decision_id=decision_id, error=error))

    async def _follow(self, message: Enter) -> None:
        """Bring back the entry whose way is free, with the market as it is now."""
        tools, waited_s = self._tools, 0.0
        while tools.has_external_position(self._desk.asset) and waited_s < _FLAT_PATIENCE_S:
            await tools.clock.sleep(_LOOK_S)  # the frame that shows us flat may be late
            waited_s += _LOOK_S
        try:
            market = await tools.market.view(self._desk.asset)
        except ExchangeError as error:
            self.begins(message.wish.decision_id)
            text = f"the mark price of {self._desk.asset} could not be read: {error}"
            tools.on_refused(message.wish, RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text))
            return
        except Exception:  # nothing has left yet: the entry is given up, and the supervisor tells of the bug
            self.begins(message.wish.decision_id)
            tools.on_refused(message.wish, refusal_of(internal_error()))
            raise
        self._desk.enter_next(replace(message, market=market))


def _flipping(wish: EntryWish, closed: Trade) -> EntryWish:
    """The wish, once its way is free; it is held to the price at which that was decided."""
    known = _flip_of(closed, wish)
    return replace(wish, flipped=closed.id, planned_price=known.reference_price if known is not None else None)


def _flip_of(trade: Trade, wish: EntryWish) -> Adjustment | None:
    """The flip that this very wish began in a trade, and not an earlier attempt at its decision; or None."""
    own = (wish.decision_id, wish.received_at, AdjustmentKind.FLIP)
    for known in trade.adjustments:
        if (known.decision_id, known.received_at, known.kind) == own:
            return known
    return None
