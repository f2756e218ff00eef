"""Exit places: how many conditional orders the exchange still takes on a symbol (its limit is 10 for most).

Whoever placed them, all count. Ours follow our trades and make room for one another, so others' are what is counted
here: by the user stream, and by each reading of the open orders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.reports import ExchangeOrderStatus, OrderReport

_ON_THE_BOOK = (ExchangeOrderStatus.NEW, ExchangeOrderStatus.PARTIALLY_FILLED)


class ForeignConditionals:
    """Conditional orders on the book that belong to no trade of ours."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, set[int]] = {}

    def count(self, symbol: str) -> int:
        """How many places of ``symbol`` they take."""
        return len(self._by_symbol.get(symbol, ()))

    def learn(self, report: OrderReport) -> None:
        """The stream, or a read, describes an order."""
        key = parse_client_order_id(report.client_order_id)
        if key is not None and key.role is not OrderRole.EXTERNAL_STOP:
            return
        known = self._by_symbol.setdefault(report.symbol, set())
        if report.is_conditional and not report.is_triggered and report.status in _ON_THE_BOOK:
            known.add(report.order_id)
        else:
            known.discard(report.order_id)

    def replace(self, open_orders: Iterable[OrderReport], symbols: Collection[str] | None) -> None:
        """Take the open orders of ``symbols``, or of all, as they were just read."""
        for symbol in tuple(self._by_symbol) if symbols is None else symbols:
            self._by_symbol.pop(symbol, None)
        for report in open_orders:
            self.learn(report)
