"""External positions: what others hold is shown and left alone, or given a stop, as the operator wishes (H2).

The stop closes the whole position, whatever its size, so it needs no resizing. It is ours by its id, belongs to no
trade, follows the entry price, and goes when the position goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from app.domain.errors import Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import BPS, plain
from app.domain.policy import AccountPolicy, ExternalPositionPolicy
from app.domain.reports import (
    Accepted,
    NeverSent,
    OrderReport,
    OrderRequest,
    OrderType,
    Placement,
    PositionReport,
    Refused,
    Unknown,
)
from app.integrations.aster.client import AsterClient
from app.services.execution.commands import Alert, Severity
from app.services.execution.market import Market
from app.services.execution.projection import side_of
from app.services.execution.reconciliation import ExchangeView, protects

log = structlog.get_logger(__name__)

LEFT_ALONE = "shown, not touched"
"""What is done where positions are only tracked."""


@dataclass(kw_only=True)
class ExternalPositions:
    """Carries out ``TES_RECONCILE_EXTERNAL_POSITIONS`` for one account."""

    policy: AccountPolicy
    client: AsterClient
    market: Market
    new_id: Callable[[], str]
    tell: Callable[[Alert, str], None]
    """Raises an alert about an asset."""
    _complained: set[tuple[str, Decimal]] = field(default_factory=set)
    _unsure: set[tuple[str, Decimal]] = field(default_factory=set)
    """Stops whose request got no answer: they may rest."""

    async def look_after(self, row: PositionReport, exchange: ExchangeView) -> str:
        """Give the position its stop where that is wished; returns what was done.

        Raises:
            ExchangeError: the price could not be read.
        """
        bps = self.policy.reconcile.external_stop_bps
        if self.policy.reconcile.external_positions is ExternalPositionPolicy.TRACK or bps is None:
            return LEFT_ALONE
        view = await self.market.view(row.symbol)
        if view is None:
            return "not listed, so no stop can be placed"
        price = view.instrument.price_at_nearest_tick(_stop_price(row, bps))
        standing = [order for order in exchange.open_orders if protects(order, row)]
        keep = next((order for order in standing if order.stop_price == price), None)
        if keep is None:
            placement = await self._place(row, price)
            if not isinstance(placement, Accepted):
                return self._not_placed(row, price, placement)
            keep = placement.report
        self._complained.discard((row.symbol, price))
        self._unsure.discard((row.symbol, price))
        await self._retire([order for order in standing if order.order_id != keep.order_id])
        return f"a stop of ours rests at {plain(price)}"

    async def _place(self, row: PositionReport, price: Decimal) -> Placement:
        key = ClientOrderId(self.new_id(), OrderRole.EXTERNAL_STOP, 1)
        request = OrderRequest(
            symbol=row.symbol,
            side=side_of(row).exit_side,
            type=OrderType.STOP_MARKET,
            client_order_id=str(key),
            stop_price=price,
            position_side=row.position_side,
            close_position=True,
            working_type=self.policy.protection.working_type,
        )
        return await self.client.place_order(request)

    async def _retire(self, orders: Sequence[OrderReport]) -> None:
        """The new stop is confirmed, so that of an earlier entry price may go."""
        for order in orders:
            await self.client.cancel_order(order.symbol, order.client_order_id)

    def _not_placed(self, row: PositionReport, price: Decimal, placement: Placement) -> str:
        if isinstance(placement, Unknown) and (row.symbol, price) not in self._unsure:
            self._unsure.add((row.symbol, price))
            return f"a stop at {plain(price)} was asked for and is not confirmed yet: {placement.reason}"
        why = _reason(placement)
        if isinstance(placement, Refused) and placement.family is Refusal.IMMEDIATE_TRIGGER:
            why = "the price has passed it already"
        text = f"{row.symbol}: the external position has no stop at {plain(price)} ({why}); look after it yourself"
        if (row.symbol, price) not in self._complained:
            self._complained.add((row.symbol, price))
            self.tell(Alert(Severity.WARNING, "external_unprotected", text), row.symbol)
        return f"no stop at {plain(price)}: {why}"


def _stop_price(row: PositionReport, bps: Decimal) -> Decimal:
    """The configured distance from the entry, on the losing side."""
    return row.entry_price * (1 - side_of(row).sign * bps / BPS)


def _reason(placement: Placement) -> str:
    match placement:
        case Refused(message=message, code=code):
            return f"{message} ({code})"
        case NeverSent(reason=reason) | Unknown(reason=reason):
            return reason
        case _:
            return "placed"
