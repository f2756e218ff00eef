"""The machine's own clock: the only module of the program that reads time or waits."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """:class:`app.domain.ports.Clock` on the host's time."""

    def now(self) -> datetime:
        """The host's wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long; zero or less yields once."""
        await asyncio.sleep(max(0.0, seconds))
