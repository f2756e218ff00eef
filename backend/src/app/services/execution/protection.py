"""Protection: from the first fill on, every requested exit rests on the book for exactly what is held. Pure.

It is a deadline, not an attempt: until it has passed, a refused exit is tried again with growing pauses; then the
failure policy decides. Scenarios P1–P10, Z2, O6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.instruments import Instrument
from app.domain.orders import IN_FLIGHT, Order, OrderState, OrderTrigger
from app.domain.policy import ProtectionPolicy
from app.domain.reports import OrderRequest, OrderType, PositionSide, Side, TimeInForce
from app.domain.trades import CloseReason, Leg, Trade, TradeTrigger
from app.services.execution.commands import (
    Alert,
    Cancel,
    CheckPosition,
    Command,
    CompareTrails,
    Query,
    ReadBook,
    Resolve,
    Send,
    Severity,
    StopEntries,
    WakeAt,
)
from app.services.execution.covering import STOPS, covering, hit_stop, is_secured, name_of, realises, standing
from app.services.execution.fitting import fitted, rules_since, wants_rules
from app.services.execution.foreign_cover import ForeignCover
from app.services.execution.giving_up import give_up, judge_anew
from app.services.execution.slices import ExitRoom

ONE_ATTEMPT = timedelta(seconds=3)
"""For how long an answer to a placement is waited for."""
LOOK_FIRST = timedelta(seconds=3)
"""After a restart exits wait no longer than that for what a dead process may have sent; then its ids must do."""
HIT_PATIENCE = timedelta(seconds=2)
"""For how long a stop that was triggered may take to fill; then it is no protection (P11)."""
BURST_GRACE_S = 0.25
"""A trigger burst (EXPIRED, NEW, TRADE) shares a millisecond; wait this long before asking what it meant (P8)."""

_NO_ROOM = (Refusal.REDUCE_ONLY, Refusal.TOO_MANY_ORDERS)
"""What rests already may be what an exit is refused for: it covers the position, or takes the exchange's last place."""
_NOT_THERE_YET = IN_FLIGHT | {OrderState.PLANNED}
"""A reduction that a target made room for finds it gone until the exchange has answered."""
_SALE_TOO_LOW, _PURCHASE_TOO_HIGH = -4024, -4016
"""The exchange takes no limit that is too far on the wrong side of the mark price."""

REASON_OF_EXIT = {
    OrderRole.STOP_LOSS: CloseReason.STOP_LOSS,
    OrderRole.TRAILING_STOP: CloseReason.STOP_LOSS,
    OrderRole.TAKE_PROFIT: CloseReason.TAKE_PROFIT,
}
"""Why a position is closed that one of its resting exits closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a decision is made, and one throw of the dice for its jitter: ``chance`` is in [0, 1).

    ``instrument`` is None while the exchange's rules are not known. ``room`` is what the exchange's book last showed,
    ``cover`` which orders of others close the position too, where an exit had to look (O5, O8). As long as there is a
    ``looks_until``, exits that a dead process may have sent are being looked for, and nothing that could be the same is
    sent (scenario C1): until then by no means, and after it only where there is no stop. ``is_untouched`` once the
    exchange has shown, since the last order of the trade left, the position just as our executions left it (O9).
    ``is_behind`` as long as the exchange's lists may not show yet what a dead process has closed of a position that
    others share (C1, O9).
    """

    now: datetime
    chance: float
    instrument: Instrument | None = None
    room: ExitRoom | None = None
    cover: ForeignCover | None = None
    looks_until: datetime | None = None
    is_untouched: bool = False
    is_behind: bool = False
    relieved: frozenset[str] = frozenset()
    """Trailing stops than which a newer one is as tight."""

    @property
    def is_looking(self) -> bool:
        """Whether what a dead process may have sent is still being looked for."""
        return self.looks_until is not None and self.now < self.looks_until


def exit_request(trade: Trade, leg: Leg, key: ClientOrderId, quantity: Decimal) -> OrderRequest:
    """The order that realises ``leg`` for ``quantity``."""
    is_one_way = trade.position_side is PositionSide.BOTH
    is_limit = leg.order_type is OrderType.LIMIT
    follows = leg.order_type is OrderType.TRAILING_STOP_MARKET
    return OrderRequest(
        symbol=trade.asset,
        side=trade.side.exit_side,
        type=leg.order_type,
        client_order_id=str(key),
        quantity=quantity,
        price=leg.limit_price,
        stop_price=None if is_limit or follows else leg.trigger_price,
        time_in_force=TimeInForce.GTC if leg.limit_price is not None else None,
        position_side=trade.position_side,
        reduce_only=is_one_way,
        working_type=None if is_limit else leg.working_type,
        activation_price=leg.activation_price,
        callback_rate=leg.callback_rate,
    )


