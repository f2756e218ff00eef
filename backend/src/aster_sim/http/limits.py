"""Rate limits: request weight per IP and minute, orders per account (asterdex-facts.md section 8).

Windows are aligned to the venue's clock. Growing bans (418) are issue 3's.
"""

from __future__ import annotations

from dataclasses import dataclass

from aster_sim.core import errors
from aster_sim.core.errors import VenueError

MINUTE_S = 60
BURST_S = 10


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How much is allowed; the defaults are the recorded ones."""

    weight_per_minute: int = 2400
    orders_per_minute: int = 1200
    orders_per_ten_seconds: int = 300

    def times(self, factor: int) -> LimitRules:
        """Each limit so many times as high."""
        return LimitRules(
            weight_per_minute=self.weight_per_minute * factor,
            orders_per_minute=self.orders_per_minute * factor,
            orders_per_ten_seconds=self.orders_per_ten_seconds * factor,
        )

    def as_rows(self) -> list[dict[str, object]]:
        """``rateLimits`` of exchangeInfo."""
        return [
            _row("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute),
            _row("ORDERS", "MINUTE", 1, self.orders_per_minute),
            _row("ORDERS", "SECOND", 10, self.orders_per_ten_seconds),
        ]


def _row(kind: str, interval: str, number: int, limit: int) -> dict[str, object]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


class _Window:
    """Counts per key within the current window of ``seconds``."""

    __slots__ = ("_counts", "_number", "_seconds")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._number = 0
        self._counts: dict[str, int] = {}

    def used(self, key: str, now_us: int) -> int:
        number = now_us // (self._seconds * 1_000_000)
        if number != self._number:
            self._number = number
            self._counts.clear()
        return self._counts.get(key, 0)

    def add(self, key: str, amount: int, now_us: int) -> int:
        total = self.used(key, now_us) + amount
        self._counts[key] = total
        return total

    def wait_s(self, now_us: int) -> int:
        """Whole seconds until the window ends, at least one."""
        width = self._seconds * 1_000_000
        return max(1, -(-(width - now_us % width) // 1_000_000))


class Limits:
    """The venue's counters."""

    def __init__(self, rules: LimitRules) -> None:
        self.rules = rules
        self._weight = _Window(MINUTE_S)
        self._orders_minute = _Window(MINUTE_S)
        self._orders_burst = _Window(BURST_S)

    def spend_weight(self, ip: str, weight: int, now_us: int) -> int:
        """Count a request; the weight used in this minute.  Raises -1003 (429 with Retry-After) beyond the limit."""
        used = self._weight.add(ip, weight, now_us)
        if used > self.rules.weight_per_minute:
            raise _limited(
                errors.TOO_MANY_REQUESTS.error(limit=self.rules.weight_per_minute), self._weight.wait_s(now_us)
            )
        return used

    def weight_used(self, ip: str, now_us: int) -> int:
        """The weight used in this minute."""
        return self._weight.used(ip, now_us)

    def spend_orders(self, account: str, orders: int, now_us: int) -> tuple[int, int]:
        """Count placements; (used in this minute, used in these ten seconds).  Raises -1015 (429)."""
        minute, burst = self._orders_minute, self._orders_burst
        if minute.used(account, now_us) + orders > self.rules.orders_per_minute:
            limit, name, wait = self.rules.orders_per_minute, "MINUTE", minute.wait_s(now_us)
            raise _limited(errors.TOO_MANY_ORDERS.error(limit=limit, interval=name), wait)
        if burst.used(account, now_us) + orders > self.rules.orders_per_ten_seconds:
            limit, name, wait = self.rules.orders_per_ten_seconds, "10 SECOND", burst.wait_s(now_us)
            raise _limited(errors.TOO_MANY_ORDERS.error(limit=limit, interval=name), wait)
        return minute.add(account, orders, now_us), burst.add(account, orders, now_us)


def _limited(error: VenueError, wait_s: int) -> VenueError:
    return VenueError(error.code, error.msg, error.status, {"Retry-After": str(wait_s)})
