"""The exchange's patience, shared out by importance (fact sheet, section 8; scenarios L1, L7).

Request weight is counted per IP, orders per account. A :class:`RequestBudget` belongs to an IP and may be shared by
several clients; each client adds its own :class:`OrderWindows`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.ports import Clock
from app.integrations.aster.kept_room import KeptRoom
from app.integrations.aster.priorities import SHARE, ExitsToCome, Priority

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


@dataclass(frozen=True, slots=True)
class Level:
    """How far a limit is used up in its present window, requests in flight included."""

    used: int
    limit: int


class Window:
    """One limit of the exchange: so much within any so many seconds.

    Where the exchange's own windows begin is not known, so every span of their length is kept within the limit: then
    each of theirs is too. What is used counts from the answer on, which is later than the exchange counted it. Between
    two headers we count what we sent.
    """

    __slots__ = ("_clock", "_in_flight", "_length_s", "_spent", "_spent_in_all", "limit")

    def __init__(self, clock: Clock, limit: int, length_s: float) -> None:
        self.limit = limit
        self._clock = clock
        self._length_s = length_s
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_in_all = 0
        self._in_flight = 0

    @property
    def used(self) -> int:
        """What we believe to have used, requests in flight included."""
        self._roll()
        return self._spent_in_all + self._in_flight

    @property
    def level(self) -> Level:
        """What is used, and of how much."""
        return Level(self.used, self.limit)

    def _roll(self) -> None:
        gone_before = self._clock.monotonic() - self._length_s
        while self._spent and self._spent[0][0] <= gone_before:
            self._spent_in_all -= self._spent.popleft()[1]

    def _count(self, amount: int) -> None:
        if amount:
            self._spent.append((self._clock.monotonic(), amount))
            self._spent_in_all += amount

    def wait_for(self, amount: int, share: float, kept: int = 0) -> float:
        """Seconds until ``amount`` may be spent within ``share`` of the limit beside what is ``kept``; zero is now."""
        excess = self.used + kept + amount - self.limit * share
        if excess <= 0:
            return 0.0
        free_at = self._clock.monotonic() + self._length_s
        for at, spent in self._spent:
            excess -= spent
            if excess <= 0:
                free_at = at + self._length_s
                break
        return max(_SHORTEST_WAIT_S, free_at - self._clock.monotonic())

    def spend(self, amount: int) -> None:
        """Count a request that is about to leave."""
        self._in_flight += amount

    def settle(self, amount: int, reported: int | None, *, was_counted: bool) -> None:
        """Count a request that has ended, and believe what the exchange reports where it reports.

        A report far below our own count means that the exchange has begun a new window: ours begins with it.
        """
        self._in_flight -= amount
        if was_counted:
            self._count(amount)
        if not was_counted or reported is None:
            return
        missing = reported + self._in_flight - self.used
        if reported + self._in_flight < self.used // 2:
            self._spent.clear()
            self._spent_in_all = 0
            missing = reported
        self._count(max(missing, 0))


class RequestBudget:
    """Request weight of one IP, and the silence that the exchange has asked for."""

    def __init__(self, clock: Clock, weight_limit_1m: int = DEFAULT_WEIGHT_1M) -> None:
        self._clock = clock
        self._weight = Window(clock, weight_limit_1m, 60.0)
        self.kept = KeptRoom(clock)
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
        return max(self.blocked_for_s, self._weight.wait_for(weight, share, self.kept.total))

    def admit(self, weight: int, priority: Priority) -> float | None:
        """Spend ``weight`` and return None, or return the seconds to wait and spend nothing.

        Each admission is followed by exactly one :meth:`settle`.
        """
        blocked = self.blocked_for_s
        if blocked > 0:
            return max(_SHORTEST_WAIT_S, blocked)
        wait = self._weight.wait_for(weight, SHARE[priority], self.kept.ahead_of(priority))
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
        self._weight.settle(weight, reported, was_counted=headers is not None)

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
        self.kept = KeptRoom(clock)
        self._blocked_until = 0.0

    def wait_for(self, orders: int, priority: Priority, kept: int) -> float:
        """Seconds until ``orders`` may be sent beside what is ``kept`` for others; zero is now."""
        share = SHARE[priority]
        wait = max(
            self._blocked_until - self._clock.monotonic(),
            self._minute.wait_for(orders, share, kept),
            self._ten_seconds.wait_for(orders, share, kept),
        )
        return max(_SHORTEST_WAIT_S, wait) if wait > 0 else 0.0

    def admit(self, orders: int, priority: Priority) -> float | None:
        """Count ``orders`` and return None, or return the seconds to wait and count nothing."""
        wait = self.wait_for(orders, priority, self.kept.ahead_of(priority))
        if wait > 0:
            return wait
        self._minute.spend(orders)
        self._ten_seconds.spend(orders)
        return None

    def settle(self, orders: int, headers: Mapping[str, str] | None) -> None:
        """End an admission, as in :meth:`RequestBudget.settle`; ``headers`` None also where the exchange counted none.

        It looks at the nonce first: what is refused for that is no order yet (scenario L2).
        """
        was_counted = headers is not None
        self._minute.settle(orders, _number(headers, ORDERS_1M_HEADER), was_counted=was_counted)
        self._ten_seconds.settle(orders, _number(headers, ORDERS_10S_HEADER), was_counted=was_counted)

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


def keep_room_for_entry(
    budget: RequestBudget, windows: OrderWindows, owner: str, exits: ExitsToCome, weight: int
) -> float | None:
    """Keep room for an entry and its exits, in every window, and return None; or return the seconds to wait (L7).

    Args:
        budget, windows: of the address and of the account.
        owner: the trade.
        exits: what follows the entry.
        weight: of one order.
    """
    orders = 1 + exits.count
    wait = max(
        budget.wait_for(orders * weight, SHARE[Priority.ENTRY]),
        windows.wait_for(orders, Priority.ENTRY, windows.kept.total),
    )
    if wait > 0:
        return wait
    for kept, amount in ((budget.kept, weight), (windows.kept, 1)):
        kept.keep(owner, Priority.ENTRY, amount)
        kept.keep(owner, Priority.PROTECT, exits.stops * amount)
        kept.keep(owner, Priority.TARGET, exits.targets * amount)
    return None


def _number(headers: Mapping[str, str] | None, name: str) -> int | None:
    text = headers.get(name) if headers is not None else None
    return int(text) if text is not None and text.isdecimal() else None
