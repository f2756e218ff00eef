"""Funding as the exchange booked it, read for one trade."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from app.domain.funding import funding_of, may_have_funding, span_of
from app.domain.money import ZERO
from app.domain.reports import FillReport
from app.integrations.aster.client import AsterClient

_KIND = "FUNDING_FEE"
_BOOKED_WITHIN = timedelta(hours=1)


async def booked_funding(client: AsterClient, asset: str, fills: Sequence[FillReport]) -> Decimal:
    """What is booked by now for the hours between the first execution and the last, negative when paid.

    All of it is added up anew each time, so that asking again never counts a row twice.

    Raises:
        ExchangeError: it could not be read.
    """
    if not may_have_funding(fills):
        return ZERO
    first, last = span_of(fills)
    return funding_of(fills, await client.income(asset, _KIND, first, last + _BOOKED_WITHIN))