def secure(trade: Trade, moment: Moment, policy: ProtectionPolicy) -> tuple[Trade, list[Command]]:
    """Do what is needed so that every requested exit covers the exposure; give up when it is time to.

    Returns the trade (perhaps ``open``, perhaps ``closing``: the price is already passed, or the failure policy says
    so) and the commands.
    """
    trade = judge_anew(trade)
    if trade.deadline_at is None and not is_secured(trade) and not trade.protection_failed:
        trade = replace(trade, deadline_at=moment.now + timedelta(seconds=policy.deadline_s))
    if trade.deadline_at is not None:
        # one that was recorded is a duration of this clock from now on, and no longer than a new one (P12)
        longest = max(timedelta(seconds=policy.deadline_s), LOOK_FIRST + ONE_ATTEMPT)
        trade = replace(trade, deadline_at=min(trade.deadline_at, moment.now + longest))
    if moment.looks_until is not None and moment.is_looking and not is_secured(trade):
        return _while_looking(trade, moment.now, moment.looks_until)
    trade, commands = _drop_unwanted(trade, moment.now)
    for leg in sorted(trade.legs, key=lambda leg: leg.role is OrderRole.TAKE_PROFIT):
        if trade.close_reason is None and not _stands_back(trade, leg):
            trade, more = _ensure_leg(trade, leg, moment, policy)
            commands += more
    if trade.close_reason is None and not trade.protection_failed and _is_overdue(trade, moment):
        wanted = [leg for leg in trade.legs if covering(trade, leg) is None]
        why = f"no {' and '.join(name_of(leg) for leg in wanted)} on the book within {policy.deadline_s:g} s"
        trade, more = give_up(trade, wanted, why, moment.now, policy)
        commands += more
    if trade.close_reason is not None:
        return trade.after(TradeTrigger.CLOSE), commands
    if is_secured(trade):
        protected_at = trade.protected_at or moment.now
        trade = replace(trade, deadline_at=None, protected_at=protected_at, protection_failed=False, error=None)
        return trade.after(TradeTrigger.SECURED), commands
    if trade.deadline_at is not None and not trade.protection_failed:
        commands.append(WakeAt(trade.deadline_at))
    return trade.after(TradeTrigger.LAID_BARE), commands


def _while_looking(trade: Trade, now: datetime, looks_until: datetime) -> tuple[Trade, list[Command]]:
    """Send nothing yet; a deadline that passed meanwhile, or while no process ran, leaves time for one attempt.

    To place the exits takes as long as to close: one request. So what is held is safe no later than by a close, unless
    the attempt fails; then it is closed, by one attempt later.
    """
    if trade.deadline_at is not None and now >= trade.deadline_at:
        trade = replace(trade, deadline_at=looks_until + ONE_ATTEMPT)
    return trade, [WakeAt(min(looks_until, trade.deadline_at or looks_until))]


def _is_overdue(trade: Trade, moment: Moment) -> bool:
    return trade.deadline_at is not None and moment.now >= trade.deadline_at and not is_secured(trade)


