"""Exits: from the wish to be flat, or from being flat, to a closed and accounted trade. Pure.

Nothing of ours stays on the book, no dust stays in the position, and the money comes from the exchange's own records.
Scenarios P1, P3, O1–O5, Z5, U9, H5, W6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole, parse_client_order_id
from app.domain.money import ZERO, plain
from app.domain.orders import IN_FLIGHT, Order, OrderState
from app.domain.policy import ForeignOrdersPolicy
from app.domain.reports import OrderType
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
from app.services.execution.covering import STOPS, has_stop, has_triggered
from app.services.execution.dust import error_of_dust, is_refused_as_dust
from app.services.execution.outcomes import error_of
from app.services.execution.protection import (
    BURST_GRACE_S,
    REASON_OF_EXIT,
    Moment,
    has_not_left,
    make_room,
    place,
    retire,
)
from app.services.execution.taking_off import out_of, pause, take_back, take_off, try_again

_GAPS = 20
"""Of more restarts than that in a row, none has left something that an earlier one did not find."""
_AHEAD = 2
"""A process whose disk took nothing left no trace of its restart either, and its ids are further on."""
_FREED_FOR = 2
"""So many attempts to close may do without what was taken off the book for them."""
_DUST_PAUSE = timedelta(minutes=1)

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


def unrecorded_exits(trade: Trade) -> list[str]:
    """Ids of exits that a process may have sent before it died, and of which there is no record (C1).

    They are those that were planned, the next attempts, and closes whose numbers earlier restarts have left out.
    """
    keys = [key for leg in trade.legs for key in _next_to_leave(trade, leg.role)]
    most = trade.close_attempts + 1
    numbers = range(max(1, most - _GAPS), most + _AHEAD)
    keys += [ClientOrderId(trade.id, OrderRole.CLOSE, number) for number in numbers]
    return [str(key) for key in keys if (known := trade.order(str(key))) is None or has_not_left(known)]


def _next_to_leave(trade: Trade, role: OrderRole) -> list[ClientOrderId]:
    latest = trade.latest(role)
    first = latest.key.attempt if latest else 1
    if latest is not None and not has_not_left(latest):
        first += 1
    return [ClientOrderId(trade.id, role, number) for number in range(first, first + _AHEAD)]


def wind_up(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Do what is next on the way out; repeated until the trade is closed."""
    if trade.exposure == ZERO:
        return _clean_up(trade, moment, policy)
    trade, commands = _flatten(trade, moment, policy)
    # while nobody knows what came in, a position that is gone is not believed, and no close can be the last one
    doubtful = [entry for entry in trade.entries if entry.state is OrderState.UNKNOWN]
    return trade, [*commands, *(Resolve(entry.client_order_id) for entry in doubtful)]


def _flatten(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    if moment.looks_until is not None and (moment.is_looking or has_stop(trade)):
        return trade, [WakeAt(moment.looks_until)] if moment.is_looking else []
    if moment.is_behind:
        return trade, []  # a second close would take from what others hold; the end of the look decides anew
    latest = trade.latest(OrderRole.CLOSE)
    if latest is not None and latest.state in IN_FLIGHT:
        return trade, []
    doubtful = _in_doubt(trade)
    if any(order.is_plain for order in doubtful) or (doubtful and not moment.is_untouched):
        return _await_evidence(trade, doubtful, moment)
    if latest is None:
        return take_off(trade, out_of(trade), moment)
    if latest.state is not OrderState.UNKNOWN and (latest.is_live or latest.needs_query):
        return trade, [Query(latest.client_order_id, BURST_GRACE_S)]
    if latest.state is OrderState.FILLED and latest.request.type is OrderType.MARKET:
        return take_off(trade, out_of(trade), moment)  # it was a part: the next one follows at once (O7)
    # it ended and something is left, or it is unknown and nobody else holds anything: reduce-only can't overshoot then
    return _close_again(trade, latest, moment, policy)


def _in_doubt(trade: Trade) -> list[Order]:
    """Closes and reductions that may have been executed without our knowing."""
    orders = (*trade.orders_of(OrderRole.CLOSE), *trade.orders_of(OrderRole.REDUCE))
    return [order for order in orders if order.state is OrderState.UNKNOWN or order.state in IN_FLIGHT]


def _await_evidence(trade: Trade, doubtful: list[Order], moment: Moment) -> tuple[Trade, list[Command]]:
    """Another close could take from what others hold, or open the other side: first the fate of ours (O8, O9)."""
    commands: list[Command] = [
        Resolve(order.client_order_id) for order in doubtful if order.state is OrderState.UNKNOWN
    ]
    if trade.close_retry_at is None or moment.now >= trade.close_retry_at:
        trade = pause(trade, out_of(trade), doubtful[-1], moment)
        commands.append(CheckPosition())
    return trade, [*commands, WakeAt(trade.close_retry_at or moment.now)]


def _close_again(
    trade: Trade, latest: Order, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]]:
    """Free our own targets when they block, and put back what did not; then the next attempt."""
    trade, commands = _free_or_restore(trade, latest, moment)
    if is_refused_as_dust(latest):
        trade, more = _await_worth(trade, moment)
    else:
        trade, more = try_again(trade, out_of(trade), moment, policy)
    return trade, commands + more


