"""The UTC day, which daily limits go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class DayResult:
    """What an account has realised since midnight UTC, losses negative.

    ``dollars`` is the value of what can be valued; ``unvalued`` is the rest, by asset, in units of the asset.
    """

    dollars: Decimal
    unvalued: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def unvalued_losses(self) -> list[str]:
        """Assets in which the account lost something that the exchange gives no price for."""
        return sorted(asset for asset, amount in self.unvalued.items() if amount < 0)


def midnight(now: datetime) -> datetime:
    """When the UTC day of an aware UTC time began."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def until_tomorrow_s(now: datetime) -> float:
    """Seconds until the next UTC day."""
    return (midnight(now) + timedelta(days=1) - now).total_seconds()
