"""The UTC day, which daily limits go by."""

from __future__ import annotations

from datetime import datetime, timedelta


def midnight(now: datetime) -> datetime:
    """When the UTC day of an aware UTC time began."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def until_tomorrow_s(now: datetime) -> float:
    """Seconds until the next UTC day."""
    return (midnight(now) + timedelta(days=1) - now).total_seconds()
