"""The day's result: what the account has realised since midnight UTC, as the exchange booked it (contract, section 9).

Profit and loss, commission, funding and what a liquidation took come from the exchange's income history, in whatever
asset; each counts by its value in dollars. Between two reads, executions that the stream shows count too, each once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from app.domain.days import DayResult, midnight
from app.domain.errors import ExchangeError
from app.domain.money import ZERO
from app.domain.ports import Clock
from app.domain.reports import FillReport, IncomeReport
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.services.execution.asset_values import AssetValues

log = structlog.get_logger(__name__)

_KINDS = frozenset({"REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR"})
_INTERVAL_S = 30.0
_SHORTEST_INTERVAL_S = 5.0
"""An income read weighs a lot (30); executions count from the stream meanwhile."""
_TRUSTED_FOR_S = 300.0
_OVERLAP = timedelta(minutes=1)
"""Rows are booked a little late, and out of order."""


class DailyResult:
    """Keeps one account's realised result of the present day. Reads nothing until :meth:`keep_fresh` runs."""

    def __init__(self, client: AsterClient, clock: Clock, values: AssetValues) -> None:
        self._client = client
        self._values = values
        self._clock = clock
        self._rows: dict[tuple[str, ...], IncomeReport] = {}
        self._unbooked: dict[tuple[str, str], FillReport] = {}
        self._read_at: float | None = None
        self._wanted = asyncio.Event()
        self._known = asyncio.Event()

    @property
    def realised(self) -> DayResult | None:
        """Since midnight; None while the exchange has not told it lately."""
        if self._read_at is None or self._clock.monotonic() - self._read_at > _TRUSTED_FOR_S:
            return None
        dollars, unvalued = ZERO, dict[str, Decimal]()
        for asset, amount in self._by_asset(midnight(self._clock.now())).items():
            value = self._values.in_dollars(asset)
            if value is not None:
                dollars += amount * value
            elif amount:
                unvalued[asset] = amount
        return DayResult(dollars, unvalued)

    def _by_asset(self, since: datetime) -> dict[str, Decimal]:
        amounts = defaultdict[str, Decimal](Decimal)
        for row in self._rows.values():
            if row.time >= since:
                amounts[row.asset] += row.amount
        for fill in self._unbooked.values():
            if fill.time >= since:
                amounts[self._values.margin_asset(fill.symbol)] += fill.realised_pnl
                amounts[fill.commission_asset] -= fill.commission
        return amounts

    def learn_fill(self, fill: FillReport) -> None:
        """Count an execution that the stream shows, until it is booked."""
        if self._read_at is None:
            return  # nobody asks, or the first read is still to come and will show it
        if (fill.symbol, str(fill.exchange_trade_id)) not in self._booked():
            self._unbooked[fill.symbol, str(fill.exchange_trade_id)] = fill
        self.request()

    def request(self) -> None:
        """Ask for a read soon: money has moved."""
        self._wanted.set()

    def hear(self, trade: Trade) -> None:
        """A trade has changed; its end has moved money."""
        if trade.is_ended:
            self.request()

    async def keep_fresh(self) -> None:
        """Read at once, then whenever money has moved, and at the latest after half a minute."""
        while True:
            self._wanted.clear()
            try:
                await self.read()
            except ExchangeError as error:  # a failed read says nothing; what was known counts for a while
                log.warning("daily_result.not_read", error=str(error))
            await self._clock.sleep(_SHORTEST_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S - _SHORTEST_INTERVAL_S):
                    await self._wanted.wait()

    async def until_known(self) -> None:
        """Wait for the first read."""
        await self._known.wait()

    async def read(self) -> None:
        """Read what was booked since the last read, or since midnight.

        Raises:
            ExchangeError: the exchange could not be read; nothing was concluded.
        """
        read_at, begun_at = self._clock.monotonic(), self._clock.now()
        day = midnight(begun_at)
        newest = max((row.time for row in self._rows.values()), default=day)
        rows = await self._client.income(since=max(day, newest - _OVERLAP))
        kept = [*self._rows.values(), *rows]
        self._rows = {
            (row.transfer_id, row.kind, row.symbol, row.exchange_trade_id, row.asset): row
            for row in kept
            if row.time >= day and row.kind in _KINDS
        }
        booked = self._booked()
        self._unbooked = {
            name: fill
            for name, fill in self._unbooked.items()
            if name not in booked and fill.time >= begun_at - _OVERLAP  # later than that it has nothing to book
        }
        self._read_at = read_at
        self._known.set()

    def _booked(self) -> set[tuple[str, str]]:
        return {(row.symbol, row.exchange_trade_id) for row in self._rows.values() if row.exchange_trade_id}
