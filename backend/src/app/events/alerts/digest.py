"""What one channel is told of the alerts, and when. Pure: it is told the time, and asked for messages.

An alert is told at once. The same one (severity, code, account, asset) again within a window is counted, and told as
one message when the window ends. A channel has so many messages a minute; what has to wait for one is gathered into a
message per severity, and a part of them is kept for critical alerts. What could not be delivered comes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

LIMIT = 500
"""Different alerts that are kept apart at a time, waiting or told within a window; more are only counted."""
AGAIN_S = 60.0
"""After that time a critical alert that could not be delivered is told again, to a channel that may be back."""
_MINUTE_S = 60.0
_ROUNDING = 1e-6

Subject = tuple[bool, str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert on its way to people."""

    is_critical: bool
    code: str
    message: str
    time: datetime
    account_id: str
    asset: str | None = None
    trade_id: str | None = None
    decision_id: str | None = None

    @property
    def subject(self) -> Subject:
        """What makes two alerts the same. Severity is part of it: one that becomes louder is told at once."""
        return self.is_critical, self.code, self.account_id, self.asset


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a message: the newest of the same alerts, and how many there were.

    ``since_s`` is how long ago it was told before; None when it is told for the first time.
    """

    notice: Notice
    times: int
    since_s: float | None


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is told at once, all of one severity. ``further`` alerts are only counted."""

    is_critical: bool
    items: tuple[Item, ...]
    further: int = 0

    @property
    def alerts(self) -> int:
        """How many alerts it tells of."""
        return self.further + sum(item.times for item in self.items)


class _Topic:
    """One alert and its repetitions. ``count`` of them were not told yet."""

    __slots__ = ("count", "ends_at", "is_waiting", "notice", "told_at")

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.count = 0
        self.is_waiting = True
        self.told_at: float | None = None
        self.ends_at = 0.0


class Digest:
    """Decides for one channel.

    Args:
        window_s: for so long the same alert is not told again.
        per_minute: at most so many messages in any minute, from 2; half of them may go out at once.
        limit: different alerts that are kept apart.
    """

    def __init__(self, *, window_s: float, per_minute: int, limit: int = LIMIT) -> None:
        self._window_s = window_s
        self._burst = per_minute // 2
        self._per_s = (per_minute - self._burst) / _MINUTE_S
        self._reserve = self._burst // 4
        self._limit = limit
        self._tokens = float(self._burst)
        self._now: float | None = None
        self._topics: dict[Subject, _Topic] = {}
        self._waiting: dict[bool, dict[Subject, _Topic]] = {True: {}, False: {}}
        self._further = {True: 0, False: 0}

    def add(self, notice: Notice, now: float) -> None:
        """An alert was raised."""
        self._advance(now)
        subject = notice.subject
        topic = self._topics.get(subject)
        if topic is None:
            if len(self._topics) >= self._limit:
                self._further[notice.is_critical] += 1
                return
            topic = self._topics[subject] = self._waiting[notice.is_critical][subject] = _Topic(notice)
        topic.notice = notice
        topic.count += 1

    def take(self, now: float) -> Message | None:
        """The next message that may go out now; critical ones first. It counts as told."""
        self._advance(now)
        for is_critical in (True, False):
            free = math.floor(self._tokens + _ROUNDING) - self._kept_from(is_critical)
            if free >= 1 and self._has_news(is_critical):
                self._tokens -= 1
                is_gathered = bool(self._further[is_critical]) or len(self._waiting[is_critical]) > free
                return self._tell(is_critical, now, limit=None if is_gathered else 1)
        return None

    def rest(self, now: float) -> list[Message]:
        """Everything that was not told, whatever the rate and the windows, in one message per severity: the last."""
        for topic in self._topics.values():
            topic.ends_at = now
        self._advance(now)
        return [
            self._tell(is_critical, now, limit=None) for is_critical in (True, False) if self._has_news(is_critical)
        ]

    def failed(self, message: Message, now: float) -> None:
        """A message was not delivered. What was critical is told again later; anything in it may be told at once."""
        for item in message.items:
            topic = self._topics.get(item.notice.subject)
            if topic is None or topic.is_waiting:
                continue
            topic.told_at = None
            topic.ends_at = now
            if message.is_critical:
                topic.ends_at += AGAIN_S
                topic.count += item.times
        if message.is_critical:
            self._further[True] += message.further

    def next_at(self) -> float | None:
        """When ``take`` may have something if nothing is added until then; None: never. Call it after ``take``."""
        times = [topic.ends_at for topic in self._topics.values() if topic.count and not topic.is_waiting]
        if self._now is not None:
            for is_critical in (True, False):
                if self._has_news(is_critical):
                    missing = 1 + self._kept_from(is_critical) - self._tokens
                    times.append(self._now + max(0.0, missing) / self._per_s)
        return min(times, default=None)

    def _kept_from(self, is_critical: bool) -> int:
        return 0 if is_critical else self._reserve

    def _has_news(self, is_critical: bool) -> bool:
        return bool(self._waiting[is_critical] or self._further[is_critical])

    def _advance(self, now: float) -> None:
        """Let time pass: the rate recovers, windows end."""
        if self._now is not None:
            self._tokens = min(float(self._burst), self._tokens + max(0.0, now - self._now) * self._per_s)
        self._now = now
        ended = [
            (subject, topic) for subject, topic in self._topics.items() if not topic.is_waiting and topic.ends_at <= now
        ]
        for subject, topic in ended:
            if topic.count:
                topic.is_waiting = True
                self._waiting[subject[0]][subject] = topic
            else:
                del self._topics[subject]

    def _tell(self, is_critical: bool, now: float, *, limit: int | None) -> Message:
        waiting = self._waiting[is_critical]
        items = []
        for subject in list(waiting)[:limit]:
            topic = waiting.pop(subject)
            items.append(Item(topic.notice, topic.count, None if topic.told_at is None else now - topic.told_at))
            topic.is_waiting = False
            topic.count = 0
            topic.told_at = now
            topic.ends_at = now + self._window_s
        further = 0
        if limit is None:
            further, self._further[is_critical] = self._further[is_critical], 0
        return Message(is_critical, tuple(items), further)
