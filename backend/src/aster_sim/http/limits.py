"""Rate limits: request weight per IP and minute, orders per account (asterdex-facts.md section 8).

Windows are aligned to the venue's clock. Who goes on after a 429 is banned (418): two minutes the first time,
twice as long each further time, three days at most. How many refused requests it takes is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aster_sim.core import errors
from aster_sim.core.errors import VenueError

MINUTE_S = 60
BURST_S = 10
WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How much is allowed; the defaults are the recorded ones."""

    weight_per_minute: int = 2400
    orders_per_minute: int = 1200
    orders_per_ten_seconds: int = 300
    refusals_before_ban: int = 10
    first_ban_s: int = 120
    longest_ban_s: int = 3 * 24 * 3600

    def times(self, factor: int) -> LimitRules:
        """Each limit so many times as high."""
        return replace(
            self,
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

    def put(self, key: str, total: int) -> None:
        """Set what ``used`` has just told, and somebody has added to."""
        self._counts[key] = total

    def wait_s(self, now_us: int) -> int:
        """Whole seconds until the window ends, at least one."""
        width = self._seconds * 1_000_000
        return max(1, -(-(width - now_us % width) // 1_000_000))


@dataclass(slots=True)
class _Offender:
    """An IP that went on after a 429: until when it is banned, how often it was."""

    refusals: int = 0
    bans: int = 0
    until_us: int = 0


class Limits:
    """The venue's counters."""

    def __init__(self, rules: LimitRules) -> None:
        self.rules = rules
        self._weight = _Window(MINUTE_S)
        self._orders_minute = _Window(MINUTE_S)
        self._orders_burst = _Window(BURST_S)
        self._offenders: dict[str, _Offender] = {}

    def spend_weight(self, ip: str, weight: int, now_us: int) -> int:
        """Count a request; the weight used in this minute.

        Raises -1003 with Retry-After: 429 beyond the limit, 418 for an IP that is banned.
        """
        offender = self._offenders.get(ip)
        if offender is not None and now_us < offender.until_us:
            raise _banned(offender.until_us, now_us)
        used = self._weight.add(ip, weight, now_us)
        if used > self.rules.weight_per_minute:
            raise self._refused(ip, used, now_us)
        return used

    def ban(self, ip: str, seconds: float, now_us: int) -> VenueError:
        """Ban an IP for a time; the answer to give it."""
        offender = self._offenders.setdefault(ip, _Offender())
        offender.bans += 1
        offender.refusals = 0
        offender.until_us = now_us + int(seconds * 1_000_000)
        return _banned(offender.until_us, now_us)

    def pardon(self) -> None:
        """Lift all bans and forget them."""
        self._offenders.clear()

    def _refused(self, ip: str, used: int, now_us: int) -> VenueError:
        """Count a request beyond the limit; the 429 or, once too often, the 418 to answer with."""
        offender = self._offenders.setdefault(ip, _Offender())
        offender.refusals += 1
        if offender.refusals > self.rules.refusals_before_ban:
            seconds = min(self.rules.first_ban_s << offender.bans, self.rules.longest_ban_s)
            return self.ban(ip, seconds, now_us)
        refusal = errors.TOO_MANY_REQUESTS.error(limit=self.rules.weight_per_minute)
        return _limited(refusal, self._weight.wait_s(now_us), {WEIGHT_HEADER: str(used)})

    def weight_used(self, ip: str, now_us: int) -> int:
        """The weight used in this minute."""
        return self._weight.used(ip, now_us)

    def spend_orders(self, account: str, orders: int, now_us: int) -> tuple[int, int]:
        """Count placements; (used in this minute, used in these ten seconds).  Raises -1015 (429)."""
        minute, burst = self._orders_minute, self._orders_burst
        of_minute, of_burst = minute.used(account, now_us) + orders, burst.used(account, now_us) + orders
        if of_minute > self.rules.orders_per_minute:
            limit, name, wait = self.rules.orders_per_minute, "MINUTE", minute.wait_s(now_us)
            raise _limited(errors.TOO_MANY_ORDERS.error(limit=limit, interval=name), wait)
        if of_burst > self.rules.orders_per_ten_seconds:
            limit, name, wait = self.rules.orders_per_ten_seconds, "10 SECOND", burst.wait_s(now_us)
            raise _limited(errors.TOO_MANY_ORDERS.error(limit=limit, interval=name), wait)
        minute.put(account, of_minute)
        burst.put(account, of_burst)
        return of_minute, of_burst


def _limited(error: VenueError, wait_s: int, headers: Mapping[str, str] | None = None) -> VenueError:
    return VenueError(error.code, error.msg, error.status, {"Retry-After": str(wait_s), **(headers or {})})


def _banned(until_us: int, now_us: int) -> VenueError:
    wait_s = max(1, -(-(until_us - now_us) // 1_000_000))
    return _limited(errors.IP_BANNED.error(until=until_us // 1000), wait_s)