def _ensure_leg(trade: Trade, leg: Leg, moment: Moment, policy: ProtectionPolicy) -> tuple[Trade, list[Command]]:
    hit = hit_stop(trade, leg)
    if hit is not None:
        return _await_hit(trade, hit, moment)
    shown = covering(trade, leg)
    if shown is not None:
        trade = trade.with_leg(replace(leg, retry_at=None))
        kept = _older_trail(trade, leg, shown, moment)
        if kept is None:
            return _retire_others(trade, leg.role, shown, moment.now)
        trade, commands = _retire_others(trade, leg.role, shown, moment.now, beside=kept)
        return trade, [*commands, CompareTrails(old=kept.client_order_id, new=shown.client_order_id)]
    latest = trade.latest(leg.role)
    if latest is None or latest.state is OrderState.PLANNED:
        return place(trade, leg, latest, moment, counts=True)
    if not realises(latest, leg):
        # the wish has changed: the order for it first; whatever is left of the old one goes when that is shown (P10)
        return place(trade, leg, latest, moment, counts=True)
    if latest.state in IN_FLIGHT or (latest.state is OrderState.CANCELING and not latest.needs_query):
        return trade, []
    if latest.needs_query:
        return trade, [Query(latest.client_order_id, BURST_GRACE_S)]
    if latest.is_live:
        if _is_exit_executing(trade):
            return trade, []  # the sizes are changing under our hands; wait for the end of it
        # the new size first; the old order goes when the new one is confirmed (P10)
        return place(trade, leg, latest, moment, counts=False)
    if latest.refusal is Refusal.IMMEDIATE_TRIGGER and leg.activation_price is not None:
        # the price that the trailing stop was to wait for is reached: it follows from now on
        return place(trade, replace(leg, activation_price=None), latest, moment, counts=True)
    if latest.refusal is Refusal.IMMEDIATE_TRIGGER:
        # its price is already passed: that is a stop that was hit, or a target that was reached (P1)
        return replace(trade, close_reason=REASON_OF_EXIT[leg.role]), []
    if _is_far_passed(latest):
        return replace(trade, close_reason=CloseReason.TAKE_PROFIT), []
    if latest.refusal is Refusal.FILTER:
        return _round_again(trade, leg, latest, moment, policy)
    return _try_again(trade, leg, latest, moment, policy)


def _round_again(
    trade: Trade, leg: Leg, latest: Order, moment: Moment, policy: ProtectionPolicy
) -> tuple[Trade, list[Command]]:
    """Refused by the filters: at once again, where rules that were read since make another order of it (H8)."""
    rules = rules_since(latest, moment.room)
    rounded = fitted(leg, trade.exposure, rules) if rules is not None else leg
    if rounded != leg and leg.attempts < policy.maximum_attempts:
        return place(trade, rounded, latest, moment, counts=True)
    reads = [ReadBook(rules=True)] if wants_rules(latest, moment.room, moment.now) else []
    trade, commands = _try_again(trade, leg, latest, moment, policy)
    return trade, [*commands, *reads]


def _try_again(
    trade: Trade, leg: Leg, latest: Order, moment: Moment, policy: ProtectionPolicy
) -> tuple[Trade, list[Command]]:
    commands: list[Command] = []
    if latest.state in (OrderState.CANCELED, OrderState.EXPIRED) and leg.retry_at is None:
        text = f"the {name_of(leg)} of {trade.asset} disappeared from the book; it is being placed again"
        commands.append(Alert(Severity.WARNING, "protection_disappeared", text))
        if _rested_for_s(latest) >= policy.deadline_s:
            leg = replace(leg, attempts=0)  # it stood for long: this is a new misfortune, not the old one going on
    if latest.refusal is Refusal.UNRECOGNISED and leg.retry_at is None:
        # the exchange may have changed a rule, and then no position can be protected any more (P9)
        what = f"a {name_of(leg)} on {trade.asset}"
        why = f"the exchange refused {what} for a reason unknown to us: {_refusal_text(latest)}"
        commands.append(StopEntries(why))
    if leg.attempts >= policy.maximum_attempts and not trade.protection_failed:
        why = f"the {name_of(leg)} was refused {leg.attempts} times, last: {_refusal_text(latest)}"
        trade, more = give_up(trade, [leg], why, moment.now, policy)
        commands += more
        if trade.close_reason is not None or trade.leg(leg.role) is not leg:
            return trade, commands
    if latest.state is OrderState.UNKNOWN:
        commands.append(Resolve(latest.client_order_id))
    if latest.refusal in _NO_ROOM and leg.retry_at is None:
        # exits that rest cover the position already (P10), or somebody else reduced it (H1)
        if _targets_block(trade, leg):
            leg = replace(leg, retry_at=moment.now)  # due as soon as they are gone
        trade, more = _free(trade, leg, latest, moment.now)
        commands += [CheckPosition(), *more]
    is_first_doubt = latest.state is OrderState.UNKNOWN and latest.transmissions == 1
    if leg.retry_at is None and leg.attempts > 0 and not is_first_doubt:
        exponent = min(leg.attempts, policy.maximum_attempts) - 1
        pause_s = policy.base_delay_s * 2**exponent * (0.5 + moment.chance / 2)
        leg = replace(leg, retry_at=moment.now + timedelta(seconds=pause_s))
    trade = trade.with_leg(leg)
    due = leg.retry_at or moment.now
    if _targets_block(trade, leg) and any(not order.is_final for order in trade.orders_of(OrderRole.TAKE_PROFIT)):
        due += ONE_ATTEMPT  # before they are gone it would be refused again
    if moment.now < due:
        return trade, [*commands, WakeAt(due)]
    trade, more = place(trade, leg, latest, moment, counts=True)
    return trade, commands + more


