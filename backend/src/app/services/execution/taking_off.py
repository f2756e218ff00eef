"""Taking off: one market order after another, until what is to go is gone. Pure.

That is a position that is to be closed, or what a close opened on the other side (scenario O8). Both meet the same
refusals: others' orders that cover it, a book that is too thin, a maximum that nobody told, filters that have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO, plain
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.policy import ForeignOrdersPolicy
from app.domain.reports import OrderRequest, OrderType, PositionSide, Side, TimeInForce
from app.domain.trades import Trade
from app.services.execution.commands import (
    Account,
    Alert,
    CancelForeign,
    CheckPosition,
    Command,
    ReadBook,
    ReadCover,
    Severity,
    WakeAt,
)
from app.services.execution.fitting import READ_PATIENCE, on_step, rules_since, wants_rules
from app.services.execution.foreign_cover import ForeignCover, cover_since
from app.services.execution.protection import Moment, send
from app.services.execution.slices import ExitRoom, market_part, next_slice

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_WARN_AFTER = 2
_ALARM_EVERY = 5
_BOOK_FRESH = timedelta(seconds=1)
ABOVE_MAXIMUM = -4005
"""The exchange's answer to a market order above its maximum."""
PLAIN_INSTEAD = "a market order that is not reduce-only goes instead"
_UNFIT_SLICE = frozenset({Refusal.FILTER, Refusal.FORMAT, Refusal.CONFIG, Refusal.OTHER, Refusal.UNRECOGNISED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What is to be taken off: ``wanted`` base units by orders of ``role`` on ``side``, after so many ``attempts``."""

    role: OrderRole
    side: Side
    wanted: Decimal
    attempts: int

    @property
    def leads_back(self) -> bool:
        """Whether it undoes what a close opened on the other side."""
        return self.role is OrderRole.TAKE_BACK


def out_of(trade: Trade) -> Way:
    """The way out of the position."""
    return Way(role=OrderRole.CLOSE, side=trade.side.exit_side, wanted=trade.exposure, attempts=trade.close_attempts)


def back_from(trade: Trade) -> Way:
    """The way back from the other side."""
    latest = trade.latest(OrderRole.TAKE_BACK)
    return Way(
        role=OrderRole.TAKE_BACK,
        side=trade.side.entry_side,
        wanted=max(trade.overshoot - trade.taken_back, ZERO),
        attempts=latest.key.attempt if latest else 0,
    )


def take_back(trade: Trade, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Undo what a plain order opened on the other side, as soon as the executions show it (scenario O8)."""
    way, latest = back_from(trade), trade.latest(OrderRole.TAKE_BACK)
    gone_plain = [order for order in trade.orders if order.is_plain and trade.executed(order)]
    if gone_plain and not trade.is_accounted and latest is None:
        return trade, [Account()]  # while the exits are being canceled
    if way.wanted == ZERO or (latest is not None and not latest.is_final):
        return trade, []
    if latest is not None and _is_since(latest, gone_plain):
        if latest.state is OrderState.FILLED and latest.request.type is OrderType.MARKET:
            return take_off(trade, way, moment)  # it was a part: the next one follows at once (O7)
        return try_again(trade, way, moment, policy)
    text = (
        f"{trade.asset}: an order went {plain(way.wanted)} beyond the position, since somebody else reduced it at the "
        "same moment; that is taken back now"
    )
    trade, commands = take_off(trade, way, moment)
    return trade, [Alert(Severity.CRITICAL, "close_overshot", text), *commands]


def _is_since(latest: Order, gone_plain: list[Order]) -> bool:
    """Whether no order has gone beyond the position since a take-back was sent: then it is the same overshoot."""
    last = max(
        (order.submitted_at for order in gone_plain if order.role is not latest.role and order.submitted_at),
        default=None,
    )
    return last is None or latest.submitted_at is None or latest.submitted_at >= last


def try_again(trade: Trade, way: Way, moment: Moment, policy: ForeignOrdersPolicy) -> tuple[Trade, list[Command]]:
    """Go on after an order that left something: wait, look again (U9), where needed read the book or the cover."""
    latest = trade.latest(way.role)
    if latest is None:
        return take_off(trade, way, moment)
    commands: list[Command] = []
    in_slices, is_blocked = _goes_on_in_slices(latest), latest.refusal is Refusal.REDUCE_ONLY
    cover = cover_since(latest, moment.cover) if is_blocked else None
    if wants_rules(latest, moment.room, moment.now):
        commands.append(ReadBook(rules=True))
    elif latest.refusal is Refusal.FILTER and _fits_otherwise(latest, moment):
        return take_off(trade, way, moment)  # by the rules of now (H8)
    if trade.close_retry_at is None:
        trade = pause(trade, way, latest, moment)
        trade, more = _look_again(trade, way)
        commands += [*more, *_tell_failing(trade, way, latest)]
        if in_slices:
            commands.append(ReadBook())
        if is_blocked:
            commands.append(ReadCover(side=way.side))
    due = trade.close_retry_at or moment.now
    if cover is not None and cover.is_whole and policy is ForeignOrdersPolicy.CANCEL:
        return trade, [*commands, CancelForeign(tell_foreign(trade, cover, "they are being canceled"))]
    if moment.now < due:
        return trade, [*commands, WakeAt(due)]
    if way.leads_back and not trade.is_accounted:
        return trade, [*commands, Account()]  # somebody else may have taken it back
    is_known = moment.room is not None and moment.room.at >= due - _BOOK_FRESH
    if in_slices and not is_known and moment.now < due + READ_PATIENCE:
        return trade, [*commands, ReadBook(), WakeAt(due + READ_PATIENCE)]
    if is_blocked and cover is None and moment.now < due + READ_PATIENCE:
        return trade, [*commands, ReadCover(side=way.side), WakeAt(due + READ_PATIENCE)]
    if cover is not None and cover.is_whole:
        trade, more = _take_off_against_foreign(trade, way, cover, moment, policy)
    else:
        trade, more = take_off(trade, way, moment, moment.room if in_slices and is_known else None)
    return trade, commands + more


def _look_again(trade: Trade, way: Way) -> tuple[Trade, list[Command]]:
    if way.leads_back:
        return replace(trade, is_accounted=False), [Account()]
    return trade, [CheckPosition()]


def take_off(
    trade: Trade, way: Way, moment: Moment, room: ExitRoom | None = None, *, at_most: Decimal | None = None
) -> tuple[Trade, list[Command]]:
    """Send the next order: the whole at market or what one order may be, or with ``room`` what the book takes.

    With ``at_most``, what the exchange showed to be held, it is not reduce-only.
    """
    attempt = way.attempts + 1
    key = ClientOrderId(trade.id, way.role, attempt)
    wanted = way.wanted if at_most is None else min(way.wanted, at_most)
    request = OrderRequest(
        symbol=trade.asset,
        side=way.side,
        type=OrderType.MARKET,
        client_order_id=str(key),
        quantity=market_part(wanted, moment.instrument, accepted_at_most(trade), trade.entry_price),
        position_side=trade.position_side,
        reduce_only=trade.position_side is PositionSide.BOTH and at_most is None,
    )
    # of what is not ours a reduce-only order might take a part as well
    may_exceed = request.reduce_only and not way.leads_back
    request = replace(request, quantity=on_step(request.quantity or ZERO, moment.instrument, may_exceed=may_exceed))
    if room is not None:
        part = next_slice(request.side, wanted, room, attempt)
        request = replace(
            request,
            type=OrderType.LIMIT,
            quantity=part.quantity,
            price=part.price,
            time_in_force=TimeInForce.IOC,
        )
    attempts = trade.close_attempts if way.leads_back else attempt
    trade = replace(trade, close_attempts=attempts, close_retry_at=None, is_accounted=False)
    return send(trade, Order(key=key, request=request), OrderTrigger.SUBMIT, moment.now)


def pause(trade: Trade, way: Way, latest: Order, moment: Moment) -> Trade:
    """Wait longer after each attempt, but not when the last one got on."""
    exponent = 0 if latest.executed_quantity > ZERO else max(way.attempts - 1, 0)
    pause_s = min(_FIRST_PAUSE_S * 2**exponent, _LONGEST_PAUSE_S) * (0.5 + moment.chance / 2)
    return replace(trade, close_retry_at=moment.now + timedelta(seconds=pause_s))


def accepted_at_most(trade: Trade) -> Decimal | None:
    """What a market order may be where the exchange's maximum is lower than we know: half of what it refused."""
    at_market = (order for order in trade.orders if order.request.type is OrderType.MARKET)
    refused = [order.quantity for order in at_market if order.refusal_code == ABOVE_MAXIMUM]
    return min(refused) / 2 if refused else None


def _take_off_against_foreign(
    trade: Trade, way: Way, cover: ForeignCover, moment: Moment, policy: ForeignOrdersPolicy
) -> tuple[Trade, list[Command]]:
    """In spite of others' orders that cover it; our stop stays whatever becomes of it (O8, P13)."""
    is_one_way = trade.position_side is PositionSide.BOTH  # in hedge mode no order of the position's can be plainer
    if policy is ForeignOrdersPolicy.PLAIN and is_one_way:
        is_told = sum(order.is_plain for order in trade.orders_of(way.role)) % _ALARM_EVERY != 0
        alert = tell_foreign(trade, cover, PLAIN_INSTEAD)
        trade, commands = take_off(trade, way, moment, at_most=cover.held)
    else:
        is_told = way.attempts % _ALARM_EVERY != 1
        alert = tell_foreign(trade, cover, "cancel them, or close by hand; our exits stay")
        trade, commands = take_off(trade, way, moment)
    return trade, commands if is_told else [alert, *commands]


def tell_foreign(trade: Trade, cover: ForeignCover, what: str) -> Alert:
    """Which orders of others keep us in, and what is done about it."""
    held = f"what is held ({plain(cover.held)})" if cover.side is trade.side.exit_side else "what went too far"
    text = (
        f"{trade.asset}: the exchange takes no reduce-only order for {held} because of orders that are not ours: "
        f"{cover.text}; {what}"
    )
    return Alert(Severity.CRITICAL, "close_blocked", text)


def _tell_failing(trade: Trade, way: Way, latest: Order) -> list[Command]:
    """Louder the longer it lasts: a warning after the second attempt, an alarm after every fifth."""
    is_alarm = way.attempts % _ALARM_EVERY == 0
    if not is_alarm and way.attempts != _WARN_AFTER:
        return []
    what = "open on the other side" if way.leads_back else "open"
    text = (
        f"{trade.asset}: {plain(way.wanted)} still {what} after {way.attempts} attempts to close it "
        f"({latest.refusal_message or latest.state.value}); it is tried on, check the exchange"
    )
    return [Alert(Severity.CRITICAL if is_alarm else Severity.WARNING, "close_failing", text)]


def _fits_otherwise(refused: Order, moment: Moment) -> bool:
    """Whether rules that were read since an order was refused round it to another size."""
    rules = rules_since(refused, moment.room)
    if rules is None or refused.request.type is not OrderType.MARKET:
        return False
    may_exceed = refused.request.reduce_only and refused.role is not OrderRole.TAKE_BACK
    return on_step(refused.quantity, rules, may_exceed=may_exceed) != refused.quantity


def _goes_on_in_slices(latest: Order) -> bool:
    """Whether a market order does not get us out: the book is too thin for it (O5). Refused slices lead back to it."""
    if latest.request.type is OrderType.LIMIT:
        return latest.refusal not in _UNFIT_SLICE
    has_ended_short = latest.state in (OrderState.EXPIRED, OrderState.CANCELED) and latest.remaining > ZERO
    return has_ended_short or latest.refusal is Refusal.LIQUIDITY
