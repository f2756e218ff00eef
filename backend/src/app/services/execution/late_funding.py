"""Late funding: it is booked seconds after its hour, when the trade may be over and accounted for (H5).

A trade that was held over a full hour is looked at again: at the next reconciliation, a minute after its end, and at
the reconciliation after that. How many looks are left is on record, so that a restart goes on with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from app.domain.errors import ExchangeError, StoreUnavailable
from app.domain.funding import LOOKS
from app.domain.ports import Clock
from app.domain.trades import Trade, TradeStatus
from app.integrations.aster.client import AsterClient
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.funding import booked_funding

log = structlog.get_logger(__name__)

A_MINUTE_S = 60.0
_LOOK_S = 1.0
_AGAIN_S = 10.0
_WEIGHT = 30
_SHARE = 0.2
"""How much of an address's weight may be used up when funding is looked for: everything else goes first."""
_AFTER_A_MINUTE = 1
"""Looks that are left then: that of the reconciliation which follows."""


class Desk(Protocol):
    """Where the asset's trades are."""

    def revive(self, trade: Trade) -> None:
        """Put an ended trade back in reach."""

    def learn(self, trade_id: str, fact: facts.Fact) -> None:
        """Queue a fact."""


@dataclass(slots=True)
class _Waiting:
    trade: Trade
    looks: int
    minute_at: float
    seen: object


class LateFunding:
    """Looks for the funding of one account's ended trades. ``latest`` is the last reconciliation that succeeded."""

    def __init__(
        self,
        account_id: str,
        client: AsterClient,
        trades: TradeRepository,
        clock: Clock,
        desk: Callable[[str], Desk],
        latest: Callable[[], object],
    ) -> None:
        self._account_id = account_id
        self._client = client
        self._trades = trades
        self._clock = clock
        self._desk = desk
        self._latest = latest
        self._waiting: dict[str, _Waiting] = {}
        self._has_news = asyncio.Event()
        self._is_loaded = False

    def hear(self, trade: Trade) -> None:
        """A trade has changed: one that has ended may have funding to come, one that has come back is not over."""
        if trade.status is not TradeStatus.CLOSED or not trade.funding_looks:
            self._waiting.pop(trade.id, None)
        elif trade.id in self._waiting:
            self._waiting[trade.id].trade = trade
        else:
            minute_at = self._clock.monotonic() + A_MINUTE_S
            self._waiting[trade.id] = _Waiting(trade, trade.funding_looks, minute_at, self._latest())
            self._has_news.set()

    async def keep_looking(self) -> None:
        """Look whenever it is due; a read that fails is made again."""
        while not self._is_loaded:
            await self._load()
        while True:
            for waiting in tuple(self._waiting.values()):
                await self._look_if_due(waiting)
            if self._waiting:
                await self._clock.sleep(_LOOK_S)
            else:
                self._has_news.clear()
                await self._has_news.wait()

    async def _load(self) -> None:
        """Take over what a dead process had not finished with."""
        try:
            for trade in await self._trades.awaiting_funding(self._account_id):
                self.hear(trade)
                self._waiting[trade.id].seen = None  # the reconciliation at the start was the next one
            self._is_loaded = True
        except StoreUnavailable as error:
            log.warning("late_funding.not_loaded", error=str(error))
            await self._clock.sleep(_AGAIN_S)

    async def _look_if_due(self, waiting: _Waiting) -> None:
        is_a_minute_on = self._clock.monotonic() >= waiting.minute_at
        is_reconciled = self._latest() is not waiting.seen
        if waiting.looks > _AFTER_A_MINUTE and is_a_minute_on:
            left = _AFTER_A_MINUTE
        elif waiting.looks in (LOOKS, _AFTER_A_MINUTE) and is_reconciled:
            left = waiting.looks - 1
        else:
            return
        await self._clock.sleep(self._client.wait_for_room(_WEIGHT, _SHARE))
        trade = waiting.trade
        try:
            funding = await booked_funding(self._client, trade.asset, trade.fills)
        except ExchangeError as error:
            log.info("late_funding.not_read", asset=trade.asset, error=str(error))
            await self._clock.sleep(_AGAIN_S)
            return
        waiting.looks, waiting.seen = left, self._latest()
        if not left:
            self._waiting.pop(trade.id, None)
        desk = self._desk(trade.asset)
        desk.revive(trade)
        desk.learn(trade.id, facts.FundingBooked(at=self._clock.now(), funding=funding, looks_left=left))
