"""Tells people when the database takes no writes, and when it does again (scenario C2).

The first can't be recorded, so it goes to the channels directly; the second is recorded, and says how long it took.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from app.db.port import Health
from app.domain.errors import StoreUnavailable
from app.domain.ports import Clock
from app.services.execution.commands import Alert, Severity

log = structlog.get_logger(__name__)

_LOOK_S = 0.25
_NOTABLE_S = 1.0
"""Shorter trouble, such as a lock that somebody held for a moment, is in the log and nowhere else."""


class OutageWatch:
    """Looks at the database's health, as long as it runs.

    Args:
        may_send: whether requests may leave: a database that only we can't reach may have a new owner of our accounts.
        tell: sends an alert to people without recording it.
        record: records one; it may land late.
    """

    def __init__(
        self,
        clock: Clock,
        health: Callable[[], Health],
        may_send: Callable[[], bool],
        tell: Callable[[Alert], object],
        record: Callable[[Alert], object],
    ) -> None:
        self._clock = clock
        self._health = health
        self._may_send = may_send
        self._tell = tell
        self._record = record
        self._began: tuple[float, datetime] | None = None
        self._told: str | None = None
        self._is_told_silent = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._look()
            await self._clock.sleep(_LOOK_S)

    def _look(self) -> None:
        reason, may_send = self._health().reason, self._may_send()
        now = self._clock.monotonic()
        if reason is None and may_send:
            self._end(now)
            return
        reason = reason or "it has not answered for longer than the lease on the accounts lasts"
        if self._began is None:
            self._began = now, self._clock.now()
        if self._told is None and now - self._began[0] >= _NOTABLE_S:
            self._told = reason
            if may_send:
                text = f"no entries are sent, exits go on, because the database takes no writes: {reason}"
                self._tell(Alert(Severity.CRITICAL, "database_unavailable", text))
        if self._told is not None and not may_send and not self._is_told_silent:
            self._is_told_silent = True
            self._tell(self._silence(reason))

    def _silence(self, reason: str) -> Alert:
        text = (
            "nothing is sent, exits included, because the database does not tell whether another process trades the "
            f"accounts by now: {reason}; positions keep what rests on the book: close by hand at the exchange if needed"
        )
        return Alert(Severity.CRITICAL, "database_unavailable", text)

    def _end(self, now: float) -> None:
        began, told = self._began, self._told
        self._began = self._told = None
        self._is_told_silent = False
        if began is None or told is None:
            return
        since = began[1].isoformat(timespec="seconds")
        text = f"the database took no writes for {now - began[0]:.1f} s since {since}, and does again; it was: {told}"
        try:
            self._record(Alert(Severity.WARNING, "database_recovered", text))
        except StoreUnavailable as error:
            log.warning("outage.not_recorded", error=str(error))
