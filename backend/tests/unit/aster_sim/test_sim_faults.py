"""The fault plan: what it applies to and how often; and the limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from aster_sim.core.errors import VenueError
from aster_sim.faults import FaultError, FaultPlan
from aster_sim.http.limits import LimitRules, Limits


def _plan(*rows: Any, seed: int = 1) -> FaultPlan:
    plan = FaultPlan(Random(seed), lambda: 0)
    plan.add(list(rows))
    return plan


def _hit(plan: FaultPlan, method: str = "POST", path: str = "/fapi/v3/order", account: str = "alice", **params: str):
    return plan.for_request(method, path, params, account)


def test_a_fault_acts_once_unless_told_otherwise():
    plan = _plan({"match": {"path": "/order"}, "action": {"type": "drop_after"}})
    assert _hit(plan).ending.type == "drop_after"
    assert _hit(plan) is None


def test_skip_count_and_always():
    plan = _plan({"count": 2, "skip": 1, "action": {"type": "drop_before"}})
    assert [_hit(plan) is not None for _ in range(5)] == [False, True, True, False, False]
    always = _plan({"count": 0, "action": {"type": "drop_before"}})
    assert all(_hit(always) is not None for _ in range(50))


def test_everything_named_must_match():
    match = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}, "account": "alice"}
    plan = _plan({"match": match, "count": 0, "action": {"type": "drop_before"}})
    assert _hit(plan, type="STOP_MARKET")
    assert _hit(plan, type="MARKET") is None
    assert _hit(plan, account="bob", type="STOP_MARKET") is None
    assert _hit(plan, method="DELETE", type="STOP_MARKET") is None
    assert _hit(plan, path="/fapi/v3/batchOrders", type="STOP_MARKET") is None
    assert _hit(plan, path="/fapi/v1/order", type="STOP_MARKET")


def test_delays_add_up_and_the_first_ending_wins():
    plan = _plan(
        {"action": {"type": "delay_before", "seconds": 1}},
        {"action": {"type": "delay_before", "seconds": 2}},
        {"action": {"type": "error", "status": 503}},
        {"action": {"type": "drop_after"}},
    )
    first = _hit(plan)
    assert (first.delay_before_s, first.ending.type) == (3.0, "error")
    assert _hit(plan).ending.type == "drop_after"


def test_probability_is_seeded():
    def pattern(seed: int) -> list[bool]:
        plan = _plan({"count": 0, "probability": 0.5, "action": {"type": "drop_before"}}, seed=seed)
        return [_hit(plan) is not None for _ in range(100)]

    assert pattern(5) == pattern(5)
    assert 20 < sum(pattern(5)) < 80


def test_stream_faults_only_act_on_frames():
    plan = _plan({"match": {"event": "ACCOUNT_UPDATE"}, "count": 1, "action": {"type": "drop_events"}})
    assert _hit(plan) is None
    assert plan.for_event("alice", "ORDER_TRADE_UPDATE") is None
    assert plan.for_event("alice", "ACCOUNT_UPDATE").type == "drop_events"
    assert plan.for_event("alice", "ACCOUNT_UPDATE") is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"action": {"type": "explode"}}, "none of"),
        ({"match": {"metod": "POST"}, "action": {"type": "drop_after"}}, "metod"),
        ({"count": -1, "action": {"type": "drop_after"}}, "negative"),
        ({"count": "two", "action": {"type": "drop_after"}}, "count"),
        ({}, "action"),
        ("drop", "object"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_and_nothing_is_added(row, words):
    plan = FaultPlan(Random(1), lambda: 0)
    with pytest.raises(FaultError, match=words):
        plan.add([{"action": {"type": "drop_after"}}, row])
    assert plan.listing() == []


def test_a_plan_comes_from_a_file_and_can_be_cleared(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"action": {"type": "drop_after"}}, {"action": {"type": "drop_before"}}]))
    plan = FaultPlan(Random(1), lambda: 0)
    plan.load(path)
    assert [row["id"] for row in plan.listing()] == [1, 2]
    plan.clear(1)
    assert [row["id"] for row in plan.listing()] == [2]
    plan.clear()
    assert plan.listing() == []
    path.write_text("[")
    with pytest.raises(FaultError, match="cannot be read"):
        plan.load(path)


def test_weight_beyond_the_minute_is_refused_until_the_next_minute():
    limits = Limits(LimitRules(weight_per_minute=10))
    start = 60_000_000 * 1000 + 20_000_000
    assert limits.spend_weight("ip", 6, start) == 6
    with pytest.raises(VenueError) as refusal:
        limits.spend_weight("ip", 5, start)
    assert (refusal.value.status, refusal.value.code, refusal.value.headers["Retry-After"]) == (429, -1003, "40")
    assert limits.spend_weight("other", 6, start) == 6
    assert limits.spend_weight("ip", 6, start + 40_000_000) == 6


def test_orders_are_counted_per_account_in_both_windows():
    limits = Limits(LimitRules(orders_per_minute=5, orders_per_ten_seconds=3))
    now = 60_000_000 * 1000
    assert limits.spend_orders("alice", 3, now) == (3, 3)
    with pytest.raises(VenueError) as burst:
        limits.spend_orders("alice", 1, now)
    assert (burst.value.code, burst.value.headers["Retry-After"]) == (-1015, "10")
    assert limits.spend_orders("bob", 1, now) == (1, 1)
    assert limits.spend_orders("alice", 2, now + 10_000_000) == (5, 2)
    with pytest.raises(VenueError) as minute:
        limits.spend_orders("alice", 1, now + 20_000_000)
    assert minute.value.headers["Retry-After"] == "40"


@dataclass
class _Clock:
    now_us: int = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us


def _later(clock: _Clock, seconds: float) -> None:
    clock.now_us += int(seconds * 1_000_000)


def _timed(*rows: Any) -> tuple[FaultPlan, _Clock]:
    clock = _Clock()
    plan = FaultPlan(Random(1), clock)
    plan.add(list(rows))
    return plan, clock


def test_a_skewed_clock_lasts_as_long_as_it_is_told_and_skews_add_up():
    plan, clock = _timed(
        {"action": {"type": "clock_skew", "seconds": -2.5}},
        {"action": {"type": "clock_skew", "seconds": 10, "after": 5, "lasts": 5}},
    )
    seen = []
    for _ in range(4):
        seen.append(plan.skew_us())
        _later(clock, 4)
    assert seen == [-2_500_000, -2_500_000, 7_500_000, -2_500_000]
    plan.clear()
    assert plan.skew_us() == 0


def test_lists_lag_for_as_long_as_it_is_told_and_the_longest_counts():
    plan, clock = _timed(
        {"action": {"type": "lag_lists", "seconds": 30}},
        {"action": {"type": "lag_lists", "seconds": 60, "after": 5, "lasts": 5}},
    )
    seen = []
    for _ in range(4):
        seen.append(plan.lag_ms())
        _later(clock, 4)
    assert seen == [30_000, 30_000, 60_000, 30_000]
    plan.clear()
    assert plan.lag_ms() == 0


def test_an_outage_begins_and_ends_by_the_true_clock():
    plan, clock = _timed({"action": {"type": "maintenance", "seconds": 30, "after": 10}})
    seen = []
    for _ in range(5):
        found = plan.outage()
        seen.append(found[1].type if found else "")
        _later(clock, 10)
    assert seen == ["", "maintenance", "maintenance", "maintenance", ""]


def test_silence_loses_every_frame_of_its_account_until_it_is_over():
    plan, clock = _timed({"match": {"account": "alice"}, "action": {"type": "silence", "seconds": 5}})
    assert plan.for_event("bob", "ORDER_TRADE_UPDATE") is None
    assert [plan.for_event("alice", "ORDER_TRADE_UPDATE").type for _ in range(3)] == ["drop_events"] * 3
    assert plan.for_event("bob", "ORDER_TRADE_UPDATE") is None
    _later(clock, 5)
    assert plan.for_event("alice", "ORDER_TRADE_UPDATE") is None


@pytest.mark.parametrize(
    "action",
    [
        {"type": "delay_events", "seconds": -1},
        {"type": "maintenance", "seconds": 1, "after": -1},
        {"type": "earthquake"},
    ],
)
def test_impossible_actions_are_refused(action):
    with pytest.raises(FaultError):
        _plan({"action": action})
