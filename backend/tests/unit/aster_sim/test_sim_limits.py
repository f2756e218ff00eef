"""Rate limits: what is counted, what is refused, and who is banned for how long."""

from __future__ import annotations

import pytest

from aster_sim.core.errors import VenueError
from aster_sim.http.limits import LimitRules, Limits

MINUTE_US = 60_000_000
START_US = 30_000_000 * MINUTE_US
RULES = LimitRules(weight_per_minute=10, orders_per_minute=4, orders_per_ten_seconds=3, refusals_before_ban=2)


def _refusal(limits: Limits, now_us: int, ip: str = "1.2.3.4") -> VenueError:
    with pytest.raises(VenueError) as refusal:
        limits.spend_weight(ip, 5, now_us)
    return refusal.value


def _use_up(limits: Limits, now_us: int) -> None:
    for _ in range(2):
        limits.spend_weight("1.2.3.4", 5, now_us)


def test_weight_is_counted_by_ip_and_minute():
    limits = Limits(RULES)
    _use_up(limits, START_US)
    refusal = _refusal(limits, START_US + 15_500_000)
    assert (refusal.status, refusal.code) == (429, -1003)
    assert refusal.headers == {"Retry-After": "45", "X-MBX-USED-WEIGHT-1M": "15"}
    assert limits.spend_weight("5.6.7.8", 5, START_US) == 5
    assert limits.spend_weight("1.2.3.4", 5, START_US + MINUTE_US) == 5


def test_who_goes_on_after_429_is_banned_and_everybody_else_is_not():
    limits = Limits(RULES)
    _use_up(limits, START_US)
    assert [_refusal(limits, START_US).status for _ in range(3)] == [429, 429, 418]
    banned = _refusal(limits, START_US + MINUTE_US)
    assert (banned.status, banned.headers["Retry-After"]) == (418, "60")
    assert str((START_US + 2 * MINUTE_US) // 1000) in banned.msg
    assert limits.spend_weight("5.6.7.8", 5, START_US + MINUTE_US) == 5
    assert limits.spend_weight("1.2.3.4", 5, START_US + 2 * MINUTE_US) == 5


def test_each_further_ban_is_twice_as_long_and_none_beyond_three_days():
    limits, now = Limits(RULES), START_US
    waits = []
    for _ in range(14):
        _use_up(limits, now)
        refusals = [_refusal(limits, now) for _ in range(3)]
        waits.append(int(refusals[-1].headers["Retry-After"]))
        now += waits[-1] * 1_000_000 + MINUTE_US
    assert waits[:4] == [120, 240, 480, 960]
    assert waits[-1] == waits[-2] == 3 * 24 * 3600


def test_a_pardon_lifts_bans():
    limits = Limits(RULES)
    limits.ban("1.2.3.4", 600, START_US)
    assert _refusal(limits, START_US).status == 418
    limits.pardon()
    assert limits.spend_weight("1.2.3.4", 5, START_US) == 5


def test_orders_are_counted_by_account_in_both_windows():
    limits = Limits(RULES)
    assert limits.spend_orders("alice", 3, START_US) == (3, 3)
    with pytest.raises(VenueError, match="3 orders per 10 SECOND") as burst:
        limits.spend_orders("alice", 1, START_US + 4_000_000)
    assert (burst.value.status, burst.value.code, burst.value.headers["Retry-After"]) == (429, -1015, "6")
    assert limits.spend_orders("bob", 1, START_US) == (1, 1)
    assert limits.spend_orders("alice", 1, START_US + 10_000_000) == (4, 1)
    with pytest.raises(VenueError, match="4 orders per MINUTE"):
        limits.spend_orders("alice", 1, START_US + 20_000_000)


def test_a_multiple_of_the_limits_leaves_the_rules_of_bans_alone():
    rules = LimitRules(refusals_before_ban=7).times(3)
    assert (rules.weight_per_minute, rules.orders_per_minute, rules.refusals_before_ban) == (7200, 3600, 7)
