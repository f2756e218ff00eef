"""Funding: what a position paid or got on the full hours at which it was held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.reports import FillReport, IncomeReport

LOOKS = 3
"""How often it is looked for once a trade is over, since the exchange books it seconds after the hour."""


def may_have_funding(fills: Sequence[FillReport]) -> bool:
    """Whether a full hour lies between the first execution and the last."""
    times = [fill.time for fill in fills]
    return bool(times) and _hour(min(times)) != _hour(max(times))


def funding_of(fills: Sequence[FillReport], rows: Iterable[IncomeReport]) -> Decimal:
    """What of the rows belongs to the hours between the first execution and the last, negative when paid.

    A row belongs to the full hour before it.
    """
    first, last = min(fill.time for fill in fills), max(fill.time for fill in fills)
    return sum((row.amount for row in rows if first < _hour(row.time) <= last), start=ZERO)


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)
