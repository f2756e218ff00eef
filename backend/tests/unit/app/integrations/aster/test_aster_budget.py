"""The exchange's patience goes to exits first, and silence is kept when it is asked for."""

from __future__ import annotations

import pytest
from aster_doubles import LeapingClock

from app.integrations.aster.budget import OrderWindows, RequestBudget, keep_room_for_entry
from app.integrations.aster.priorities import ExitsToCome, Priority

NOTHING: dict[str, str] = {}
EXITS = ExitsToCome(stops=1, targets=1)


def _used(weight: int) -> dict[str, str]:
    return {"x-mbx-used-weight-1m": str(weight)}


def test_exits_still_pass_when_entries_and_reads_do_not() -> None:
    """Scenario L1: a reserve of weight for exits."""
    budget = RequestBudget(LeapingClock(), weight_limit_1m=100)
    admitted = dict.fromkeys(Priority, 0)
    for priority in sorted(Priority, reverse=True):
        while budget.admit(1, priority) is None:
            admitted[priority] += 1
            budget.settle(1, NOTHING)
    assert admitted == {
        Priority.RECONCILIATION: 75,
        Priority.ENTRY: 10,
        Priority.QUERY: 5,
        Priority.RECOVERY: 5,
        Priority.CANCEL: 0,
        Priority.TARGET: 5,
        Priority.PROTECT: 0,
        Priority.CLOSE: 0,
    }


def test_wait_ends_with_the_minute() -> None:
    clock = LeapingClock()
    budget = RequestBudget(clock, weight_limit_1m=10)
    assert budget.admit(10, Priority.CLOSE) is None
    budget.settle(10, NOTHING)
    clock.seconds += 20
    assert budget.admit(1, Priority.CLOSE) == pytest.approx(40)
    clock.seconds += 40
    assert budget.admit(1, Priority.CLOSE) is None


def test_header_of_others_on_our_address_counts() -> None:
    budget = RequestBudget(LeapingClock())
    budget.admit(1, Priority.QUERY)
    budget.settle(1, _used(2390))
    assert budget.used_weight == 2390
    assert budget.admit(5, Priority.ENTRY) is not None
    assert budget.admit(5, Priority.CLOSE) is None


def test_requests_in_flight_count_beside_the_header() -> None:
    budget = RequestBudget(LeapingClock())
    budget.admit(1, Priority.QUERY)
    budget.admit(30, Priority.QUERY)
    budget.settle(1, _used(100))
    assert budget.used_weight == 130


def test_header_of_a_new_window_frees_the_old_count() -> None:
    clock = LeapingClock()
    budget = RequestBudget(clock)
    budget.admit(1000, Priority.QUERY)
    budget.settle(1000, _used(1000))
    clock.seconds += 30
    budget.admit(1, Priority.QUERY)
    budget.settle(1, _used(1))
    assert budget.used_weight == 1


def test_what_was_never_sent_is_not_counted() -> None:
    budget = RequestBudget(LeapingClock())
    budget.admit(40, Priority.QUERY)
    budget.settle(40, None)
    assert budget.used_weight == 0


def test_silence_holds_for_exits_too_until_the_time_is_up() -> None:
    """Contract, section 9: rate limits."""
    clock = LeapingClock()
    budget = RequestBudget(clock)
    assert budget.refused(429, 7.0) == 7.0
    assert budget.admit(1, Priority.CLOSE) == 7.0
    clock.seconds += 6.5
    assert budget.admit(1, Priority.CLOSE) == pytest.approx(0.5)
    clock.seconds += 0.5
    assert budget.admit(1, Priority.CLOSE) is None


def test_silence_is_never_shortened_by_a_later_answer() -> None:
    budget = RequestBudget(LeapingClock())
    budget.refused(418, 300.0)
    assert budget.refused(429, 1.0) == 300.0


def test_unnamed_waits_grow_and_start_small_again_after_a_welcome() -> None:
    """Specification, 2.3: exponential backoff on 429."""
    clock = LeapingClock()
    budget = RequestBudget(clock)
    waits = []
    for _ in range(8):
        waits.append(budget.refused(429, None))
        clock.seconds += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    budget.welcomed()
    assert budget.refused(429, None) == 1
    assert RequestBudget(clock).refused(418, None) == 120
    assert RequestBudget(clock).refused(429, 0.0) == 1


def test_pages_of_the_firewall_ask_for_a_growing_silence() -> None:
    """Scenario L8: answers to requests that were on their way together count once."""
    clock = LeapingClock()
    budget = RequestBudget(clock)
    waits = []
    for _ in range(5):
        waits.append(max(budget.refused(403, None), budget.refused(403, None)))
        clock.seconds += waits[-1]
    assert waits == [10, 20, 40, 80, 120]


