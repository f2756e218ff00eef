"""Resting limit orders of the venue's clients, in price-time priority, one book per symbol."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import Decimal

from aster_sim.core.orders import RPI, Order


class ClientBook:
    """Both sides of one symbol's client orders: best first, at one price by rank, then the older first.

    An RPI order trades with people at the website and with the crowd behind the synthetic book, never with a
    client of the API: ``retail`` tells for whom a question is asked.
    """

    __slots__ = ("_sequence", "_sides")

    def __init__(self) -> None:
        self._sequence = 0
        self._sides: dict[bool, list[tuple[Decimal, int, int, Order]]] = {True: [], False: []}

    def add(self, order: Order, *, keep_place: bool = False) -> None:
        """Rest an order behind all others at its price, or where it was before when it keeps its place."""
        if not keep_place or not order.book_seq:
            self._sequence += 1
            order.book_seq = self._sequence
        insort(self._sides[order.buys], (*self._key(order), order))

    def remove(self, order: Order) -> None:
        """Take an order out; one that does not rest here is ignored."""
        side = self._sides[order.buys]
        at = bisect_left(side, self._key(order))
        if at < len(side) and side[at][3] is order:
            del side[at]

    def best(self, *, asks: bool, retail: bool) -> Order | None:
        """The first order of a side that somebody can hit."""
        for entry in self._sides[not asks]:
            if retail or entry[3].time_in_force != RPI:
                return entry[3]
        return None

    def orders(self, *, asks: bool) -> Iterator[Order]:
        """All orders of a side, best first."""
        return (entry[3] for entry in self._sides[not asks])

    def empty(self, *, asks: bool) -> bool:
        """Whether a side has no client order."""
        return not self._sides[not asks]

    @staticmethod
    def _key(order: Order) -> tuple[Decimal, int, int]:
        return (-order.price if order.buys else order.price, order.rank, order.book_seq)
