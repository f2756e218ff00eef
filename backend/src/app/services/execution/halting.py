"""The kill switch: while it is on, no entry leaves; exits go on as ever. It survives restarts (contract, section 9)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.db.port import Landing
from app.domain.errors import ErrorCode, StoreUnavailable
from app.domain.events import Event, EventType
from app.domain.ports import Clock
from app.domain.trades import CloseReason, Trade
from app.repositories.flags import FlagRepository
from app.repositories.readable import MALFORMED
from app.schemas.fields import iso
from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from app.services.execution.risk import RiskRefused
from app.services.execution.supervision import Supervisor

log = structlog.get_logger(__name__)

_RECORD_PATIENCE_S = 2.0
_AGAIN_S = 0.5
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
    is_recorded: bool = True
    """Whether a restart finds it: else it holds for this process only, until the database takes the record."""

    def as_dict(self) -> dict[str, Any]:
        """What is recorded and told, as JSON values."""
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

    def __init__(
        self, account_id: str, flags: FlagRepository, narrator: Narrator, clock: Clock, background: Supervisor
    ) -> None:
        self._flag = f"halt:{account_id}"
        self._flags = flags
        self._narrator = narrator
        self._clock = clock
        self._background = background
        self._current: Halt | None = None
        self._landing: Landing | None = None
        """Of the newest change; None when nothing has changed since the start."""
        self._owed: tuple[Event, ...] = ()

    @property
    def current(self) -> Halt | None:
        """Why and since when nothing is opened; None when entries are."""
        return None if self._current is None else replace(self._current, is_recorded=self._is_recorded)

    async def load(self) -> None:
        """Take over what the record says. A halt that is there and can't be read is a halt.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        try:
            kept = await self._flags.get(self._flag)
            self._current = None if kept is None else _read(kept)
        except MALFORMED as error:
            log.warning("halt.unreadable", flag=self._flag, error=str(error))
            reason = "a halt is on record that this program can't read"
            self._current = Halt(reason=reason, since=self._clock.now(), is_automatic=True, flatten=False)

    @property
    def refusal(self) -> RiskRefused | None:
        """The answer to every entry, while halted."""
        if self._current is None:
            return None
        text = f"halted: {self._current.reason}; an operator must resume"
        return RiskRefused(code=ErrorCode.HALTED, message=text)

    async def turn_on(self, reason: str, *, flatten: bool = False) -> None:
        """Halt on an operator's wish; in force at once, and on record when this returns, where the database allows.

        Where it does not, the halt is recorded as soon as the database takes it (``Halt.is_recorded``).
        """
        self._set(Halt(reason=reason, since=self._clock.now(), is_automatic=False, flatten=flatten), ())
        await self._settle()

    def trip(self, reason: str) -> None:
        """Halt by ourselves, loudly; in force at once. Nothing happens when halted already (scenario P9)."""
        if self._current is not None:
            return
        alert = Alert(Severity.CRITICAL, "halted", f"no more entries: {reason}; look into it, then resume")
        halt = Halt(reason=reason, since=self._clock.now(), is_automatic=True, flatten=False)
        self._set(halt, (self._narrator.alert(alert),))

    async def turn_off(self) -> None:
        """Resume. Nothing happens when not halted."""
        if self._current is None:
            return
        event = self._narrator.event(EventType.RESUMED, {"was": self._current.as_dict()})
        self._current = None
        self._write(event)
        await self._settle()

    def _set(self, halt: Halt, events: tuple[Event, ...]) -> None:
        self._current = halt
        self._write(self._narrator.event(EventType.HALTED, halt.as_dict()), *events)

    def _write(self, *events: Event) -> None:
        """Record what is in force now, with ``events`` and those that the database has not even queued before."""
        owed = (*self._owed, *events)
        try:
            if self._current is None:
                self._landing = self._flags.lower_flag(self._flag, owed)
            else:
                self._landing = self._flags.raise_flag(self._flag, self._current.as_dict(), owed)
            self._owed = ()
        except StoreUnavailable as error:  # it is in force all the same
            if not self._owed:
                log.warning("halt.not_queued", error=str(error))
                self._background.start(self._write_again())
            self._owed = owed

    async def _write_again(self) -> None:
        while self._owed:
            await self._clock.sleep(_AGAIN_S)
            self._write()

    async def _settle(self) -> None:
        """Wait for the record for a moment."""
        landing = self._landing
        if landing is not None:
            await asyncio.wait((landing,), timeout=_RECORD_PATIENCE_S)
        if not self._is_recorded:
            log.critical("halt.not_recorded", flag=self._flag, is_halted=self._current is not None)
            if landing is not None:
                landing.add_done_callback(self._tell_of_record)

    def _tell_of_record(self, landing: Landing) -> None:
        if _has_landed(landing):
            log.warning("halt.recorded", flag=self._flag, is_halted=self._current is not None)

    @property
    def _is_recorded(self) -> bool:
        return not self._owed and (self._landing is None or _has_landed(self._landing))


def _has_landed(landing: Landing) -> bool:
    return landing.done() and not landing.cancelled() and landing.exception() is None


class EmergencyWatch:
    """Counts emergency closes, each trade once; too many within the window stop entries."""

    def __init__(self, clock: Clock, stop_entries: Callable[[str], None]) -> None:
        self._clock = clock
        self._stop_entries = stop_entries
        self._seen: deque[tuple[datetime, str]] = deque()

    def load(self, emergencies: Iterable[tuple[datetime, str]]) -> None:
        """Take over when, and of which trades, the record tells."""
        self._seen.extend(sorted(emergencies))

    def hear(self, trade: Trade) -> None:
        """Count a trade that is closed in an emergency."""
        now = self._clock.now()
        while self._seen and self._seen[0][0] <= now - EMERGENCY_WINDOW:
            self._seen.popleft()
        is_known = any(trade.id == known for _, known in self._seen)
        if trade.close_reason is not CloseReason.EMERGENCY or is_known:
            return
        self._seen.append((now, trade.id))
        if len(self._seen) >= _EMERGENCIES:
            minutes = EMERGENCY_WINDOW.total_seconds() / 60
            text = f"{len(self._seen)} positions had to be closed in an emergency within {minutes:g} minutes"
            self._stop_entries(text)


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
