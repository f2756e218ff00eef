"""Exposures: what is held and on its way on an asset, as a wish for it is judged against."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from app.domain.parts import opening
from app.domain.trades import Trade
from app.services.execution.desk_tools import DeskTools, is_held
from app.services.execution.planning import EntryWish
from app.services.execution.risk import Exposure, notional_of


class Flips(Protocol):
    """Who knows what is to be closed for an entry on the other side."""

    def flips(self, trade_id: str, own: str | None = None) -> bool:
        """Whether a trade is about to be closed for an entry the other way, but that of the decision ``own``."""

    def keeps_free_for_another(self, decision_id: str) -> bool:
        """Whether the asset was made free for the entry of another decision, which is about to follow."""


def exposure_for(
    wish: EntryWish,
    active: Collection[Trade],
    flips: Flips,
    tools: DeskTools,
    last_activity: datetime | None,
    order_id: str | None,
) -> Exposure:
    """What a wish is judged against, at this moment.

    Args:
        wish: for the asset.
        active: our trades on it that are not ended.
        flips: what is about to be closed there.
        tools: what all desks share.
        last_activity: when the asset was last traded, as far as ended trades tell.
        order_id: of the wish's own order, where that is about to leave. Neither it counts nor the parts behind it; what
            earlier parts of it have brought in does, and is no other position.
    """
    asset = wish.item.asset
    own = next((trade for trade in active if order_id in {part.client_order_id for part in opening(trade)}), None)
    others = [trade for trade in active if trade is not own]
    has_begun = own is not None and is_held(own)
    reserved = (at for trade in others for at in (trade.created_at, trade.last_entry_at))
    notional = notional_of(active, tools.market.prices.last_mark(asset), without=order_id)
    is_taken = bool(others) or flips.keeps_free_for_another(wish.decision_id)
    held = (trade for trade in active if is_held(trade) and not flips.flips(trade.id, wish.decision_id))
    return Exposure(
        has_position=is_taken or (not has_begun and tools.has_external_position(asset)),
        has_unknown_order=any(trade.has_unknown_order for trade in others),
        last_activity=max(filter(None, (last_activity, *reserved)), default=None),
        notional_by_asset={**tools.other_exposure(asset), asset: notional},
        trade=next(held, None),
        is_closable=bool(others),
        realised_today=tools.realised_today(),
        exit_places=tools.market.exit_places(asset),
    )
