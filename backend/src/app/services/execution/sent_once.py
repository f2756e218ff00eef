"""What is sent once, an entry or a reduction; and again only where the exchange has proven that it was not executed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.domain.errors import NotSent, Refusal, StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement, Refused
from app.domain.trades import Trade, TradeError
from app.services.execution import facts
from app.services.execution.desk_tools import DeskTools
from app.services.execution.sending import stamp_for, transmit

_SIGNED_ANEW = 3
"""How often an order is signed again at most."""


@dataclass(frozen=True, slots=True)
class SentOnce:
    """Sends for one desk, whose ``take`` folds a fact in at once and whose ``trade`` tells a trade as it stands."""

    tools: DeskTools
    take: Callable[[str, facts.Fact], None]
    trade: Callable[[str], Trade | None]

    async def send(
        self, trade_id: str, order: Order, objection: Callable[[], TradeError | None]
    ) -> tuple[Placement, TradeError | None]:
        """Send; refused for its nonce, which proves it not executed, again with another one (scenario L2).

        When many leave together a nonce may be older than the signer's newest hundred. The new one is on record before
        it is used. An entry whose lifetime is over stays refused. ``objection`` tells what has come to speak against
        sending meanwhile; then that is returned beside the outcome.
        """
        tools = self.tools
        lifetime_s = tools.client.entry_lifetime_s if order.role is OrderRole.ENTRY else None
        lasts_until = tools.clock.monotonic() + lifetime_s if lifetime_s else math.inf
        placement = await transmit(tools.client, order)
        for _ in range(_SIGNED_ANEW):
            is_refused = isinstance(placement, Refused) and placement.family is Refusal.CLOCK
            if not is_refused or tools.clock.monotonic() >= lasts_until:
                break
            try:
                signed = await self._signed_anew(trade_id, order)
            except (NotSent, StoreUnavailable):
                break
            if signed is None:
                break
            against = objection()  # the disk may have taken its time
            if against is not None:
                return NeverSent(reason=against.message), against
            order = signed
            placement = await transmit(tools.client, order)
        return placement, None

    async def _signed_anew(self, trade_id: str, order: Order) -> Order | None:
        """The order with a new stamp, on record; None when it is no longer on its way, but in doubt or done.

        Raises:
            NotSent, StoreUnavailable: there is no stamp, or it could not be recorded.
        """
        tools = self.tools
        stamp = stamp_for(tools.client, order.role)
        at, order_id = tools.clock.now(), order.client_order_id
        self.take(trade_id, facts.SignedAnew(at=at, client_order_id=order_id, stamp=stamp))
        await tools.background.caught_up()
        await tools.trades.settled()
        trade = self.trade(trade_id)
        known = trade.order(order_id) if trade is not None else None
        return replace(order, stamp=stamp) if known is not None and known.stamp == stamp else None
