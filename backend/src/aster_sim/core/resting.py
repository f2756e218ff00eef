"""What an account's limit orders on one symbol add up to, kept as sums so that an order costs the same among many."""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import LIMIT, Order

Side = tuple[str, bool]
"""(position side, whether the orders buy)."""


def side_of(order: Order) -> Side:
    """The side of its symbol that an order stands on."""
    return order.position_side, order.side == "BUY"


def binds(order: Order) -> bool:
    """Whether an order may open exposure at a price of its own."""
    return order.type == LIMIT and not order.closes_only


class RestingSums:
    """Quantity and notional that open limit orders still have to execute, by side; closing orders do not count."""

    __slots__ = ("_counted", "sides")

    def __init__(self) -> None:
        self.sides: dict[Side, tuple[Decimal, Decimal]] = {}
        self._counted: dict[int, tuple[Side, Decimal, Decimal]] = {}

    def count(self, order: Order) -> None:
        """Count an open order with what it has left, in place of what was counted of it before."""
        self.drop(order)
        quantity = order.remaining
        side, notional = side_of(order), quantity * order.price
        self._counted[order.order_id] = (side, quantity, notional)
        whole, value = self.sides.get(side, (ZERO, ZERO))
        self.sides[side] = (whole + quantity, value + notional)

    def drop(self, order: Order) -> None:
        """Count an order no longer; one that was not counted is ignored."""
        counted = self._counted.pop(order.order_id, None)
        if counted is None:
            return
        side, quantity, notional = counted
        whole, value = self.sides[side]
        self.sides[side] = (whole - quantity, value - notional)

    def quantity(self, *, buys: bool) -> Decimal:
        """What is left of all that buys, or of all that sells."""
        return sum((whole for side, (whole, _) in self.sides.items() if side[1] == buys), ZERO)
