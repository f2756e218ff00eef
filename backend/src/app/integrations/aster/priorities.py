"""What goes first when the exchange's patience runs short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """The lower, the more important."""

    CLOSE = 0
    PROTECT = 1
    TARGET = 2
    CANCEL = 3
    RECOVERY = 4
    """What a start must know before anything else goes on."""
    QUERY = 5
    ENTRY = 6
    RECONCILIATION = 7


SHARE: Mapping[Priority, float] = {
    Priority.CLOSE: 1.0,
    Priority.PROTECT: 1.0,
    Priority.TARGET: 1.0,
    Priority.CANCEL: 0.95,
    Priority.RECOVERY: 0.95,
    Priority.QUERY: 0.9,
    Priority.ENTRY: 0.85,
    Priority.RECONCILIATION: 0.75,
}
"""How much of a limit may be used up when a request of this priority is let through. The rest is the exits' reserve."""


@dataclass(frozen=True, slots=True)
class ExitsToCome:
    """How many exits follow an entry."""

    stops: int
    targets: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.stops + self.targets
