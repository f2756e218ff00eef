"""The exchange's patience, shared out by importance (fact sheet, section 8; scenario L1).

Request weight is counted per IP, orders per account. A :class:`RequestBudget` belongs to an IP and may be shared by
several clients; each client adds its own :class:`OrderWindows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from app.domain.ports import Clock

WEIGHT_HEADER = "x-mbx-used-weight-1m"
ORDERS_1M_HEADER = "x-mbx-order-count-1m"
ORDERS_10S_HEADER = "x-mbx-order-count-10s"

DEFAULT_WEIGHT_1M = 2400
DEFAULT_ORDERS_1M = 1200
DEFAULT_ORDERS_10S = 300

_BACK_OFFS = {418: (120.0, 120.0), 403: (10.0, 120.0)}
"""The first silence and the longest one where the answer names no time: a ban, and a page of the firewall."""
_BACK_OFF = (1.0, 60.0)
"""The same for everything else."""
_SHORTEST_WAIT_S = 0.001
"""A wait that is no more than a rounding error would be asked about again and again in the same moment."""


class Priority(IntEnum):
    """What goes first when patience runs short; the lower, the more important."""

    CLOSE = 0
    PROTECT = 1
    CANCEL = 2
    QUERY = 3
    ENTRY = 4
    RECONCILIATION = 5


SHARE: Mapping[Priority, float] = {
    Priority.CLOSE: 1.0,
    Priority.PROTECT: 1.0,
    Priority.CANCEL: 0.95,
    Priority.QUERY: 0.9,
    Priority.ENTRY: 0.85,
    Priority.RECONCILIATION: 0.75,
}
"""How much of a limit may be used up when a request of this priority is let through. The rest is the exits' reserve."""


@dataclass(frozen=True, slots=True)
class Level:
    """How far a limit is used up in its present window, requests in flight included."""

    used: int
    limit: int


class Window:
    """One limit of the exchange: so much per so many seconds.

    The exchange's windows are its own; we learn of them by its headers. Between two headers we count what we sent.
    """

    __slots__ = ("_clock", "_in_flight", "_length_s", "_started_at", "_used", "limit")

    def __init__(self, clock: Clock, limit: int, length_s: float) -> None:
        self.limit = limit
        self._clock = clock
        self._length_s = length_s
        self._started_at = clock.monotonic()
        self._used = 0
        self._in_flight = 0

    @property
    def used(self) -> int:
        """What we believe to have used, requests in flight included."""
        self._roll()
        return self._used

    @property
    def level(self) -> Level:
        """What is used, and of how much."""
        return Level(self.used, self.limit)

    def _roll(self) -> None:
        now = self._clock.monotonic()
        if now - self._started_at >= self._length_s:
            self._started_at = now
            self._used = self._in_flight

    def wait_for(self, amount: int, share: float) -> float:
        """Seconds until ``amount`` may be spent within ``share`` of the limit; zero is now."""
        self._roll()
        if self._used + amount <= self.limit * share:
            return 0.0
        return max(_SHORTEST_WAIT_S, self._started_at + self._length_s - self._clock.monotonic())

    def spend(self, amount: int) -> None:
        """Count a request that is about to leave."""
        self._used += amount
        self._in_flight += amount

    def settle(self, amount: int, reported: int | None, *, was_sent: bool) -> None:
        """Count a request that has ended, and believe what the exchange reports where it reports.

        A report far below our own count means that the exchange has begun a new window: ours begins with it.
        """
        self._in_flight -= amount
        if not was_sent:
            self._used -= amount
            return
        if reported is None:
            return
        seen = reported + self._in_flight
        if seen < self._used // 2:
            self._started_at = self._clock.monotonic()
            self._used = seen
        else:
            self._used = max(self._used, seen)


