"""The state machine of a trade: ``decide(trade, moment, policy) -> Step``, after ``folding`` took the facts in. Pure.

Deciding looks at all that is known and asks for what is missing. Since it does not care which fact came last, a restart
is nothing special: load the facts, decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from app.domain.money import ZERO
from app.domain.orders import IN_FLIGHT, OrderState
from app.domain.parts import is_entered
from app.domain.policy import ProtectionPolicy
from app.domain.trades import Trade, TradeStatus, TradeTrigger
from app.services.execution.adjusting import adjust, conclude, note_failures, take_up_again
from app.services.execution.commands import Account, Alert, Command, Query, Resolve, Severity
from app.services.execution.covering import is_secured
from app.services.execution.dust import is_dust
from app.services.execution.exits import tidy, wind_up
from app.services.execution.next_parts import drop_parts, next_part
from app.services.execution.outcomes import error_of
from app.services.execution.protection import BURST_GRACE_S, Moment, secure


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a trade, and what it asks for."""

    trade: Trade
    commands: tuple[Command, ...]


class _Phase(StrEnum):
    BEFORE_FILL = "before_fill"
    EXPOSED = "exposed"
    LEAVING = "leaving"
    OVER = "over"


_PHASE = {
    TradeStatus.PENDING: _Phase.BEFORE_FILL,
    TradeStatus.ENTERING: _Phase.BEFORE_FILL,
    TradeStatus.PROTECTING: _Phase.EXPOSED,
    TradeStatus.OPEN: _Phase.EXPOSED,
    TradeStatus.CLOSING: _Phase.LEAVING,
    TradeStatus.CLOSED: _Phase.OVER,
    TradeStatus.REJECTED: _Phase.OVER,
    TradeStatus.FAILED: _Phase.OVER,
}

_ENDED_EMPTY = frozenset({OrderState.CANCELED, OrderState.EXPIRED})


def decide(trade: Trade, moment: Moment, policy: ProtectionPolicy) -> Step:
    """What follows from the facts, whichever came last.

    Raises:
        IllegalTransition: the facts contradict each other; a human should look.
    """
    trade, commands = take_up_again(trade)
    if _has_come_in(trade):
        trade, more = _become_exposed(trade, moment)
        commands += more
    phase = _PHASE[trade.status]
    if phase is _Phase.BEFORE_FILL:
        trade, more = _await_entry(trade, moment)
        commands += more
    if phase is _Phase.EXPOSED:
        trade, more = _hold(trade, moment, policy)
        trade = _note_whole_fill(trade, moment)
        commands += more
        phase = _PHASE[trade.status]
    if phase is _Phase.LEAVING:
        trade = note_failures(drop_parts(trade, moment.now), moment.now)
        trade, more = wind_up(trade, moment, policy.foreign_orders)
        commands += more
    elif trade.status is TradeStatus.CLOSED:
        trade, more = tidy(trade, moment, policy.foreign_orders)
        commands += more
    return Step(trade, tuple(commands))


def _has_come_in(trade: Trade) -> bool:
    """Whether something was bought or sold that the status does not know of yet; its exits may have filled as well."""
    if trade.status in (TradeStatus.PROTECTING, TradeStatus.OPEN, TradeStatus.CLOSING):
        return False
    return (trade.exposure if trade.status is TradeStatus.CLOSED else trade.entered_quantity) > ZERO


def is_in_motion(trade: Trade) -> bool:
    """Whether a position is on its way to its exits or out, or an entry to the exchange; a doubt can wait."""
    phase = _PHASE[trade.status]
    if phase is _Phase.BEFORE_FILL:
        return trade.entry.state in IN_FLIGHT
    if phase is _Phase.EXPOSED:
        is_entering = any(entry.is_live for entry in trade.entries)
        return is_entering or not is_secured(trade) or any(order.state in IN_FLIGHT for order in trade.orders)
    return phase is _Phase.LEAVING and not is_dust(trade)


def _become_exposed(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """The first fill, or one that turns up after the trade had been given up (U10)."""
    commands: list[Command] = []
    if trade.is_ended:
        text = (
            f"{trade.asset}: a fill of trade {trade.id} turned up after the trade was {trade.status.value}; "
            "the position is being taken care of"
        )
        commands.append(Alert(Severity.CRITICAL, "late_fill", text))
        trade = replace(trade, closed_at=None, error=None)
    trade = replace(trade, is_accounted=False, first_fill_at=trade.first_fill_at or moment.now)
    return trade.after(TradeTrigger.EXPOSED), commands


def _note_whole_fill(trade: Trade, moment: Moment) -> Trade:
    if trade.filled_at is None and is_entered(trade):
        return replace(trade, filled_at=moment.now)
    return trade


def _await_entry(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    entry = trade.entry
    if entry.state is OrderState.UNKNOWN:
        return trade, [Resolve(entry.client_order_id)]
    if entry.needs_query or entry.is_live:
        return trade, [Query(entry.client_order_id, BURST_GRACE_S)]
    if not entry.is_final:
        return trade, []
    if entry.state in _ENDED_EMPTY and not trade.is_accounted:
        return trade, [Account()]  # user trades and position must agree before it is believed (U7)
    trade = drop_parts(trade, moment.now)
    was_never_sent = entry.state is OrderState.NOT_PLACED and entry.refusal_message is not None
    trigger = TradeTrigger.ENTRY_NOT_SENT if was_never_sent else TradeTrigger.ENTRY_REFUSED
    error = trade.error or error_of(entry)
    return replace(trade, error=error, closed_at=moment.now).after(trigger), []


def _hold(trade: Trade, moment: Moment, policy: ProtectionPolicy) -> tuple[Trade, list[Command]]:
    """Something is held, or was until a moment ago."""
    commands: list[Command] = []
    for entry in trade.entries:
        if entry.state is OrderState.UNKNOWN:
            commands.append(Resolve(entry.client_order_id))
        elif entry.state is OrderState.PLANNED:
            continue  # a part whose turn has not come
        elif not entry.is_final and (entry is trade.entry or entry.state not in IN_FLIGHT):
            commands.append(Query(entry.client_order_id, BURST_GRACE_S))  # a further one may still wait for the disk
    if trade.exposure == ZERO or trade.close_reason is not None:
        return trade.after(TradeTrigger.CLOSE), commands
    trade, more = adjust(trade, moment, policy.foreign_orders)
    commands += more
    trade, more = secure(trade, moment, policy)
    commands += more
    trade, more = next_part(trade, moment.now)
    return conclude(trade, moment.now), commands + more