def _await_hit(trade: Trade, stop: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    """A stop was hit: it closes the position within moments, or we do, at market (P11).

    A limit that the market has jumped over may rest for ever. It goes, for it would be in the way of the close.
    """
    due = (stop.triggered_at or moment.now) + HIT_PATIENCE
    if stop.is_live and moment.now < due:
        return trade, [WakeAt(due)]
    trade, commands = retire(trade, stop, moment.now)
    text = f"the stop of {trade.asset} was triggered and did not close the position; closing it at market"
    commands.append(Alert(Severity.WARNING, "stop_not_filled", text))
    return replace(trade, close_reason=CloseReason.STOP_LOSS), commands


def _is_far_passed(order: Order) -> bool:
    """Whether a target at a limit was refused for a price that the market has left far behind, on the good side."""
    too_low_or_high = _SALE_TOO_LOW if order.request.side is Side.SELL else _PURCHASE_TOO_HIGH
    return order.request.type is OrderType.LIMIT and order.refusal_code == too_low_or_high


def place(trade: Trade, leg: Leg, latest: Order | None, moment: Moment, *, counts: bool) -> tuple[Trade, list[Command]]:
    """Send the leg for the whole exposure: the planned order, the unresolved one again, or the next attempt."""
    trade = trade.with_leg(replace(leg, retry_at=None, attempts=leg.attempts + 1 if counts else leg.attempts))
    is_unresolved = latest is not None and latest.state is OrderState.UNKNOWN and realises(latest, leg)
    if latest is not None and is_unresolved and latest.quantity == leg.quantity_for(trade.exposure):
        # same id, same parameters: should the first transmission have arrived, this one is refused as a duplicate
        return send(trade, latest, OrderTrigger.RESUBMIT, moment.now)
    if latest is not None and has_not_left(latest):
        # a process that died may have sent it and not recorded that: then the exchange knows the id, and says so (U2)
        key = latest.key
    else:
        key = ClientOrderId(trade.id, leg.role, latest.key.attempt + 1 if latest else 1)
    order = Order(key=key, request=exit_request(trade, leg, key, leg.quantity_for(trade.exposure)))
    if latest is not None and key == latest.key:
        order = replace(order, transmissions=latest.transmissions)
    return send(trade, order, OrderTrigger.SUBMIT, moment.now)


def has_not_left(order: Order) -> bool:
    """Whether it is planned only, or was held back by us; what is proven absent was sent, and has no such message."""
    was_held_back = order.state is OrderState.NOT_PLACED and order.refusal_message is not None
    return was_held_back or order.state is OrderState.PLANNED


def send(trade: Trade, order: Order, trigger: OrderTrigger, now: datetime) -> tuple[Trade, list[Command]]:
    """Mark ``order`` as on its way, and ask for it to be sent."""
    sent = order.after(trigger, now)
    return trade.with_order(sent), [Send(sent)]


def _older_trail(trade: Trade, leg: Leg, shown: Order, moment: Moment) -> Order | None:
    """The trailing stop of an earlier size, which may have followed the price further than ``shown`` (P15).

    The oldest is at least as tight as any later one, so one is enough.
    """
    for order in trade.orders_of(leg.role):
        is_older = order.key.attempt < shown.key.attempt and order.client_order_id not in moment.relieved
        is_there = order.state is OrderState.NEW and not order.needs_query
        follows_alike = leg.callback_rate is not None and order.request.callback_rate == leg.callback_rate
        if is_older and is_there and follows_alike:
            return order
    return None


def _retire_others(
    trade: Trade, role: OrderRole, keep: Order, now: datetime, *, beside: Order | None = None
) -> tuple[Trade, list[Command]]:
    """Cancel what an earlier size or an earlier attempt left on the book."""
    commands: list[Command] = []
    for order in trade.orders_of(role):
        if order is not beside and order.client_order_id != keep.client_order_id:
            trade, more = retire(trade, order, now)
            commands += more
    return trade, commands


def retire(trade: Trade, order: Order, now: datetime) -> tuple[Trade, list[Command]]:
    """Get an exit that is no longer wanted off the book, whatever state it is in."""
    if order.state is OrderState.PLANNED:
        return trade.with_order(order.after(OrderTrigger.NOT_SENT, now)), []
    if order.is_final or order.state in IN_FLIGHT:
        return trade, []
    if order.needs_query:
        return trade, [Query(order.client_order_id, BURST_GRACE_S)]
    if order.state is OrderState.CANCELING:
        return trade, []
    if order.state is OrderState.UNKNOWN:
        return trade, [Resolve(order.client_order_id)]
    return trade.with_order(order.after(OrderTrigger.CANCEL_SENT, now)), [Cancel(order.client_order_id)]


def _drop_unwanted(trade: Trade, now: datetime) -> tuple[Trade, list[Command]]:
    """Take exits off the book that are no longer wished for."""
    commands: list[Command] = []
    for order in trade.orders:
        if order.role in REASON_OF_EXIT and not order.is_final and trade.leg(order.role) is None:
            trade, more = retire(trade, order, now)
            commands += more
    return trade, commands


def make_room(trade: Trade, now: datetime) -> tuple[Trade, list[Command]]:
    """Take the targets off the book for a moment: the exchange counts them as cover (-2022). Stops stay."""
    commands: list[Command] = []
    for order in trade.orders_of(OrderRole.TAKE_PROFIT):
        trade, more = retire(trade, order, now)
        commands += more
    leg = trade.leg(OrderRole.TAKE_PROFIT)
    if leg is not None and any(isinstance(command, Cancel) for command in commands):
        trade = trade.with_leg(replace(leg, attempts=0, retry_at=now))  # it has not disappeared
    return trade, commands


def _stands_back(trade: Trade, leg: Leg) -> bool:
    """Whether a target must wait: a stop, or a reduction, needs the room first (P10)."""
    if leg.role is not OrderRole.TAKE_PROFIT:
        return False
    is_stop_blocked = any(
        _targets_block(trade, stop) and covering(trade, stop) is None for stop in trade.legs if stop.role in STOPS
    )
    return is_stop_blocked or any(order.state in _NOT_THERE_YET for order in trade.orders_of(OrderRole.REDUCE))


def _targets_block(trade: Trade, leg: Leg) -> bool:
    """Whether a stop was refused beside targets of ours, and never without any: then something else is in the way.

    What is not in the way stays: a position without its stop does not lose its target, too (P4).
    """
    answered = [order for order in trade.orders_of(leg.role) if order.state not in IN_FLIGHT]
    if leg.role not in STOPS or not answered or answered[-1].refusal not in _NO_ROOM:
        return False
    refused = (order for order in trade.orders_of(leg.role) if order.refusal in _NO_ROOM)
    return all(_was_beside_a_target(trade, order) for order in refused)


def _was_beside_a_target(trade: Trade, stop: Order) -> bool:
    sent_at = stop.submitted_at
    for target in trade.orders_of(OrderRole.TAKE_PROFIT):
        may_have_been_there = target.acknowledged_at is not None or not target.is_final
        if may_have_been_there and sent_at is not None and target.submitted_at is not None:
            is_gone = target.finished_at is not None and target.finished_at <= sent_at
            if target.submitted_at <= sent_at and not is_gone:
                return True
    return False


def _free(trade: Trade, leg: Leg, latest: Order, now: datetime) -> tuple[Trade, list[Command]]:
    """Room for an exit that was refused because others cover the position: targets first, an old stop last."""
    if leg.role is not OrderRole.TAKE_PROFIT:
        trade, commands = make_room(trade, now) if _targets_block(trade, leg) else (trade, [])
        if commands or standing(trade, leg) is not None or latest.refusal is Refusal.TOO_MANY_ORDERS:
            return trade, commands
    return _retire_others(trade, leg.role, latest, now)


def _is_exit_executing(trade: Trade) -> bool:
    """Whether an exit at market is part filled: its end is milliseconds away. A limit may rest like that for hours."""
    return any(
        order.role.is_exit and order.state is OrderState.PARTIALLY_FILLED and order.request.price is None
        for order in trade.orders
    )


def _rested_for_s(order: Order) -> float:
    """How long a finished order had been on the book."""
    if order.acknowledged_at is None or order.finished_at is None:
        return 0
    return (order.finished_at - order.acknowledged_at).total_seconds()


def _refusal_text(order: Order) -> str:
    message = order.refusal_message or order.state.value
    return f"{message} ({order.refusal_code})" if order.refusal_code is not None else message
