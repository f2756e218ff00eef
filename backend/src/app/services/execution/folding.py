"""Folding: what a fact changes in a trade. Pure; decides nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_never

from app.domain.errors import Refusal
from app.domain.funding import LOOKS, may_have_funding
from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.money import ZERO
from app.domain.orders import IN_FLIGHT, Order, OrderState, OrderTrigger
from app.domain.parts import orders_for, without_planned
from app.domain.reports import (
    Accepted,
    ExchangeOrderStatus,
    FillReport,
    NeverSent,
    OrderReport,
    OrderRequest,
    OrderType,
    Placement,
    Refused,
    Unknown,
)
from app.domain.trades import CloseReason, Trade, TradeError, TradeSide, TradeStatus
from app.services.execution import facts
from app.services.execution.adjusting import take_in
from app.services.execution.next_parts import drop_parts

_SENT_BEFORE_RECORDED = frozenset(
    {OrderRole.CLOSE, OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.TRAILING_STOP}
)
"""Exits leave at once, and their record follows (design: between the fill and its exits there is no disk)."""
_TYPES = frozenset(OrderType)
_LONGEST_PAUSE = timedelta(seconds=5)
_ITS_PROCESS_ENDED = "the process that had planned it ended before it was sent"
"""After a restart no attempt waits for longer."""


def fold(trade: Trade, fact: facts.Fact) -> Trade:
    """The trade with ``fact`` taken in.

    Raises:
        IllegalTransition: the fact contradicts what is known of an order.
    """
    folded = _folded(trade, fact)
    return _counted_once(folded) if folded.externally_reduced else folded


def _counted_once(trade: Trade) -> Trade:
    """A close of ours whose fate was learned late explains what seemed to be taken off by somebody else (U9).

    What a plain close of ours went too far was taken off by somebody else at that moment, beside it (O8).
    """
    ours = sum((trade.executed(order) for order in trade.orders if order.role.is_exit), start=ZERO)
    bought = trade.entered_quantity - trade.taken_back
    unexplained = min(trade.externally_reduced, max(bought - ours, ZERO) + trade.overshoot)
    return trade if unexplained == trade.externally_reduced else replace(trade, externally_reduced=unexplained)


def _folded(trade: Trade, fact: facts.Fact) -> Trade:
    match fact:
        case facts.EntrySent() | facts.SignedAnew() | facts.EntryShrunk():
            return _leaving(trade, fact)
        case facts.Placed():
            return _placed(trade, fact)
        case facts.CancelAnswered():
            return _cancel_answered(trade, fact)
        case facts.OrderStreamed():
            return _streamed(trade, fact)
        case facts.OrderQueried():
            return _described(trade, fact.report, fact.at)
        case facts.OrderAbsent():
            return _absent(trade, fact)
        case facts.OrderMissed() | facts.EntryInPosition():
            return _doubted(trade, fact)
        case facts.PositionShown():
            return _position_shown(trade, fact)
        case facts.CloseAsked():
            return trade if trade.close_reason else replace(trade, close_reason=fact.reason)
        case facts.AdjustmentAsked() | facts.AdjustmentSent() | facts.AdjustmentFailed():
            return _adjusted(trade, fact)
        case facts.FillsBooked() | facts.Accounted() | facts.FundingBooked():
            return _booked(trade, fact)
        case facts.Ticked():
            return trade
        case facts.Restarted():
            return _restarted(trade, fact)
        case _:
            assert_never(fact)


def _leaving(trade: Trade, fact: facts.EntrySent | facts.SignedAnew | facts.EntryShrunk) -> Trade:
    if isinstance(fact, facts.EntrySent):
        return replace(trade, entry_sent_at=fact.at)
    if isinstance(fact, facts.EntryShrunk):
        return _shrunk(trade, fact)
    order = trade.order(fact.client_order_id)
    if order is None or order.state not in IN_FLIGHT:
        return trade  # it is in doubt, or known already: nothing of it may leave any more
    transmissions = order.transmissions + (1 if fact.was_refused else 0)
    return trade.with_order(replace(order, stamp=fact.stamp, transmissions=transmissions))


def _shrunk(trade: Trade, fact: facts.EntryShrunk) -> Trade:
    order = trade.order(fact.client_order_id)
    if order is None or order.transmissions > 1 or order.state not in IN_FLIGHT or fact.quantity > order.quantity:
        return trade  # it is in doubt, or known already
    request = replace(order.request, quantity=fact.quantity)
    less = order.quantity - fact.quantity
    trade = trade.with_order(replace(order, request=request))
    for adjustment in trade.adjustments:
        if fact.client_order_id in (part.client_order_id for part in orders_for(trade, adjustment)):
            return trade.with_adjustment(replace(adjustment, quantity=adjustment.quantity - less))
    return replace(trade, quantity=trade.quantity - less)


def _booked(trade: Trade, fact: facts.FillsBooked | facts.Accounted | facts.FundingBooked) -> Trade:
    if isinstance(fact, facts.FundingBooked):
        # one that has come back since is accounted for as a whole at its next end
        is_over = trade.status is TradeStatus.CLOSED
        return replace(trade, funding=fact.funding, funding_looks=fact.looks_left) if is_over else trade
    trade = _with_fills(trade, fact.fills)
    if isinstance(fact, facts.FillsBooked):
        return trade
    looks = LOOKS if may_have_funding(trade.fills) else 0
    trade = replace(trade, funding=fact.funding, funding_looks=looks, is_accounted=True)
    return trade if fact.overshoot == trade.overshoot else _overshot(trade, fact.overshoot)


def _overshot(trade: Trade, overshoot: Decimal) -> Trade:
    """A close that went too far: what it did not find any more had been taken off by an exit of ours, or by others."""
    surplus = max(trade.exited_quantity - trade.entered_quantity, ZERO)
    by_others = max(overshoot - trade.taken_back - surplus, ZERO)
    return replace(trade, overshoot=overshoot, externally_reduced=trade.externally_reduced + by_others)


def _absent(trade: Trade, fact: facts.OrderAbsent) -> Trade:
    order = trade.order(fact.client_order_id)
    if order is None or order.transmissions != fact.transmissions:
        return trade  # sent again since the question was asked: that transmission may still arrive
    if order.is_live and not order.needs_query:
        return trade  # shown since the question was asked
    return trade.with_order(replace(order.after(OrderTrigger.ABSENT, fact.at), needs_query=False))


def _doubted(trade: Trade, fact: facts.OrderMissed | facts.EntryInPosition) -> Trade:
    order = trade.order(fact.client_order_id)
    if order is None:
        return trade
    if isinstance(fact, facts.EntryInPosition):
        is_shown = order.state not in (OrderState.UNKNOWN, OrderState.NOT_PLACED)
        return trade if is_shown else trade.with_order(order.in_position(fact.quantity, fact.at))
    if not order.is_live or order.transmissions != fact.transmissions:
        return trade  # ended or sent again since the question was asked; an unknown one is being settled anyway
    return trade.with_order(replace(order, needs_query=True))


def _placed(trade: Trade, fact: facts.Placed) -> Trade:
    order = trade.order(fact.client_order_id)
    if order is None:
        return trade
    if fact.error is not None:
        trade = _held_back(trade, order, fact.error)
    return _answered(trade, order, fact.placement, fact.at)


def _held_back(trade: Trade, order: Order, error: TradeError) -> Trade:
    """It was us who did not send the order: the reason belongs to the decision that wanted it."""
    for adjustment in trade.adjustments:
        if adjustment.client_order_id == order.client_order_id:
            return trade.with_adjustment(replace(adjustment, error=error))
    return replace(trade, error=error)


def _adjusted(trade: Trade, fact: facts.AdjustmentAsked | facts.AdjustmentSent | facts.AdjustmentFailed) -> Trade:
    if isinstance(fact, facts.AdjustmentAsked):
        return take_in(trade, fact.adjustment, (fact.order, *fact.further) if fact.order else ())
    for adjustment in trade.adjustments:
        if adjustment.decision_id == fact.decision_id:
            if isinstance(fact, facts.AdjustmentSent):
                return trade.with_adjustment(replace(adjustment, sent_at=fact.at))
            return trade.with_adjustment(replace(adjustment, error=fact.error, ended_at=fact.at))
    return trade


def _answered(trade: Trade, order: Order, placement: Placement, at: datetime) -> Trade:
    if isinstance(placement, Refused | NeverSent) and order.state in IN_FLIGHT and placement.retry_after_s is not None:
        trade = _told_to_wait(trade, order, placement, at + timedelta(seconds=placement.retry_after_s))
    match placement:
        case Accepted(report=report):
            return _described(trade, report, at)
        case Refused(family=Refusal.DUPLICATE_ID):
            # an order with this id is open: the earlier transmission arrived (U2); a query tells the rest
            return trade.with_order(replace(order.after(OrderTrigger.LOST, at), needs_query=True))
        case Refused(family=family, code=code, message=message):
            if order.state not in IN_FLIGHT:
                return trade  # the stream or a query already told more than this reply
            return trade.with_order(order.refused(family, code, message, at))
        case NeverSent(reason=reason):
            if order.state not in IN_FLIGHT:
                return trade
            return trade.with_order(replace(order.after(OrderTrigger.NOT_SENT, at), refusal_message=reason))
        case Unknown(stamp=stamp):
            lost = order.after(OrderTrigger.LOST, at)
            dead_after = max(order.stamp.dead_after, stamp.dead_after) if order.stamp else stamp.dead_after
            return trade.with_order(replace(lost, stamp=replace(stamp, dead_after=dead_after)))
        case _:
            assert_never(placement)


def _told_to_wait(trade: Trade, order: Order, placement: Refused | NeverSent, until: datetime) -> Trade:
    """An exit goes out when the exchange's time is up (scenario L1); what never left was no attempt."""
    if order.role is OrderRole.CLOSE:
        return replace(trade, close_retry_at=until)
    leg = trade.leg(order.role)
    if leg is None:
        return trade
    attempts = max(leg.attempts - 1, 0) if isinstance(placement, NeverSent) else leg.attempts
    return trade.with_leg(replace(leg, attempts=attempts, retry_at=until))


