"""Troubles: what the exchange holds against the whole account or the whole process, told to a human and acted upon.

A silence that the exchange has asked for outlives the process: who goes on talking is banned for longer (scenario L1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.domain.errors import StoreUnavailable
from app.domain.ports import Clock
from app.domain.troubles import AccessRefused, ClockAstray, SilenceAsked, Trouble
from app.integrations.aster.client import AsterClient
from app.repositories.flags import FlagRepository
from app.repositories.readable import MALFORMED
from app.schemas.fields import iso
from app.services.execution.commands import Alert, Severity
from app.services.execution.halting import KillSwitch, refused_access

log = structlog.get_logger(__name__)

_WORTH_KEEPING_S = 5.0
_LONGEST_SILENCE_S = 3 * 86_400.0
"""The longest ban that the exchange knows (fact sheet, section 8); what is kept beyond it is not believed."""


@dataclass(frozen=True, slots=True)
class TroubleDesk:
    """Hears the client's troubles for one account."""

    client: AsterClient
    flags: FlagRepository
    clock: Clock
    kill_switch: KillSwitch
    tell: Callable[[Alert], None]
    """Raises an alert about the account."""
    place: str
    """Where requests leave from and go to: a silence is asked of that, whichever account hears it."""

    @property
    def _flag(self) -> str:
        return f"silence:{self.place}"

    async def load(self) -> None:
        """Keep the silence that an earlier process was told to, and listen from now on.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        try:
            self._keep_silent(await self.flags.get(self._flag))
        except MALFORMED as error:  # the exchange tells it again at the first request
            log.warning("troubles.unreadable", flag=self._flag, error=str(error))
        self.client.tell_troubles(self.take)

    def _keep_silent(self, kept: Mapping[str, Any] | None) -> None:
        if kept is not None:
            left_s = (datetime.fromisoformat(kept["until"]) - self.clock.now()).total_seconds()
            # a clock that was set back since makes it no longer than it was asked to be
            asked_s: float = kept.get("seconds", _LONGEST_SILENCE_S)
            self.client.keep_silent(max(min(left_s, asked_s, _LONGEST_SILENCE_S), 0))

    def take(self, trouble: Trouble) -> None:
        """Tell of a trouble, and do what it calls for. Never waits."""
        match trouble:
            case SilenceAsked():
                self._silence(trouble)
            case AccessRefused(code=code, message=message):
                self.kill_switch.trip(refused_access(message, code))
            case ClockAstray(moved=moved, offset=offset):
                text = (
                    f"the exchange's clock is {offset.total_seconds():+.1f} s off this machine's and moved by "
                    f"{moved.total_seconds():+.1f} s; requests follow the exchange's, but set this machine's by NTP"
                )
                self.tell(Alert(Severity.WARNING, "clock_astray", text))

    def _silence(self, trouble: SilenceAsked) -> None:
        what = "banned this address" if trouble.is_ban else "refused our requests as too many"
        if trouble.is_firewall:
            what = "answered with a page of its firewall (403), which says nothing of the key"
        text = f"the exchange {what}: nothing is sent for {trouble.wait_s:.0f} s, exits included"
        severity = Severity.CRITICAL if trouble.is_ban or trouble.is_firewall else Severity.WARNING
        self.tell(Alert(severity, "banned" if trouble.is_ban else "rate_limited", text))
        if trouble.wait_s >= _WORTH_KEEPING_S:
            # another account may have been told to be silent for longer
            seconds = max(trouble.wait_s, self.client.silent_for_s)
            until = self.clock.now() + timedelta(seconds=seconds)
            try:
                self.flags.raise_flag(self._flag, {"until": iso(until), "seconds": seconds})
            except StoreUnavailable as error:  # it is kept all the same, as long as this process lives
                log.warning("troubles.silence_not_recorded", error=str(error))
