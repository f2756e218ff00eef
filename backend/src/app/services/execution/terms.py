"""Terms: the fees and leverage brackets on which the exchange lets us trade an asset, kept at hand (scenario L7).

A fee costs as much weight as twenty orders and changes once a day at most. So it is kept over restarts, and read behind
everything that trades; until it is known, one that is higher than any is assumed: then an entry is refused rather than
one that can't be paid. The brackets of all symbols cost as much as those of one, so all are read at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from app.domain.errors import ExchangeError, StoreUnavailable
from app.domain.money import plain
from app.domain.ports import Clock
from app.domain.reports import LeverageBracket
from app.integrations.aster.client import AsterClient
from app.integrations.aster.priorities import Priority
from app.repositories.flags import FlagRepository
from app.repositories.readable import MALFORMED
from app.schemas.fields import iso

log = structlog.get_logger(__name__)

ASSUMED_FEE = Decimal("0.001")
"""Where the exchange has not told our fee on an asset yet: a multiple of its highest."""
_FEE_WEIGHT = 20
_FEE_SHARE = 0.4
"""How much of the address's weight may be used up when a fee is read."""
_FEE_FRESH = timedelta(days=1)
_BRACKETS_FRESH_S = 3600.0
_BRACKETS_READ_AGAIN_S = 2700.0
_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class TradingTerms:
    """On what terms the exchange lets us trade an asset."""

    taker_fee: Decimal
    brackets: tuple[LeverageBracket, ...]


@dataclass(frozen=True, slots=True)
class _Fee:
    taker: Decimal
    read_at: datetime


class Terms:
    """One account's terms, by asset."""

    def __init__(self, client: AsterClient, clock: Clock, flags: FlagRepository, account_id: str) -> None:
        self._client = client
        self._clock = clock
        self._flags = flags
        self._flag = f"fees:{account_id}"
        self._fees: dict[str, _Fee] = {}
        self._brackets: dict[str, tuple[LeverageBracket, ...]] = {}
        self._brackets_read_at: float | None = None
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Take over the fees that an earlier process read; what can't be read of them is asked for again.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        try:
            self._take_over(await self._flags.get(self._flag) or {})
        except MALFORMED as error:
            log.warning("terms.unreadable", flag=self._flag, error=str(error))

    def _take_over(self, kept: Mapping[str, Any]) -> None:
        for asset, (taker, read_at) in kept.items():
            self._fees[asset] = _Fee(Decimal(taker), datetime.fromisoformat(read_at))

    def at_hand(self, asset: str) -> TradingTerms | None:
        """The terms, unless the brackets are older than an hour."""
        read_at = self._brackets_read_at
        if read_at is None or self._clock.monotonic() - read_at > _BRACKETS_FRESH_S:
            return None
        fee = self._fees.get(asset)
        return TradingTerms(fee.taker if fee else ASSUMED_FEE, self._brackets.get(asset, ()))

    async def read(self, asset: str) -> TradingTerms:
        """The terms of an asset, the brackets read where they are not at hand; the fee is not waited for.

        Raises:
            ExchangeError: they could not be read.
        """
        async with self._reading:  # a burst shares one read
            if self.at_hand(asset) is None:
                await self._read_brackets()
        return self.at_hand(asset) or TradingTerms(ASSUMED_FEE, self._brackets.get(asset, ()))

    async def read_with_fee(self, asset: str) -> TradingTerms:
        """The same with the fee as the exchange tells it, for what is shown to a person. Raises as :meth:`read`."""
        if asset not in self._fees:
            await self._read_fee(asset, Priority.QUERY)
        return await self.read(asset)

    async def keep_warm(self, assets: Callable[[], Iterable[str]]) -> None:
        """Read brackets, and the fees of ``assets``, before they are asked for; never returns."""
        while True:
            try:
                await self._refresh(tuple(assets()))
            except ExchangeError as error:
                log.info("terms.not_read", error=str(error))
            await self._clock.sleep(_PAUSE_S)

    async def _refresh(self, assets: tuple[str, ...]) -> None:
        read_at = self._brackets_read_at
        if read_at is None or self._clock.monotonic() - read_at > _BRACKETS_READ_AGAIN_S:
            await self._read_brackets()
        old_before = self._clock.now() - _FEE_FRESH
        wanted = [asset for asset in assets if asset not in self._fees or self._fees[asset].read_at < old_before]
        try:
            for asset in wanted:
                if self._client.wait_for_room(_FEE_WEIGHT, _FEE_SHARE) > 0:
                    return
                await self._read_fee(asset, Priority.RECONCILIATION)
        finally:
            if wanted:
                self._keep()

    async def _read_brackets(self) -> None:
        self._brackets = dict(await self._client.leverage_brackets())
        self._brackets_read_at = self._clock.monotonic()

    async def _read_fee(self, asset: str, priority: Priority) -> None:
        rate = await self._client.commission_rate(asset, priority)
        self._fees[asset] = _Fee(rate.taker, self._clock.now())

    def _keep(self) -> None:
        kept = {asset: [plain(fee.taker), iso(fee.read_at)] for asset, fee in self._fees.items()}
        try:
            self._flags.raise_flag(self._flag, kept)
        except StoreUnavailable as error:  # it is known as long as this process lives
            log.warning("terms.not_kept", error=str(error))
