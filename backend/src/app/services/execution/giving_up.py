"""Giving up: what becomes of a position whose exits could not be placed in time. Pure (scenarios P2, P3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from app.domain.errors import ErrorCode
from app.domain.ids import OrderRole
from app.domain.money import plain
from app.domain.parts import has_executed
from app.domain.policy import ProtectionFailurePolicy, ProtectionPolicy
from app.domain.trades import AdjustmentKind, CloseReason, Leg, Trade, TradeError
from app.services.execution.commands import Alert, Command, Severity, WakeAt
from app.services.execution.covering import (
    is_bounded,
    is_stopped,
    missing,
    name_of,
    outsizing,
    realises,
    standing,
    unsized,
    wishing,
)

_TOLD_BESIDE_THE_STOP = (ErrorCode.TAKE_PROFIT_MISSING, ErrorCode.EXCHANGE_REJECTED)
"""The errors of a trade whose exits were given up while its stop stood: one is missing, or rests for too much."""


def give_up(
    trade: Trade, wanted: Iterable[Leg], why: str, now: datetime, policy: ProtectionPolicy
) -> tuple[Trade, list[Command]]:
    """Go back to exits that still stand where an adjustment meant to replace them; else apply the failure policy."""
    wanted = tuple(wanted)
    if all(leg.role is OrderRole.TAKE_PROFIT for leg in wanted) and not is_stopped(trade):
        return trade, []  # the stop comes first; its deadline and its attempts decide
    is_back = False
    for leg in wanted:
        fallen_back = _fall_back(trade, leg, why, now)
        if fallen_back is not None:
            trade, is_back = fallen_back, True
    if is_back:
        text = f"{trade.asset}: {why}; the exit that was to be replaced stays"
        return trade, [Alert(Severity.WARNING, "adjustment_failed", text), WakeAt(now)]
    return _apply_failure_policy(trade, wanted, why, policy)


def _apply_failure_policy(
    trade: Trade, wanted: tuple[Leg, ...], why: str, policy: ProtectionPolicy
) -> tuple[Trade, list[Command]]:
    is_stop_there = is_bounded(trade)
    is_there_for_more = all(outsizing(trade, leg) is not None for leg in wanted)
    may_stay = is_there_for_more or policy.on_take_profit_failure is ProtectionFailurePolicy.ALERT
    if is_stop_there and may_stay:
        return _do_without(trade, why)
    closes = is_stop_there or policy.on_failure is ProtectionFailurePolicy.CLOSE
    what = "closing it at market" if closes else "it stays open; placing the exits goes on"
    text = f"{trade.asset}: {plain(trade.exposure)} held without full protection ({why}); {what}"
    error = TradeError(code=ErrorCode.PROTECTION_FAILED, message=text)
    reason = CloseReason.EMERGENCY if closes else None
    trade = replace(trade, protection_failed=True, error=error, close_reason=reason)
    return trade, [Alert(Severity.CRITICAL, "protection_failed", text)]


def _do_without(trade: Trade, why: str) -> tuple[Trade, list[Command]]:
    """The stop stands, so the position stays, and what is wanted goes on being tried at the longest delay (P14).

    That an exit could not follow a smaller size is no reason to close either, the stop included: an exchange with no
    place for another conditional order refuses the smaller one as long as the larger one rests.
    """
    absent = missing(trade)
    if absent:
        text = f"{trade.asset}: the stop stands and the {_names(absent)} is missing ({why}); placing it goes on"
        error = TradeError(code=ErrorCode.TAKE_PROFIT_MISSING, message=text)
        alert = Alert(Severity.WARNING, "take_profit_missing", text)
    else:
        held = plain(trade.exposure)
        text = (
            f"{trade.asset}: the {_names(unsized(trade))} rests for more than the {held} held, one for {held} did not "
            f"get on the book ({why}); it stays, and placing the other goes on"
        )
        error = TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text)
        alert = Alert(Severity.WARNING, "exit_for_too_much", text)
    return replace(trade, protection_failed=True, error=error, deadline_at=None), [alert]


def _names(legs: Iterable[Leg]) -> str:
    return " and ".join(name_of(leg) for leg in legs)


def judge_anew(trade: Trade) -> Trade:
    """The trade, whose failed protection is judged by what stands now.

    A stop that goes missing beside what was given up has a deadline of its own (P5), and so has an exit that goes
    missing where another was for too much; a stop that came at last leaves what is still wanted.
    """
    if not trade.protection_failed:
        return trade
    code = trade.error.code if trade.error is not None else None
    is_told = code in _TOLD_BESIDE_THE_STOP
    is_more_missing = code is ErrorCode.EXCHANGE_REJECTED and bool(missing(trade))
    if is_told and (not is_bounded(trade) or is_more_missing):
        return replace(trade, protection_failed=False, error=None)
    is_less_missing = code is ErrorCode.TAKE_PROFIT_MISSING and not missing(trade)
    is_any_wanted = bool(missing(trade) or unsized(trade))
    if is_any_wanted and is_bounded(trade) and (not is_told or is_less_missing):
        trade, _ = _do_without(trade, "it could not be placed so far")
    return trade


def _fall_back(trade: Trade, leg: Leg, why: str, now: datetime) -> Trade | None:
    """The trade with the exit as it was before an adjustment, when that still stands; the adjustment has failed.

    Where there was none before, there is none again: a wish for a stop is no reason to close what went without one.
    Where the size has been changed already, the adjustment goes on without that exit, and its result says why.
    """
    old_one = standing(trade, leg)
    if old_one is not None:
        request = old_one.request
        trigger = request.stop_price or request.price or leg.trigger_price
        old = replace(
            leg,
            order_type=request.type,
            trigger_price=trigger,
            limit_price=request.price,
            activation_price=request.activation_price,
            callback_rate=request.callback_rate,
        )
        trade = trade.with_leg(replace(old, attempts=0, retry_at=None))
        left = f"the old one at {plain(trigger)} stays"
    elif _is_new_wish(trade, leg) and not _came_with_more(trade, leg):
        trade = replace(trade, legs=tuple(one for one in trade.legs if one.role is not leg.role))
        left = "the position stays without one, as before"
    else:
        return None
    text = f"the new {name_of(leg)} did not get on the book ({why}); {left}"
    error = TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text)
    for one in wishing(trade, leg):
        if has_executed(trade, one):
            others = tuple(wish for wish in one.legs if wish.role is not leg.role)
            trade = trade.with_adjustment(replace(one, legs=others, error=error))
        else:
            trade = trade.with_adjustment(replace(one, error=error, ended_at=now))
    return replace(trade, deadline_at=None)


def _is_new_wish(trade: Trade, leg: Leg) -> bool:
    """Whether a pending adjustment asks for an exit that the trade has not had so far.

    An earlier wish at another price that never came on the book has changed nothing about that.
    """
    if trade.protected_at is None:
        return False  # what it was opened with never stood
    others = (order for order in trade.orders_of(leg.role) if not realises(order, leg))
    return bool(wishing(trade, leg)) and all(order.acknowledged_at is None for order in others)


def _came_with_more(trade: Trade, leg: Leg) -> bool:
    """Whether a stop was wished for with more of the position, which came in: that must not stay without one (P3)."""
    additions = (AdjustmentKind.ADD, AdjustmentKind.INCREASE)
    return leg.role is not OrderRole.TAKE_PROFIT and any(
        one.kind in additions and has_executed(trade, one) for one in wishing(trade, leg)
    )
