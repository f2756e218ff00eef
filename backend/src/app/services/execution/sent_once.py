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
from app.integrations.aster.priorities import ExitsToCome
from app.services.execution import facts
from app.services.execution.desk_tools import DeskTools
from app.services.execution.outcomes import internal_error
from app.services.execution.sending import stamp_for, transmit

_SIGNED_ANEW = 3
"""How often an order is signed again at most."""
_LOOK_S = 1.0
"""An entry that waits for room looks so often whether it may still be sent."""


@dataclass(frozen=True, slots=True)
class SentOnce:
    """Sends for one desk, whose ``take`` folds a fact in at once and whose ``trade`` tells a trade as it stands."""

    tools: DeskTools
    take: Callable[[str, facts.Fact], None]
    trade: Callable[[str], Trade | None]

    async def until_there_is_room(self, trade_id: str, objection: Callable[[], TradeError | None]) -> TradeError | None:
        """Wait until the exchange's limits have room for an entry and for its exits (scenario L7).

        Without it a burst of entries would use up what their own stops need. Returns what has come to speak against the
        entry meanwhile, its age for one; None when room is kept for it.
        """
        tools, began_at = self.tools, self.tools.clock.monotonic()
        while True:
            wait_s = tools.client.keep_room_for_entry(trade_id, self._exits_of(trade_id))
            if wait_s is None:
                return None
            await tools.clock.sleep(min(wait_s, _LOOK_S))
            against = objection()
            if against is not None:
                waited_s = tools.clock.monotonic() - began_at
                text = f"the exchange's rate limit left no room for it and its exits for {waited_s:.1f} s, and then: "
                return replace(against, message=text + against.message)

    def _exits_of(self, trade_id: str) -> ExitsToCome:
        trade = self.trade(trade_id)
        roles = {leg.role for leg in trade.legs} if trade is not None else set()
        for change in trade.adjustments if trade is not None else ():
            roles |= {leg.role for leg in change.legs} if change.is_pending else set()
        targets = int(OrderRole.TAKE_PROFIT in roles)
        return ExitsToCome(stops=len(roles) - targets, targets=targets)

    async def send(
        self, trade_id: str, order: Order, objection: Callable[[], TradeError | None]
    ) -> tuple[Placement, TradeError | None]:
        """Send when its turn has come; refused for its nonce, which proves it not executed, again with another (L2).

        A nonce may be older than the signer's newest hundred by the time that it leaves: then another one is on record
        before it is used, and so it is for one that was refused. An entry whose lifetime is over stays refused.
        ``objection`` tells what has come to speak against sending meanwhile; then that is returned beside the outcome.
        """
        tools = self.tools
        lifetime_s = tools.client.entry_lifetime_s if order.role is OrderRole.ENTRY else None
        lasts_until = tools.clock.monotonic() + lifetime_s if lifetime_s else math.inf
        placement: Placement = NeverSent(reason="it could not be signed anew, with that on record")
        was_refused = False
        for _ in range(1 + _SIGNED_ANEW):
            async with tools.client.turn(order.request):
                try:
                    signed = await self._freshly_signed(trade_id, order, was_refused=was_refused)
                    against = objection()  # turn and disk may have taken their time
                except (NotSent, StoreUnavailable):
                    break
                except Exception:  # it has not left: that is told, and the supervisor tells of the bug
                    self._tell_broken(trade_id, order, placement)
                    raise
                if signed is None:
                    break
                if against is not None:
                    return NeverSent(reason=against.message), against
                order = signed
                placement = await transmit(tools.client, order)
            was_refused = isinstance(placement, Refused) and placement.family is Refusal.CLOCK
            if not was_refused or tools.clock.monotonic() >= lasts_until:
                break
        return placement, None

    def _tell_broken(self, trade_id: str, order: Order, placement: Placement) -> None:
        error = internal_error() if isinstance(placement, NeverSent) else None
        at, order_id = self.tools.clock.now(), order.client_order_id
        self.take(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement, error=error))

    async def _freshly_signed(self, trade_id: str, order: Order, *, was_refused: bool) -> Order | None:
        """The order with a stamp that the exchange will take, on record; None when it is in doubt or done by now.

        Raises:
            NotSent, StoreUnavailable: there is no stamp, or it could not be recorded.
        """
        tools, order_id = self.tools, order.client_order_id
        for _ in range(_SIGNED_ANEW):
            if order.stamp is not None and not was_refused and tools.client.is_fresh(order.stamp):
                break
            stamp, at = stamp_for(tools.client, order.role), tools.clock.now()
            signed = facts.SignedAnew(at=at, client_order_id=order_id, stamp=stamp, was_refused=was_refused)
            self.take(trade_id, signed)
            was_refused = False
            await tools.background.caught_up()
            await tools.trades.settled()
            trade = self.trade(trade_id)
            known = trade.order(order_id) if trade is not None else None
            if known is None or known.stamp != stamp:
                return None
            order = replace(order, stamp=stamp)
        return order