def test_orders_are_counted_per_ten_seconds_and_per_minute() -> None:
    clock = LeapingClock()
    windows = OrderWindows(clock, limit_1m=25, limit_10s=10)
    taken = 0
    for _ in range(6):
        while windows.admit(1, Priority.CLOSE) is None:
            windows.settle(1, NOTHING)
            taken += 1
        clock.seconds += 10
    assert taken == 25


@pytest.mark.parametrize("offset_s", [0.0, 0.5, 3.0, 9.5])
def test_no_span_of_a_windows_length_holds_more_than_the_limit(offset_s: float) -> None:
    """L7: where the exchange's windows begin is not known."""
    clock = LeapingClock()
    windows = OrderWindows(clock, limit_1m=1000, limit_10s=10)
    clock.seconds += offset_s
    sent: list[float] = []
    for _ in range(200):
        if windows.admit(1, Priority.CLOSE) is None:
            sent.append(clock.seconds)
            windows.settle(1, NOTHING)
        clock.seconds += 0.25
    assert all(sum(at <= other < at + 10 for other in sent) <= 10 for at in sent)
    assert len(sent) >= 45


def test_an_entry_is_let_in_only_with_room_for_its_exits() -> None:
    """L7: in every window, weight included, and what earlier entries still have to send counts."""
    clock = LeapingClock()
    for orders, weight, entries in ((100, 1000, 28), (1000, 100, 28), (1000, 1000, 283)):
        windows = OrderWindows(clock, limit_1m=1000, limit_10s=orders)
        budget = RequestBudget(clock, weight_limit_1m=weight)
        let_in = 0
        while keep_room_for_entry(budget, windows, f"trade {let_in}", EXITS, 1) is None:
            let_in += 1
        assert let_in == entries
        for number in range(let_in):
            for priority in (Priority.ENTRY, Priority.PROTECT, Priority.TARGET):
                assert windows.admit(1, Priority.CLOSE) is None, (number, priority)
                windows.kept.use(f"trade {number}", priority, 1)
        assert windows.kept.total == 0


def test_what_waits_is_ahead_of_what_is_less_important() -> None:
    """L7: stops before targets before entries."""
    clock = LeapingClock()
    windows = OrderWindows(clock, limit_1m=1000, limit_10s=10)
    windows.kept.keep("one", Priority.PROTECT, 4)
    windows.kept.keep("two", Priority.TARGET, 3)
    taken = dict.fromkeys(Priority, 0)
    for priority in (Priority.ENTRY, Priority.TARGET, Priority.PROTECT):
        while windows.admit(1, priority) is None:
            taken[priority] += 1
    assert (taken[Priority.ENTRY], taken[Priority.TARGET], taken[Priority.PROTECT]) == (1, 5, 4)


def test_room_is_not_kept_for_ever() -> None:
    clock = LeapingClock()
    windows = OrderWindows(clock, limit_1m=1000, limit_10s=3)
    windows.kept.keep("one", Priority.PROTECT, 3)
    assert windows.admit(1, Priority.ENTRY) is not None
    clock.seconds += 60
    assert windows.admit(1, Priority.ENTRY) is None
    windows.kept.keep("one", Priority.PROTECT, 3)
    windows.kept.release("one")
    assert windows.kept.total == 0


def test_too_many_orders_stops_orders_for_ten_seconds() -> None:
    clock = LeapingClock()
    windows = OrderWindows(clock)
    assert windows.refused(None) == 10.0
    assert windows.admit(1, Priority.CLOSE) == 10.0
    clock.seconds += 10
    assert windows.admit(1, Priority.CLOSE) is None


def test_answers_beyond_the_assumed_limit_show_a_higher_one_until_it_is_named() -> None:
    """A process that starts behind a busy one must be able to ask for the limits."""
    budget = RequestBudget(LeapingClock())
    assert budget.admit(1, Priority.QUERY) is None
    budget.settle(1, _used(5000))
    assert budget.admit(1, Priority.QUERY) is None
    budget.settle(1, _used(5001))
    budget.set_limit(2400)
    assert budget.admit(1, Priority.QUERY) is not None


def test_a_refusal_beyond_the_limit_shows_nothing() -> None:
    budget = RequestBudget(LeapingClock())
    assert budget.admit(1, Priority.QUERY) is None
    budget.settle(1, _used(2401), is_refusal=True)
    assert budget.admit(1, Priority.QUERY) is not None
