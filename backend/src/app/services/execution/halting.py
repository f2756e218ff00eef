"""The kill switch: while it is on, no entry leaves; exits go on as ever. It survives restarts (contract, section 9)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.db.port import Landing
from app.domain.errors import ErrorCode, StoreUnavailable
from app.domain.events import Event, EventType
from app.domain.ports import Clock
from app.repositories.flags import FlagRepository
from app.repositories.readable import MALFORMED
from app.schemas.fields import iso
from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from app.services.execution.risk import RiskRefused

log = structlog.get_logger(__name__)

_RECORD_PATIENCE_S = 2.0
_EMERGENCIES = 3
EMERGENCY_WINDOW = timedelta(minutes=10)
"""So many emergency closes within this time stop new entries: whatever makes them fail will make the next one fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why and since when nothing is opened; ``is_automatic`` when the service stopped by itself."""

    reason: str
    since: datetime
    is_automatic: bool
    flatten: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "reason": self.reason,
            "since": iso(self.since),
            "is_automatic": self.is_automatic,
            "flatten": self.flatten,
        }


def _read(kept: Mapping[str, Any]) -> Halt:
    return Halt(**{**kept, "since": datetime.fromisoformat(kept["since"])})


class KillSwitch:
    """One account's switch."""

    def __init__(self, account_id: str, flags: FlagRepository, narrator: Narrator, clock: Clock) -> None:
        self._flag = f"halt:{account_id}"
        self._flags = flags
        self._narrator = narrator
        self._clock = clock
        self.current: Halt | None = None

    async def load(self) -> None:
        """Take over what the record says. A halt that is there and can't be read is a halt.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        try:
            kept = await self._flags.get(self._flag)
            self.current = None if kept is None else _read(kept)
        except MALFORMED as error:
            log.warning("halt.unreadable", flag=self._flag, error=str(error))
            reason = "a halt is on record that this program can't read"
            self.current = Halt(reason=reason, since=self._clock.now(), is_automatic=True, flatten=False)

    @property
    def refusal(self) -> RiskRefused | None:
        """The answer to every entry, while halted."""
        if self.current is None:
            return None
        text = f"halted: {self.current.reason}; an operator must resume"
        return RiskRefused(code=ErrorCode.HALTED, message=text)

    async def turn_on(self, reason: str, *, flatten: bool = False) -> Halt:
        """Halt on an operator's wish; in force at once, and on record when this returns, where the disk allows."""
        halt = Halt(reason=reason, since=self._clock.now(), is_automatic=False, flatten=flatten)
        await self._settle(self._set(halt, ()))
        return halt

    def trip(self, reason: str) -> None:
        """Halt by ourselves, loudly; in force at once. Nothing happens when halted already (scenario P9)."""
        if self.current is not None:
            return
        alert = Alert(Severity.CRITICAL, "halted", f"no more entries: {reason}; look into it, then resume")
        halt = Halt(reason=reason, since=self._clock.now(), is_automatic=True, flatten=False)
        self._set(halt, (self._narrator.alert(alert),))

    async def turn_off(self) -> None:
        """Resume. Nothing happens when not halted."""
        if self.current is None:
            return
        event = self._narrator.event(EventType.RESUMED, {"was": self.current.as_dict()})
        self.current = None
        await self._settle(self._flags.lower_flag(self._flag, (event,)))

    def _set(self, halt: Halt, events: tuple[Event, ...]) -> Landing | None:
        self.current = halt
        told = self._narrator.event(EventType.HALTED, halt.as_dict())
        try:
            return self._flags.raise_flag(self._flag, halt.as_dict(), (told, *events))
        except StoreUnavailable as error:  # it is in force all the same
            log.warning("halt.not_recorded", error=str(error))
            return None

    async def _settle(self, landing: Landing | None) -> None:
        if landing is not None:
            with contextlib.suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(_RECORD_PATIENCE_S):
                    await asyncio.shield(landing)


class EmergencyWatch:
    """Counts emergency closes; each trade once."""

    def __init__(self) -> None:
        self._seen: deque[tuple[datetime, str]] = deque()

    def load(self, emergencies: Iterable[tuple[datetime, str]]) -> None:
        """Take over when, and of which trades, the record tells."""
        self._seen.extend(sorted(emergencies))

    def note(self, trade_id: str, now: datetime) -> str | None:
        """Count one; the reason to halt once there were too many within the window."""
        while self._seen and self._seen[0][0] <= now - EMERGENCY_WINDOW:
            self._seen.popleft()
        if any(trade_id == known for _, known in self._seen):
            return None
        self._seen.append((now, trade_id))
        if len(self._seen) < _EMERGENCIES:
            return None
        minutes = EMERGENCY_WINDOW.total_seconds() / 60
        return f"{len(self._seen)} positions had to be closed in an emergency within {minutes:g} minutes"


_REFUSED_ACCOUNTS: Mapping[int, tuple[str, str]] = {
    -4087: ("the account may only reduce positions", "ask the exchange's support why"),
    -4088: ("the account may not place orders", "ask the exchange's support why"),
    -4402: ("the exchange does not serve this region", "look where requests leave from, and at the exchange's terms"),
    -4403: ("the exchange does not serve this region", "look where requests leave from, and at the exchange's terms"),
}
"""What is refused for the account or the region, with the fix: another key would be refused as well."""


def refused_access(message: str, code: int | None) -> str:
    """The reason of a halt when the exchange refuses who we are (scenarios L6, L8)."""
    what, fix = _REFUSED_ACCOUNTS.get(
        code or 0, ("the exchange refuses our key or signature", "renew the key or its permissions")
    )
    return f"{what}: {message}" + (f" ({code})" if code is not None else "") + f"; {fix}"
