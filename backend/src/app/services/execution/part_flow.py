"""The flow of an entry's further parts: judged again, on record, then sent once, each like the first (scenario O7)."""

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
from app.services.execution.planning import EntryPlan
from app.services.execution.send_time import late_objection

if TYPE_CHECKING:
    from app.services.execution.desk import Desk

_HELD = (TradeStatus.PROTECTING, TradeStatus.OPEN)


class PartFlow:
    """Sends further parts of entries on the asset of one desk. What a dead process had planned is not sent."""

    def __init__(self, desk: Desk, tools: DeskTools) -> None:
        self._desk = desk
        self._tools = tools
        self._plans: dict[str, EntryPlan] = {}

    def expect(self, plan: EntryPlan, further: Iterable[Order]) -> None:
        """Remember what the parts are for that follow a first one."""
        self._plans = {key: known for key, known in self._plans.items() if self._desk.knows(key.split(".")[1])}
        self._plans |= {part.client_order_id: plan for part in further}

    async def send(self, trade_id: str, order: Order) -> None:
        """Send a part whose intent was just handed to the record, unless something speaks against it by now."""
        objection = functools.partial(self._objection, trade_id, order)
        once = self._desk.once
        placement: Placement
        try:
            await self._tools.trades.settled()
        except StoreUnavailable as error:
            placement = NeverSent(reason=f"it could not be recorded: {error}")
        else:
            against = objection() or await once.until_there_is_room(trade_id, objection)
            if against is not None:
                placement = NeverSent(reason=against.message)
            else:
                placement, _ = await once.send(trade_id, order, objection)
        at, order_id = self._tools.clock.now(), order.client_order_id
        self._desk.learn(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement))

    def _objection(self, trade_id: str, order: Order) -> TradeError | None:
        plan, trade = self._plans.get(order.client_order_id), self._desk.trade(trade_id)
        if plan is None or trade is None or trade.status not in _HELD or trade.close_reason is not None:
            text = "the position is on its way out, or the process that planned this part is gone"
            return TradeError(code=ErrorCode.POSITION_ABSENT, message=text)
        return late_objection(self._tools, plan)
