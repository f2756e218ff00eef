"""What the exchange holds against us beyond a single request; whoever listens to the client hears of it once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceAsked:
    """429, 418 or the firewall: nothing is sent for ``wait_s`` seconds by any account of this process (L1, L8)."""

    is_ban: bool
    wait_s: float
    is_firewall: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRefused:
    """The key, the signature, the agent or a permission was refused on a signed request (scenario L6)."""

    code: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAstray:
    """The exchange's time moved against what we had measured, or the host's wall clock is off it (scenario L2).

    ``moved`` is how far the last sample lies outside of what was possible, ``offset`` exchange minus host.
    """

    moved: timedelta
    offset: timedelta


Trouble = SilenceAsked | AccessRefused | ClockAstray
