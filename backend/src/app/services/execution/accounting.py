"""Accounting: what the exchange booked for a trade, and who took what of it (scenarios U7, W6, H5).

The exchange closes by force under ids of its own; only by them can a liquidation be told from a person's hand.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.money import ZERO
from app.domain.reports import FillReport
from app.domain.trades import Trade
from app.services.execution import facts
from app.services.execution.evidence import Evidence
from app.services.execution.plain_close import with_overshoot

_LOOK_BACK = timedelta(minutes=2)
_SETTLED_AFTER_S = 65.0
"""A busy exchange may need tens of seconds to show what it booked (scenario U3)."""
_LOOK_AGAIN_S = 0.5


async def account_for(evidence: Evidence, trade: Trade) -> facts.Accounted:
    """Every execution of the trade as booked, with the ids of orders that the exchange forced, and its funding.

    Where nothing of the entry is known to be executed, the position must agree before that is believed (U7).

    Raises:
        ExchangeError: a read failed; that proves nothing, ask again.
    """
    while True:
        held = await evidence.position(trade) * trade.side.sign if trade.entered_quantity == ZERO else ZERO
        accounted = await evidence.account_for(trade)
        if held <= ZERO or accounted.fills or _is_settled(evidence, trade):
            accounted = await with_overshoot(evidence, trade, accounted)
            return await _with_takers(evidence, trade, accounted)
        await evidence.clock.sleep(_LOOK_AGAIN_S)


def _is_settled(evidence: Evidence, trade: Trade) -> bool:
    """Whether a position without executions of ours has stood for so long that it must be somebody else's."""
    finished_at = trade.entry.finished_at or trade.created_at
    return (evidence.clock.now() - finished_at).total_seconds() > _SETTLED_AFTER_S


async def _with_takers(evidence: Evidence, trade: Trade, accounted: facts.Accounted) -> facts.Accounted:
    """User trades do not name their order's id; the list of orders does.

    An entry of another trade of ours on the other side took a part as well: its execution is on record there, once.
    """
    ours = {order.exchange_order_id for order in trade.orders}
    nameless = [fill for fill in accounted.fills if fill.order_id not in ours and fill.client_order_id is None]
    if not nameless:
        return accounted
    listed = await evidence.client.all_orders(trade.asset, min(fill.time for fill in nameless) - _LOOK_BACK)
    names = {report.order_id: report.client_order_id for report in listed}
    named = [_named(fill, names) for fill in accounted.fills]
    return replace(accounted, fills=tuple(fill for fill in named if not _is_of_another(trade, fill)))


def _is_of_another(trade: Trade, fill: FillReport) -> bool:
    key = parse_client_order_id(fill.client_order_id or "")
    return key is not None and key.trade_id != trade.id and key.role is not OrderRole.EXTERNAL_STOP


def _named(fill: FillReport, names: dict[int, str]) -> FillReport:
    return replace(fill, client_order_id=fill.client_order_id or names.get(fill.order_id))
