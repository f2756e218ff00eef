"""The account's past: fills and income, paged through completely (scenario H5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from app.domain.errors import Unavailable
from app.domain.reports import FillReport, IncomeReport
from app.integrations.aster import endpoints, wire
from app.integrations.aster.exchange_clock import ms_from_datetime
from app.integrations.aster.forms import form
from app.integrations.aster.gateway import Gateway
from app.integrations.aster.parse import fill_report, income_report
from app.integrations.aster.priorities import Priority

LONGEST_WINDOW_MS = 7 * 24 * 3600 * 1000 - 1
PAGE = 1000
_Row = TypeVar("_Row")

_decode_trades = msgspec.json.Decoder(list[wire.UserTrade]).decode
_decode_income = msgspec.json.Decoder(list[wire.Income]).decode


def windows(since: datetime, until: datetime) -> Iterator[tuple[int, int]]:
    """Milliseconds (start, end), both inclusive, that cover ``since`` to ``until`` in steps below seven days."""
    start, last = ms_from_datetime(since), ms_from_datetime(until)
    while True:
        # The last window reaches into the future, for what happens while we page and for a clock that lags.
        end = start + LONGEST_WINDOW_MS
        yield start, end
        start = end + 1
        if start > last:
            return


async def page_by_id(
    fetch: Callable[[int], Awaitable[list[_Row]]], first_id: int, id_of: Callable[[_Row], int], found: dict[int, _Row]
) -> None:
    """Fetch pages of rows whose id is at least a given one, until a page is not full, into ``found``.

    Raises:
        Unavailable: a page does not lead on; what was found so far may not be all.
    """
    while True:
        page = await fetch(first_id)
        found.update((id_of(row), row) for row in page)
        if len(page) < PAGE:
            return
        following = max(id_of(row) for row in page) + 1
        if following <= first_id:
            raise Unavailable("the exchange repeats a page of its history")
        first_id = following


def _fills(body: bytes) -> list[FillReport]:
    return [fill_report(row) for row in _decode_trades(body)]


class HistoryCalls:
    """The part of :class:`~app.integrations.aster.client.AsterClient` that reads the past."""

    _gateway: Gateway

    async def user_trades(
        self, symbol: str, since: datetime | None = None, from_id: int | None = None
    ) -> list[FillReport]:
        """All fills of a symbol since a time or from a trade id on, by trade id.

        With neither, the most recent ones, at most 1,000.

        Raises:
            ValueError: both are given; the exchange takes only one.
        """
        if since is not None and from_id is not None:
            raise ValueError("user_trades takes since or from_id, not both")
        found: dict[int, FillReport] = {}
        if from_id is not None:
            await self._trades_from(symbol, from_id, found)
        elif since is None:
            found.update((fill.exchange_trade_id, fill) for fill in await self._trades(symbol, []))
        else:
            for start_ms, end_ms in windows(since, await self._gateway.exchange_now()):
                page = await self._trades(symbol, [("startTime", str(start_ms)), ("endTime", str(end_ms))])
                found.update((fill.exchange_trade_id, fill) for fill in page)
                if len(page) >= PAGE:
                    # The rest, whatever its time, follows by id: ids rise with time.
                    await self._trades_from(symbol, max(found) + 1, found)
                    break
        return [found[trade_id] for trade_id in sorted(found)]

    async def _trades_from(self, symbol: str, trade_id: int, found: dict[int, FillReport]) -> None:
        await page_by_id(
            lambda first: self._trades(symbol, [("fromId", str(first))]),
            trade_id,
            lambda fill: fill.exchange_trade_id,
            found,
        )

    async def _trades(self, symbol: str, fields: Sequence[tuple[str, str]]) -> list[FillReport]:
        return await self._gateway.read(
            endpoints.USER_TRADES,
            form([("symbol", symbol), *fields, ("limit", str(PAGE))]),
            _fills,
            priority=Priority.RECONCILIATION,
        )

    async def income(
        self,
        symbol: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[IncomeReport]:
        """Income rows by time: realised PnL, commission, funding, transfers. ``kind`` such as ``FUNDING_FEE``.

        Without ``since``, what the exchange shows by default (the last week), at most 1,000 rows.
        """
        fixed = [(name, value) for name, value in (("symbol", symbol), ("incomeType", kind)) if value is not None]
        if until is not None:
            fixed.append(("endTime", str(ms_from_datetime(until))))
        if since is None:
            return [income_report(row) for row in await self._income(fixed)]
        found: dict[tuple[str, ...], wire.Income] = {}
        start = ms_from_datetime(since)
        while True:
            page = await self._income([*fixed, ("startTime", str(start))])
            found.update((_income_key(row), row) for row in page)
            if len(page) < PAGE:
                break
            # Rows share milliseconds: begin the next page at the last one's, unless this page is nothing else.
            last = max(row.time for row in page)
            start = last if last > start else start + 1
        return [income_report(row) for row in sorted(found.values(), key=lambda row: row.time)]

    async def _income(self, fields: Sequence[tuple[str, str]]) -> list[wire.Income]:
        return await self._gateway.read(
            endpoints.INCOME,
            form([*fields, ("limit", str(PAGE))]),
            _decode_income,
            priority=Priority.RECONCILIATION,
        )


def _income_key(row: wire.Income) -> tuple[str, ...]:
    return (str(row.tran_id), row.income_type, row.symbol, row.asset, str(row.trade_id), str(row.time))
