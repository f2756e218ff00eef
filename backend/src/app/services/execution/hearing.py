"""Hearing: does the user stream still tell what happens? A dead key connects, answers pings, and says nothing (W2).

Only reads can tell: they show a change that the stream should have reported and did not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

_GRACE = timedelta(seconds=3)
"""A frame may be that late before it counts as lost."""
_TOLERANCE = timedelta(milliseconds=250)
"""The times that an order shows may lie that far apart (fact sheet, section 4)."""
_PATIENCE = timedelta(seconds=30)
"""So long a new stream gets before it is doubted again."""


class Hearing:
    """What the stream has told, by the exchange's time."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._heard_until: datetime | None = None
        self._frames = 0
        self._executed_until: datetime | None = None
        self._doubted_at: datetime | None = None

    def executed(self, at: datetime) -> None:
        """Something of ours was executed ``at``, whoever told of it."""
        if self._executed_until is None or at > self._executed_until:
            self._executed_until = at

    def connected(self, now: datetime) -> None:
        """A connection begins; what happened before it is no news that it owes us."""
        self._since = now
        self._heard_until = now
        self._frames = 0

    def lost(self) -> None:
        """The connection is gone, so nothing can be held against it."""
        self._since = None

    def heard(self, at: datetime | None) -> None:
        """A frame came; ``at`` is its time, where it names one."""
        self._frames += 1
        if at is not None and (self._heard_until is None or at > self._heard_until):
            self._heard_until = at

    def judge(self, changes: Iterable[datetime], *, has_differences: bool, now: datetime) -> str | None:
        """Why the stream must be deaf, or None.

        Args:
            changes: when what reads show has last changed.
            has_differences: whether reads and record differ in what the stream would have told.
            now: the exchange's time when the reads were made.
        """
        frames, self._frames = self._frames, 0
        if self._since is None or self._heard_until is None or now - self._since < _GRACE:
            return None
        if self._doubted_at is not None and now - self._doubted_at < _PATIENCE:
            return None
        untold = [at for at in changes if self._heard_until + _TOLERANCE < at < now - _GRACE]
        executed = self._executed_until  # an execution's own time is never behind that of its frame
        if executed is not None and self._heard_until < executed < now - _GRACE:
            untold.append(executed)
        if untold:
            reason = f"reads show a change at {max(untold):%H:%M:%S} that the stream did not tell"
        elif has_differences and not frames:
            reason = "reads differ from the record, and the stream has said nothing"
        else:
            return None
        self._doubted_at = now
        return reason