def _cancel_answered(trade: Trade, fact: facts.CancelAnswered) -> Trade:
    order = trade.order(fact.client_order_id)
    if order is None:
        return trade
    if isinstance(fact.placement, Accepted):
        trade = _described(trade, fact.placement.report, fact.at)
        order = trade.order(fact.client_order_id) or order
        if order.state is not OrderState.CANCELING:
            return trade
        # it speaks of the order's first transmission, and the second one has landed meanwhile (U5): that one is left
    if order.is_final:
        return trade
    # refused (-2011 may be a fill, O3), not sent or unknown: only a query tells
    return trade.with_order(replace(order.after(OrderTrigger.CANCEL_FAILED, fact.at), needs_query=True))


def _streamed(trade: Trade, fact: facts.OrderStreamed) -> Trade:
    report = fact.report
    if fact.fill is not None:
        trade = _with_fills(trade, (fact.fill,))
    trade = _taking_in(trade, report, fact.at)
    order = trade.order(report.client_order_id)
    if order is None:
        return trade
    if (
        report.is_conditional
        and not report.is_triggered
        and report.status is ExchangeOrderStatus.EXPIRED
        and report.executed_quantity == ZERO
    ):
        # the first event of a trigger burst, or the end: not final until a query says so (P8)
        return trade.with_order(replace(order, needs_query=not order.is_final))
    return _described(trade, report, fact.at, is_conclusive=report.is_triggered)


