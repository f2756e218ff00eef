"""What the exchange holds against us beyond a single request; whoever listens to the client hears of it once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceAsked:
    """429 or 418: nothing at all is sent for ``wait_s`` seconds, by no account of this process (scenario L1)."""

    is_ban: bool
    wait_s: float


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
