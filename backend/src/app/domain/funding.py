"""Funding: what a position paid or got on the full hours at which it was held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.reports import FillReport, IncomeReport

LOOKS = 3
"""How often it is looked for once a trade is over, since the exchange books it seconds after the hour."""


def span_of(fills: Sequence[FillReport]) -> tuple[datetime, datetime]:
    """When the first and the last of at least one execution were."""
    times = [fill.time for fill in fills]
    return min(times), max(times)


def may_have_funding(fills: Sequence[FillReport]) -> bool:
    """Whether a full hour lies between the first execution and the last."""
    if not fills:
        return False
    first, last = span_of(fills)
    return _hour(first) != _hour(last)


def funding_of(fills: Sequence[FillReport], rows: Iterable[IncomeReport]) -> Decimal:
    """What of the rows belongs to the hours between the first execution and the last, negative when paid.

    A row belongs to the full hour before it.
    """
    first, last = span_of(fills)
    return sum((row.amount for row in rows if first < _hour(row.time) <= last), start=ZERO)


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)
