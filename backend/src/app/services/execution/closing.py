"""Closing on somebody's wish: ask the trade, and wait for its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from app.domain.errors import ErrorCode, StoreUnavailable
from app.domain.money import ZERO
from app.domain.ports import Clock
from app.domain.trades import CloseReason, Trade
from app.repositories.trades import TradeRepository
from app.schemas.decision import Action, AssetDecision
from app.schemas.result import AssetResult
from app.services.execution import facts, results
from app.services.execution.desk import Desk
from app.services.execution.risk import RiskRefused

CLOSE_PATIENCE_S = 30.0
_RECORD_PATIENCE_S = 2.0


class Closer:
    """Closes positions of ours; ``desks`` is by asset."""

    def __init__(self, desks: Mapping[str, Desk], trades: TradeRepository, clock: Clock) -> None:
        self._desks = desks
        self._trades = trades
        self._clock = clock
        self._watchers: dict[str, list[asyncio.Event]] = {}

    def on_ended(self, trade: Trade) -> None:
        """Tell everybody who waits for the trade's end."""
        for watcher in self._watchers.pop(trade.id, []):
            watcher.set()

    async def close(self, asset: str, reason: CloseReason, timeout_s: float | None) -> AssetResult:
        """Close one position; see :meth:`~.service.ExecutionService.close_position`.

        An entry that was given up and came alive beside its successor (scenario U10) is a part of it: the result is
        that of the first which did not end in time, or of the latest.
        """
        desk = self._desks.get(asset)
        trades = [trade for trade in desk.active if trade.entered_quantity > ZERO] if desk else []
        if desk is None or not trades:
            item = AssetDecision(asset=asset, action=Action.CLOSE_POSITION)
            text = f"the service holds no position on {asset}; positions of others are never touched"
            return results.refused(item, RiskRefused(code=ErrorCode.POSITION_ABSENT, message=text))
        ends = []
        for trade in trades:
            ended = asyncio.Event()
            ends.append(ended.wait())
            self._watchers.setdefault(trade.id, []).append(ended)
            desk.learn(trade.id, facts.CloseAsked(at=self._clock.now(), reason=reason))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends), timeout_s)
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            await asyncio.wait_for(self._trades.settled(), _RECORD_PATIENCE_S)
        last = [desk.trade(trade.id) or trade for trade in trades]
        return results.of_close(next((trade for trade in last if not trade.is_ended), last[-1]))

    async def close_all(self, reason: CloseReason) -> list[AssetResult]:
        """Close everything, side by side."""
        assets = sorted(asset for asset, desk in self._desks.items() if any(trade.exposure for trade in desk.active))
        return list(await asyncio.gather(*(self.close(asset, reason, CLOSE_PATIENCE_S) for asset in assets)))
