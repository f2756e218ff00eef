"""The flow of an entry's further parts: on record, judged again, then sent once, each like the first (scenario O7)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.domain.errors import ErrorCode, StoreUnavailable
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement
from app.domain.trades import TradeError, TradeStatus
from app.services.execution import facts
from app.services.execution.desk_tools import DeskTools
from app.services.execution.outcomes import internal_error, not_recorded
from app.services.execution.planning import EntryPlan
from app.services.execution.send_time import Cleared

if TYPE_CHECKING:
    from app.services.execution.desk import Desk


class PartFlow:
    """Sends further parts of entries on the asset of one desk. What a dead process had planned is not sent."""

    def __init__(self, desk: Desk, tools: DeskTools) -> None:
        self._desk = desk
        self._tools = tools
        self._plans: dict[str, EntryPlan] = {}

    def expect(self, plan: EntryPlan, further: Iterable[Order]) -> None:
        """Remember what the parts are for that follow a first one."""
        self._plans |= {part.client_order_id: plan for part in further}

    async def send(self, trade_id: str, order: Order) -> None:
        """Send a part whose intent was just handed to the record, unless something speaks against it by now."""
        try:
            cleared = await self._cleared(trade_id, order)
        except StoreUnavailable as error:
            cleared = not_recorded(error)
        except Exception:  # it has not left: what came in before it is kept, and the supervisor tells of the bug
            self._placed(trade_id, order, NeverSent(reason=internal_error().message))
            raise
        if isinstance(cleared, TradeError):
            self._placed(trade_id, order, NeverSent(reason=cleared.message))
            return
        objection = functools.partial(self._objection, trade_id, cleared)
        placement, _ = await self._desk.once.send(trade_id, cleared.order, objection)
        self._placed(trade_id, order, placement)

    async def _cleared(self, trade_id: str, order: Order) -> Cleared | TradeError:
        await self._tools.trades.settled()
        plan = self._plans.pop(order.client_order_id, None)
        gone = self._gone(trade_id)
        if plan is None or gone is not None:
            return gone or internal_error()
        obstacle = await self._tools.market.prepare((order.client_order_id,), plan)
        if obstacle is not None:
            return obstacle
        return self._gone(trade_id) or await self._desk.send_time.approve(plan, order.client_order_id, trade_id, order)

    def _objection(self, trade_id: str, cleared: Cleared) -> TradeError | None:
        return self._gone(trade_id) or self._desk.send_time.objection(cleared)

    def _gone(self, trade_id: str) -> TradeError | None:
        """Whether nothing may be added any more: the position is on its way out, or its exits do not stand."""
        trade = self._desk.trade(trade_id)
        if trade is not None and trade.status is TradeStatus.OPEN and not trade.is_leaving:
            return None
        text = "the position was on its way out, or its exits did not stand, when this part was to leave"
        return TradeError(code=ErrorCode.POSITION_ABSENT, message=text)

    def _placed(self, trade_id: str, order: Order, placement: Placement) -> None:
        at, order_id = self._tools.clock.now(), order.client_order_id
        self._desk.learn(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement))