def _taking_in(trade: Trade, report: OrderReport, at: datetime) -> Trade:
    """The trade with an exit of its own that only the exchange knows: its sender died before it was recorded (C1)."""
    key = parse_client_order_id(report.client_order_id)
    is_exit = key is not None and key.trade_id == trade.id and key.role in _SENT_BEFORE_RECORDED
    if key is None or not is_exit or trade.order(report.client_order_id) or report.original_type_text not in _TYPES:
        return trade
    # what a trailing stop follows by is not in a report: it left for the leg as it is wished
    leg = trade.leg(key.role) if report.original_type_text == OrderType.TRAILING_STOP_MARKET else None
    request = OrderRequest(
        symbol=report.symbol,
        side=report.side,
        type=OrderType(report.original_type_text),
        client_order_id=report.client_order_id,
        quantity=report.original_quantity,
        price=report.price or None,
        stop_price=None if leg else report.stop_price or None,
        activation_price=leg.activation_price if leg else None,
        callback_rate=leg.callback_rate if leg else None,
        position_side=report.position_side,
        reduce_only=report.reduce_only,
    )
    found = Order(key=key, request=request, state=OrderState.UNKNOWN, submitted_at=at, transmissions=1)
    if key.role is OrderRole.CLOSE:
        trade = replace(trade, close_attempts=max(trade.close_attempts, key.attempt))
    return trade.with_order(found)


