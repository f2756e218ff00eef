"""The state machine of a trade: ``transition(trade, fact, moment, policy) -> Step``. Pure.

A step has two halves. *Fold* takes the fact in; *decide* looks at all that is known and asks for what is missing. Since
the second half does not care which fact came last, a restart is nothing special: load the facts, decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from app.domain.errors import ErrorCode, Refusal
from app.domain.money import ZERO
from app.domain.orders import IN_FLIGHT, Order, OrderState
from app.domain.policy import ProtectionPolicy
from app.domain.trades import Trade, TradeError, TradeStatus, TradeTrigger
from app.services.execution.commands import Account, Alert, Command, Query, Resolve, Severity
from app.services.execution.exits import wind_up
from app.services.execution.facts import Fact
from app.services.execution.folding import fold
from app.services.execution.protection import BURST_GRACE_S, Moment, is_secured, secure


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

_ENTRY_ERROR = {
    Refusal.MARGIN: ErrorCode.INSUFFICIENT_MARGIN,
    Refusal.RATE_LIMIT: ErrorCode.EXCHANGE_UNAVAILABLE,
    Refusal.LEVERAGE: ErrorCode.LEVERAGE_EXCEEDED,
}

_ENDED_EMPTY = frozenset({OrderState.CANCELED, OrderState.EXPIRED})


def transition(trade: Trade, fact: Fact, moment: Moment, policy: ProtectionPolicy) -> Step:
    """Take ``fact`` in and decide what follows.

    Raises:
        IllegalTransition: the fact contradicts what is known; the trade is unchanged, and a human should look.
    """
    return decide(fold(trade, fact), moment, policy)


def decide(trade: Trade, moment: Moment, policy: ProtectionPolicy) -> Step:
    """What follows from the facts, whichever came last."""
    commands: list[Command] = []
    if trade.exposure > ZERO and trade.status not in (
        TradeStatus.PROTECTING,
        TradeStatus.OPEN,
        TradeStatus.CLOSING,
    ):
        trade, commands = _become_exposed(trade, moment)
    phase = _PHASE[trade.status]
    if phase is _Phase.BEFORE_FILL:
        trade, more = _await_entry(trade, moment)
        commands += more
    if phase is _Phase.EXPOSED:
        trade = _note_whole_fill(trade, moment)
        trade, more = _hold(trade, moment, policy)
        commands += more
        phase = _PHASE[trade.status]
    if phase is _Phase.LEAVING:
        trade, more = wind_up(trade, moment)
        commands += more
    return Step(trade, tuple(commands))


def is_in_motion(trade: Trade) -> bool:
    """Whether a position is on its way to its exits or out, or an entry to the exchange; a doubt can wait."""
    phase = _PHASE[trade.status]
    if phase is _Phase.BEFORE_FILL:
        return trade.entry.state in IN_FLIGHT
    return phase is _Phase.LEAVING or (phase is _Phase.EXPOSED and not is_secured(trade))


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
    if trade.filled_at is None and trade.entry.is_final:
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
    was_never_sent = entry.state is OrderState.NOT_PLACED and entry.refusal_message is not None
    trigger = TradeTrigger.ENTRY_NOT_SENT if was_never_sent else TradeTrigger.ENTRY_REFUSED
    error = trade.error or _entry_error(entry)
    return replace(trade, error=error, closed_at=moment.now).after(trigger), []


def _entry_error(entry: Order) -> TradeError:
    if entry.state is OrderState.REJECTED and entry.refusal is not None:
        code = _ENTRY_ERROR.get(entry.refusal, ErrorCode.EXCHANGE_REJECTED)
        text = f"the exchange refused the entry: {entry.refusal_message}"
        return TradeError(code=code, message=text, exchange_code=entry.refusal_code)
    if entry.state is OrderState.NOT_PLACED and entry.refusal_message is None:
        doubt_s = _seconds_in_doubt(entry)
        text = (
            f"the entry got no answer, and after {doubt_s:.1f} s the exchange shows neither order nor execution; "
            "it is not sent again"
        )
        return TradeError(code=ErrorCode.OUTCOME_UNKNOWN, message=text)
    if entry.state is OrderState.NOT_PLACED:
        text = f"the entry could not be sent: {entry.refusal_message}"
        return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text)
    text = f"the entry ended {entry.state.value} with nothing executed"
    return TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text)


def _seconds_in_doubt(entry: Order) -> float:
    if entry.submitted_at is None or entry.finished_at is None:
        return 0.0
    return (entry.finished_at - entry.submitted_at).total_seconds()


def _hold(trade: Trade, moment: Moment, policy: ProtectionPolicy) -> tuple[Trade, list[Command]]:
    """Something is held, or was until a moment ago."""
    commands: list[Command] = []
    entry = trade.entry
    if entry.state is OrderState.UNKNOWN:
        commands.append(Resolve(entry.client_order_id))
    elif not entry.is_final:
        commands.append(Query(entry.client_order_id, BURST_GRACE_S))
    if trade.exposure == ZERO or trade.close_reason is not None:
        return trade.after(TradeTrigger.CLOSE), commands
    trade, more = secure(trade, moment, policy)
    return trade, commands + more