def _await_worth(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Tell once, and try again at long intervals: the price may have made it worth enough by then."""
    commands: list[Command] = []
    if trade.close_retry_at is None:
        trade = replace(trade, close_retry_at=moment.now + _DUST_PAUSE)
        commands.append(CheckPosition())
        if sum(map(is_refused_as_dust, trade.orders_of(OrderRole.CLOSE))) == 1:
            commands.append(Alert(Severity.CRITICAL, "dust_left", error_of_dust(trade).message))
    due = trade.close_retry_at or moment.now
    if moment.now < due:
        return trade, [*commands, WakeAt(due)]
    trade, more = take_off(trade, out_of(trade), moment)
    return trade, commands + more


def _free_or_restore(trade: Trade, latest: Order, moment: Moment) -> tuple[Trade, list[Command]]:
    """Make room for a close that our targets block (O4). What did not block it comes back, the stop always (P13)."""
    cover = moment.cover
    is_foreign = cover is not None and cover.side is trade.side.exit_side and cover.is_whole
    blocks = latest.refusal is Refusal.REDUCE_ONLY and not is_foreign and _is_in_the_way(trade, latest)
    trade, commands = _free(trade, moment) if blocks else (trade, [])
    if latest.key.attempt < _FREED_FOR:
        return trade, commands
    for leg in sorted(trade.legs, key=lambda leg: leg.role is OrderRole.TAKE_PROFIT):
        last = trade.latest(leg.role)
        is_gone = all(order.is_final for order in trade.orders_of(leg.role))
        is_kept_away = blocks and leg.role is OrderRole.TAKE_PROFIT
        if last is None or not is_gone or is_kept_away or has_triggered(last):
            continue
        if last.state is OrderState.CANCELED:
            trade, more = place(trade, leg, last, moment, counts=False)
            commands += more
    return trade, commands


def _free(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Take off the book what may rest in the way: targets, and a stop that has become a limit. Waiting stops stay."""
    trade, commands = make_room(trade, moment.now)
    for order in trade.orders:
        if _rests_triggered(order):
            trade, more = retire(trade, order, moment.now)
            commands += more
    return trade, commands


def _rests_triggered(order: Order) -> bool:
    return has_triggered(order) and order.request.price is not None and not order.is_final


def _is_in_the_way(trade: Trade, close: Order) -> bool:
    """Whether a target of ours, or a stop that has become a limit, was on the book when a close was sent."""
    sent_at = close.submitted_at
    return any(_rests_triggered(order) for order in trade.orders) or any(
        target.acknowledged_at is not None
        and (target.finished_at is None or sent_at is None or target.finished_at >= sent_at)
        for target in trade.orders_of(OrderRole.TAKE_PROFIT)
    )


def tidy(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Take what turns up of ours after the end off the book, and book what it executed (scenarios C1, U10)."""
    trade, commands = _retire_exits(trade, moment)
    commands += _follow_up(trade.orders_of(OrderRole.TAKE_BACK))
    if not commands and not trade.is_every_fill_known:
        return trade, [Account()]
    trade, more = take_back(trade, moment, policy)
    return trade, commands + more


def _retire_exits(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """Stops stay as long as something may still come in: nothing else would protect it (U11)."""
    commands: list[Command] = []
    may_come_in = not all(entry.is_final for entry in trade.entries)
    for order in trade.orders:
        if order.role.is_exit and not (may_come_in and order.role in STOPS):
            trade, more = retire(trade, order, moment.now)
            commands += more
    return trade, commands


def _clean_up(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Flat: take the siblings off the book, learn the fate of what is unknown, then account."""
    trade, commands = _retire_exits(trade, moment)
    commands += _follow_up(order for order in trade.orders if not order.role.is_exit)
    trade, more = take_back(trade, moment, policy)
    if more or commands or not all(order.is_final for order in trade.orders):
        return trade, commands + more
    if not trade.entered_quantity and not trade.exited_quantity:
        return _never_entered(trade, moment)
    if not trade.is_accounted or not trade.is_every_fill_known:
        return trade, [Account()]
    trade = replace(trade, close_reason=_told_by_fills(trade), closed_at=trade.closed_at or moment.now)
    return trade.after(TradeTrigger.SETTLED), _tell_forced(trade)


def _follow_up(orders: Iterable[Order]) -> list[Command]:
    """Ask what became of orders that nobody cancels."""
    commands: list[Command] = []
    for order in orders:
        if order.state is OrderState.UNKNOWN:
            commands.append(Resolve(order.client_order_id))
        elif not order.is_final and order.state not in IN_FLIGHT:
            commands.append(Query(order.client_order_id, BURST_GRACE_S))
    return commands


def _never_entered(trade: Trade, moment: Moment) -> tuple[Trade, list[Command]]:
    """What the position showed was somebody else's, so the entry has failed (U11)."""
    error = error_of(trade.entry)
    trade = replace(trade, error=error, close_reason=None, first_fill_at=None, protected_at=None, deadline_at=None)
    return replace(trade, closed_at=moment.now).after(TradeTrigger.ENTRY_REFUSED), []


def _tell_forced(trade: Trade) -> list[Command]:
    what = _FORCED_TEXT.get(trade.close_reason) if trade.close_reason else None
    if what is None:
        return []
    text = f"{trade.asset}: the exchange closed {plain(trade.externally_reduced)} by force ({what}); check the margin"
    return [Alert(Severity.CRITICAL, "closed_by_exchange", text)]


def _told_by_fills(trade: Trade) -> CloseReason:
    """The reason that the executions tell: what reduced the position most is why it is closed."""
    by_role = {
        role: sum((trade.executed(order) for order in trade.orders_of(role)), start=ZERO)
        for role in (*REASON_OF_EXIT, OrderRole.CLOSE)
    }
    role = max(by_role, key=lambda role: by_role[role])
    if not by_role[role] and not trade.externally_reduced:
        return trade.close_reason or CloseReason.DECISION  # taken off in parts
    if trade.externally_reduced > by_role[role]:
        return _told_by_takers(trade)
    if role is OrderRole.CLOSE:
        return trade.close_reason or _told_by_intents(trade)
    return REASON_OF_EXIT[role]


def _told_by_intents(trade: Trade) -> CloseReason:
    """Why a process that died before it had recorded the reason has sent a close of ours; no person's hand did it."""
    is_decided = any(one.closes and one.error is None for one in trade.adjustments)
    return CloseReason.DECISION if is_decided else CloseReason.RECONCILED


def _told_by_takers(trade: Trade) -> CloseReason:
    """How most of what others took was taken; ``reconciled`` when the exchange no longer tells (contract, part 9)."""
    ours = {order.exchange_order_id for order in trade.orders}
    taken: dict[CloseReason | None, Decimal] = {}
    for fill in trade.exit_fills:
        if fill.order_id not in ours:
            reason = forced_reason(fill.client_order_id)
            if reason is None and parse_client_order_id(fill.client_order_id or "") is not None:
                reason = _told_by_intents(trade)
            taken[reason] = taken.get(reason, ZERO) + fill.quantity
    if not taken:
        return CloseReason.RECONCILED
    return max(taken, key=lambda reason: taken[reason]) or trade.close_reason or CloseReason.MANUAL
