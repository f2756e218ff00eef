"""Conditional orders that wait for a price, indexed so that a tick looks only at those it fires.

Rules are asterdex-facts.md section 6: STOP* BUY at or above, SELL at or below the stop price;
TAKE_PROFIT* the other way round; trailing stops follow the extreme since activation.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from decimal import Decimal

from aster_sim.core.numbers import ONE, ZERO
from aster_sim.core.orders import BUY, STOP, STOP_MARKET, TRAILING, Order

_PERCENT = Decimal("0.01")


def fires_rising(order_type: str, side: str) -> bool:
    """Whether an order waits for the price to rise to its stop price."""
    return (order_type in {STOP, STOP_MARKET}) == (side == BUY)


def reached(order_type: str, side: str, stop_price: Decimal, price: Decimal) -> bool:
    """Whether the trigger condition holds at a price."""
    return price >= stop_price if fires_rising(order_type, side) else price <= stop_price


class TriggerIndex:
    """The waiting conditional orders of one symbol."""

    __slots__ = ("_falling", "_rising", "_trailing")

    def __init__(self) -> None:
        self._rising: dict[str, list[tuple[Decimal, int, Order]]] = {}
        self._falling: dict[str, list[tuple[Decimal, int, Order]]] = {}
        self._trailing: dict[int, Order] = {}

    def _list(self, order: Order) -> list[tuple[Decimal, int, Order]]:
        lists = self._rising if fires_rising(order.type, order.side) else self._falling
        return lists.setdefault(order.working_type, [])

    @staticmethod
    def _key(order: Order) -> tuple[Decimal, int]:
        rising = fires_rising(order.type, order.side)
        return (order.stop_price if rising else -order.stop_price, order.order_id)

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._trailing or any(self._rising.values()) or any(self._falling.values()))

    def add(self, order: Order) -> None:
        """Start waiting."""
        if order.type == TRAILING:
            self._trailing[order.order_id] = order
        else:
            insort(self._list(order), (*self._key(order), order))

    def remove(self, order: Order) -> None:
        """Stop waiting; ``order.type`` must still be the conditional one."""
        if order.type == TRAILING:
            self._trailing.pop(order.order_id, None)
            return
        waiting = self._list(order)
        at = bisect_left(waiting, self._key(order))
        if at < len(waiting) and waiting[at][2] is order:
            del waiting[at]

    def due(self, working_type: str, price: Decimal) -> list[Order]:
        """Orders whose condition holds at a price, in the order in which a move there reaches them."""
        found: list[Order] = []
        for stop, _, order in self._rising.get(working_type, ()):
            if stop > price:
                break
            found.append(order)
        for negated, _, order in self._falling.get(working_type, ()):
            if -negated < price:
                break
            found.append(order)
        return found

    def trailing_due(self, working_type: str, price: Decimal) -> tuple[list[Order], list[Order]]:
        """Let the trailing stops see a price; those that fire at it, and those whose extreme it has moved."""
        due: list[Order] = []
        moved: list[Order] = []
        for order in self._trailing.values():
            if order.working_type != working_type:
                continue
            before = order.trail_extreme
            if _trail(order, price):
                due.append(order)
            if order.trail_extreme != before:
                moved.append(order)
        return due, moved

    def next_stop(self, start: Decimal, end: Decimal) -> Decimal | None:
        """The first trigger price strictly between two prices on the way from one to the other."""
        if end > start:
            firsts = [stop for lists in self._rising.values() for stop in _first(lists, start)]
            firsts += [turn for turn in self._turns(buys=True) if turn > start]
            return min((stop for stop in firsts if stop < end), default=None)
        firsts = [-negated for lists in self._falling.values() for negated in _first(lists, -start)]
        firsts += [turn for turn in self._turns(buys=False) if turn < start]
        return max((stop for stop in firsts if stop > end), default=None)

    def _turns(self, *, buys: bool) -> list[Decimal]:
        """Where the active trailing stops of a side fire if the price turns now."""
        return [_turn(order) for order in self._trailing.values() if order.buys == buys and order.trail_extreme]


def _turn(order: Order) -> Decimal:
    rate = order.callback_rate * _PERCENT
    return order.trail_extreme * (ONE + rate if order.buys else ONE - rate)


def _first(waiting: list[tuple[Decimal, int, Order]], beyond: Decimal) -> list[Decimal]:
    """The first key above ``beyond``, as a list of at most one."""
    at = next((at for at, entry in enumerate(waiting) if entry[0] > beyond), None)
    return [] if at is None else [waiting[at][0]]


def _trail(order: Order, price: Decimal) -> bool:
    """Advance a trailing stop by one price; whether it fires.

    ``trail_extreme`` is the lowest (BUY) or highest (SELL) price since activation, zero before.
    """
    buys = order.buys
    if not order.trail_extreme:
        activation = order.activation_price
        if activation and not (price <= activation if buys else price >= activation):
            return False
        order.trail_extreme = price
        return False
    order.trail_extreme = min(order.trail_extreme, price) if buys else max(order.trail_extreme, price)
    turn = _turn(order)
    return turn > ZERO and (price >= turn if buys else price <= turn)
