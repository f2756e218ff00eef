"""Exits: from the wish to be flat, or from being flat, to a closed and accounted trade. Pure.

Nothing of ours stays on the book, no dust stays in the position, and the money comes from the exchange's own records.
Scenarios P1, P3, O1–O5, Z5, U9, H5, W6.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO, plain
from app.domain.orders import IN_FLIGHT, Order, OrderState, OrderTrigger
from app.domain.reports import OrderRequest, OrderType, PositionSide
from app.domain.trades import CloseReason, Trade, TradeTrigger
from app.services.execution.commands import (
    Account,
    Alert,
    CheckPosition,
    Command,
    Query,
    Resolve,
    Severity,
    WakeAt,
)
from app.services.execution.protection import BURST_GRACE_S, Moment, retire, send

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_ALERT_EVERY = 5

_REASON_OF_ROLE = {
    OrderRole.STOP_LOSS: CloseReason.STOP_LOSS,
    OrderRole.TAKE_PROFIT: CloseReason.TAKE_PROFIT,
}

_FORCED_BY_PREFIX = {"autoclose-": CloseReason.LIQUIDATION, "adl_autoclose": CloseReason.ADL}
_FORCED_TEXT = {
    CloseReason.LIQUIDATION: "liquidation",
    CloseReason.ADL: "auto-deleveraging",
}


def forced_reason(client_order_id: str | None) -> CloseReason | None:
    """What an order of the exchange's own did to the position, or None for anybody else's (fact sheet, section 7)."""
    if client_order_id is None:
        return None
    return next((reason for prefix, reason in _FORCED_BY_PREFIX.items() if client_order_id.startswith(prefix)), None)


def wind_up(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Do what is next on the way out; repeated until the trade is closed."""
    if trade.exposure > ZERO:
        return _flatten(trade, moment)
    return _clean_up(trade, moment)


def _flatten(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    latest = trade.latest(OrderRole.CLOSE)
    if latest is None:
        return _close_at_market(trade, moment)
    if latest.state in IN_FLIGHT:
        return trade, []
    if latest.state is OrderState.UNKNOWN:
        # a close is reduce-only, so another one can't overshoot; but first the exchange says what is left (U9)
        if trade.close_retry_at is None:
            trade = _pause(trade, moment)
            return trade, [CheckPosition(), *_wake(trade)]
        if moment.now < trade.close_retry_at:
            return trade, _wake(trade)
        return _close_at_market(trade, moment)
    if latest.is_live or latest.needs_query:
        return trade, [Query(latest.client_order_id, BURST_GRACE_S)]
    return _close_again(trade, latest, moment)


def _close_again(trade: Trade, latest: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    """The last close ended and something is left: free our own exits when they block, wait, re-read, close."""
    commands: list[Command] = []
    if latest.refusal is Refusal.REDUCE_ONLY:
        trade, commands = _free_own_exits(trade, moment)  # resting exits can cover the whole position (O4)
    if trade.close_retry_at is None:
        trade = _pause(trade, moment)
        commands.append(CheckPosition())
        if trade.close_attempts % _ALERT_EVERY == 0:
            left = plain(trade.exposure)
            text = (
                f"{trade.asset}: {left} still open after {trade.close_attempts} attempts to close it "
                f"({latest.refusal_message or latest.state.value}); it is tried on, check the exchange"
            )
            commands.append(Alert(Severity.CRITICAL, "close_failing", text))
    if trade.close_retry_at is not None and moment.now < trade.close_retry_at:
        return trade, [*commands, *_wake(trade)]
    trade, more = _close_at_market(trade, moment)
    return trade, commands + more


def _close_at_market(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    attempt = trade.close_attempts + 1
    key = ClientOrderId(trade.id, OrderRole.CLOSE, attempt)
    request = OrderRequest(
        symbol=trade.asset,
        side=trade.side.exit_side,
        type=OrderType.MARKET,
        client_order_id=str(key),
        quantity=trade.exposure,
        position_side=trade.position_side,
        reduce_only=trade.position_side is PositionSide.BOTH,
    )
    trade = replace(trade, close_attempts=attempt, close_retry_at=None)
    return send(trade, Order(key=key, request=request), OrderTrigger.SUBMIT, moment.now)


def _pause(trade: Trade, moment: Moment) -> Trade:
    exponent = max(trade.close_attempts - 1, 0)
    pause_s = min(_FIRST_PAUSE_S * 2**exponent, _LONGEST_PAUSE_S) * (0.5 + moment.chance / 2)
    return replace(trade, close_retry_at=moment.now + timedelta(seconds=pause_s))


def _wake(trade: Trade) -> list[Command]:
    return [WakeAt(trade.close_retry_at)] if trade.close_retry_at else []


def _free_own_exits(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    commands: list[Command] = []
    for order in trade.orders:
        if order.role in _REASON_OF_ROLE:
            trade, more = retire(trade, order, moment.now)
            commands += more
    return trade, commands


def _clean_up(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Flat: take the siblings off the book, learn the fate of what is unknown, then account."""
    commands: list[Command] = []
    for order in trade.orders:
        if order.role.is_exit:
            trade, more = retire(trade, order, moment.now)
            commands += more
        elif order.state is OrderState.UNKNOWN:
            commands.append(Resolve(order.client_order_id))
        elif not order.is_final:
            commands.append(Query(order.client_order_id, BURST_GRACE_S))
    if commands or not all(order.is_final for order in trade.orders):
        return trade, commands
    if not trade.is_accounted or not _is_every_fill_known(trade):
        return trade, [Account()]
    trade = replace(trade, close_reason=_told_by_fills(trade), closed_at=trade.closed_at or moment.now)
    return trade.after(TradeTrigger.SETTLED), _tell_forced(trade)


def _tell_forced(trade: Trade) -> list[Command]:
    what = _FORCED_TEXT.get(trade.close_reason) if trade.close_reason else None
    if what is None:
        return []
    text = f"{trade.asset}: the exchange closed {plain(trade.externally_reduced)} by force ({what}); check the margin"
    return [Alert(Severity.CRITICAL, "closed_by_exchange", text)]


def _is_every_fill_known(trade: Trade) -> bool:
    return all(
        sum((fill.quantity for fill in trade.fills_of(order)), start=ZERO) == trade.executed(order)
        for order in trade.orders
    )


def _told_by_fills(trade: Trade) -> CloseReason:
    """The reason that the executions tell: what reduced the position most is why it is closed."""
    by_role = {
        role: sum((trade.executed(order) for order in trade.orders_of(role)), start=ZERO)
        for role in (OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT, OrderRole.CLOSE)
    }
    role = max(by_role, key=lambda role: by_role[role])
    if trade.externally_reduced > by_role[role]:
        return _told_by_takers(trade) or trade.close_reason or CloseReason.MANUAL
    if role is OrderRole.CLOSE:
        return trade.close_reason or CloseReason.MANUAL
    return _REASON_OF_ROLE[role]


def _told_by_takers(trade: Trade) -> CloseReason | None:
    """Liquidation or ADL, when that is how most of what others took was taken."""
    ours = {order.exchange_order_id for order in trade.orders}
    taken: dict[CloseReason | None, Decimal] = {None: ZERO}
    for fill in trade.exit_fills:
        if fill.order_id not in ours:
            reason = forced_reason(fill.client_order_id)
            taken[reason] = taken.get(reason, ZERO) + fill.quantity
    return max(taken, key=lambda reason: taken[reason])