def _described(trade: Trade, report: OrderReport, at: datetime, *, is_conclusive: bool = True) -> Trade:
    trade = _taking_in(trade, report, at)
    order = trade.order(report.client_order_id)
    if order is None:
        return trade
    if order.transmissions == 0:
        order = replace(order, transmissions=1)  # by a process that died before it could record that
    if order.acknowledged_at is None and report.original_quantity > ZERO:
        # what the exchange booked counts, should an earlier transmission have asked for another quantity
        order = replace(order, request=replace(order.request, quantity=report.original_quantity))
    seen = order.seen(report, at)
    if is_conclusive and seen.needs_query and report.status is not ExchangeOrderStatus.UNRECOGNISED:
        seen = replace(seen, needs_query=False)
    return trade.with_order(seen)


def _with_fills(trade: Trade, fills: tuple[FillReport, ...]) -> Trade:
    """Merge executions by the exchange's trade id; the later report of one wins (it knows the fee)."""
    merged = {fill.exchange_trade_id: fill for fill in trade.fills}
    merged.update({fill.exchange_trade_id: fill for fill in fills})
    ordered = tuple(sorted(merged.values(), key=lambda fill: (fill.time, fill.exchange_trade_id)))
    return trade if ordered == trade.fills else replace(trade, fills=ordered)


def _position_shown(trade: Trade, fact: facts.PositionShown) -> Trade:
    is_ours = (fact.quantity > ZERO) is (trade.side is TradeSide.LONG)
    held = abs(fact.quantity) if is_ours else ZERO
    if held >= trade.exposure or trade.status is TradeStatus.ENTERING:
        return trade
    if (trade.entered_quantity, trade.transmissions) != (fact.entered_before, fact.transmissions_before):
        return trade  # behind the read the entry went on filling, or an exit was sent that may explain what is missing
    is_explained = all(_is_fate_known(order) for order in trade.orders)
    is_entered = all(entry.is_final for entry in trade.entries)
    if not is_explained and (held > ZERO or not is_entered):
        return trade  # counted twice, an exit of ours would leave a part of the position behind; flat is flat (U9)
    reduced = trade.externally_reduced + trade.exposure - held
    reason = trade.close_reason or (CloseReason.MANUAL if held == ZERO else None)
    return replace(trade, externally_reduced=reduced, close_reason=reason)


def _is_fate_known(order: Order) -> bool:
    return order.is_final or order.transmissions == 0 or (order.is_live and not order.needs_query)


def _by_this_clock(trade: Trade, at: datetime) -> Trade:
    """The trade without times that lie ahead: a clock that was set back since has written them (P12).

    A pause that was recorded lasts for :data:`_LONGEST_PAUSE` from now on, at most.
    """
    orders = tuple(
        replace(
            order,
            submitted_at=_not_ahead(order.submitted_at, at),
            acknowledged_at=_not_ahead(order.acknowledged_at, at),
            triggered_at=_not_ahead(order.triggered_at, at),
            finished_at=_not_ahead(order.finished_at, at),
        )
        for order in trade.orders
    )
    paused_until = at + _LONGEST_PAUSE
    legs = tuple(replace(leg, retry_at=_not_ahead(leg.retry_at, paused_until)) for leg in trade.legs)
    close_retry_at = _not_ahead(trade.close_retry_at, paused_until)
    return replace(trade, orders=orders, legs=legs, close_retry_at=close_retry_at, created_at=min(trade.created_at, at))


def _not_ahead(time: datetime | None, at: datetime) -> datetime | None:
    return None if time is None else min(time, at)


def _restarted(trade: Trade, fact: facts.Restarted) -> Trade:
    # what a dead process had planned is not sent by the next one: the decision may be too old by now (C9, O7)
    trade = drop_parts(trade, fact.at)
    trade = without_planned(trade, trade.orders_of(OrderRole.REDUCE), fact.at, _ITS_PROCESS_ENDED)
    trade = _by_this_clock(trade, fact.at)
    if trade.exposure > ZERO:
        # the last close may have been sent and not recorded; its id is not used again (U5)
        trade = replace(trade, close_attempts=trade.close_attempts + 1)
    for order in trade.orders:
        if order.state in IN_FLIGHT:
            trade = trade.with_order(order.after(OrderTrigger.LOST, fact.at))
        elif order.state is OrderState.CANCELING:
            asked = order.after(OrderTrigger.CANCEL_FAILED, fact.at)  # whoever waited for a cancel is gone
            trade = trade.with_order(replace(asked, needs_query=True))
        # what the exchange showed on the book counts until it shows otherwise: an outage at start-up is no reason to
        # give up a protected position
    return trade