class RequestBudget:
    """Request weight of one IP, and the silence that the exchange has asked for."""

    def __init__(self, clock: Clock, weight_limit_1m: int = DEFAULT_WEIGHT_1M) -> None:
        self._clock = clock
        self._weight = Window(clock, weight_limit_1m, 60.0)
        self._blocked_until = 0.0
        self._refusals = 0
        self._is_limit_named = False

    @property
    def used_weight(self) -> int:
        """Weight used in the present minute, as far as we know."""
        return self._weight.used

    @property
    def level(self) -> Level:
        """Weight used in the present minute, and of how much."""
        return self._weight.level

    @property
    def blocked_for_s(self) -> float:
        """Seconds of silence left, zero when we may speak."""
        return max(0.0, self._blocked_until - self._clock.monotonic())

    def wait_for(self, weight: int, share: float) -> float:
        """Seconds until ``weight`` fits into ``share`` of the limit and we may speak; nothing is spent."""
        return max(self.blocked_for_s, self._weight.wait_for(weight, share))

    def admit(self, weight: int, priority: Priority) -> float | None:
        """Spend ``weight`` and return None, or return the seconds to wait and spend nothing.

        Each admission is followed by exactly one :meth:`settle`.
        """
        blocked = self.blocked_for_s
        if blocked > 0:
            return max(_SHORTEST_WAIT_S, blocked)
        wait = self._weight.wait_for(weight, SHARE[priority])
        if wait > 0:
            return wait
        self._weight.spend(weight)
        return None

    def settle(self, weight: int, headers: Mapping[str, str] | None, *, is_refusal: bool = False) -> None:
        """End an admission; ``headers`` of the answer, empty when there was none, None when nothing was sent.

        Before exchangeInfo has named the limit, an answer beyond the one that we assume shows that it is a higher one.
        Else a process that starts behind a busy one could not even read exchangeInfo.
        """
        reported = _number(headers, WEIGHT_HEADER)
        if reported is not None and not is_refusal and not self._is_limit_named and reported > self._weight.limit:
            self._weight.limit = 2 * reported
        self._weight.settle(weight, reported, was_sent=headers is not None)

    def refused(self, http_status: int, retry_after_s: float | None) -> float:
        """Note a 429, a 418 or a page of the firewall (403), and return the seconds of silence.

        Without a time from the exchange, or with zero: a growing wait from one second to a minute, or after a page of
        the firewall from ten seconds to two minutes; two minutes for a ban (418). Answers to requests that were on
        their way together count once.
        """
        if not self.blocked_for_s:
            self._refusals += 1
        if not retry_after_s:
            first_s, longest_s = _BACK_OFFS.get(http_status, _BACK_OFF)
            retry_after_s = min(first_s * 2.0 ** min(max(self._refusals - 1, 0), 10), longest_s)
        self.keep_silent(retry_after_s)
        return self.blocked_for_s

    def keep_silent(self, seconds: float) -> None:
        """Send nothing for so long: what the exchange asked for, perhaps of a process before this one."""
        self._blocked_until = max(self._blocked_until, self._clock.monotonic() + seconds)

    def welcomed(self) -> None:
        """Note an answer that was no rate limit: the next back-off starts small again."""
        self._refusals = 0

    def set_limit(self, weight_limit_1m: int) -> None:
        """Follow the limit that exchangeInfo names."""
        self._weight.limit = weight_limit_1m
        self._is_limit_named = True


class OrderWindows:
    """Order counts of one account: per minute and per ten seconds."""

    def __init__(self, clock: Clock, limit_1m: int = DEFAULT_ORDERS_1M, limit_10s: int = DEFAULT_ORDERS_10S) -> None:
        self._clock = clock
        self._minute = Window(clock, limit_1m, 60.0)
        self._ten_seconds = Window(clock, limit_10s, 10.0)
        self._blocked_until = 0.0

    def admit(self, orders: int, priority: Priority) -> float | None:
        """Count ``orders`` and return None, or return the seconds to wait and count nothing."""
        share = SHARE[priority]
        wait = max(
            self._blocked_until - self._clock.monotonic(),
            self._minute.wait_for(orders, share),
            self._ten_seconds.wait_for(orders, share),
        )
        if wait > 0:
            return max(_SHORTEST_WAIT_S, wait)
        self._minute.spend(orders)
        self._ten_seconds.spend(orders)
        return None

    def settle(self, orders: int, headers: Mapping[str, str] | None) -> None:
        """End an admission, as in :meth:`RequestBudget.settle`."""
        self._minute.settle(orders, _number(headers, ORDERS_1M_HEADER), was_sent=headers is not None)
        self._ten_seconds.settle(orders, _number(headers, ORDERS_10S_HEADER), was_sent=headers is not None)

    def refused(self, retry_after_s: float | None) -> float:
        """Note a -1015 and return the seconds until orders are tried again: ten, when the exchange names none."""
        wait = 10.0 if retry_after_s is None else retry_after_s
        self._blocked_until = max(self._blocked_until, self._clock.monotonic() + wait)
        return wait

    @property
    def levels(self) -> tuple[Level, Level]:
        """Orders sent in the present minute, and in the present ten seconds."""
        return self._minute.level, self._ten_seconds.level

    def set_limits(self, limit_1m: int | None, limit_10s: int | None) -> None:
        """Follow the limits that exchangeInfo names."""
        if limit_1m is not None:
            self._minute.limit = limit_1m
        if limit_10s is not None:
            self._ten_seconds.limit = limit_10s


def _number(headers: Mapping[str, str] | None, name: str) -> int | None:
    text = headers.get(name) if headers is not None else None
    return int(text) if text is not None and text.isdecimal() else None
