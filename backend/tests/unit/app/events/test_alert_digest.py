"""What a channel is told, and when: once, counted, gathered; never too often, and nothing critical is lost."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.events.alerts.digest import AGAIN_S, Digest, Message, Notice

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
WINDOW_S = 300.0


def notice(code: str = "late_fill", asset: str = "BTCUSDT", *, is_critical: bool = True, text: str = "x") -> Notice:
    return Notice(is_critical=is_critical, code=code, message=text, time=NOW, account_id="main", asset=asset)


def digest(per_minute: int = 20, limit: int = 500) -> Digest:
    return Digest(window_s=WINDOW_S, per_minute=per_minute, limit=limit)


def drained(of: Digest, now: float) -> list[Message]:
    """Every message that may go out now."""
    told = []
    while (message := of.take(now)) is not None:
        told.append(message)
    return told


def test_an_alert_is_told_at_once_and_its_repetitions_as_one_message_when_the_window_ends() -> None:
    one = digest()
    one.add(notice(), 0)
    (first,) = drained(one, 0)
    for second in (10, 20, 30):
        one.add(notice(text=f"at {second}"), second)
        assert drained(one, second) == []
    assert one.next_at() == WINDOW_S
    (again,) = drained(one, WINDOW_S)
    assert [(item.times, item.since_s) for item in first.items] == [(1, None)]
    assert [(item.times, item.since_s, item.notice.message) for item in again.items] == [(3, WINDOW_S, "at 30")]


def test_after_a_quiet_window_the_same_alert_is_news_again() -> None:
    one = digest()
    one.add(notice(), 0)
    drained(one, 0)
    assert drained(one, WINDOW_S) == []
    assert one.next_at() is None
    one.add(notice(), WINDOW_S + 1)
    (message,) = drained(one, WINDOW_S + 1)
    assert message.items[0].since_s is None


def test_another_asset_code_or_severity_is_another_alert() -> None:
    one = digest()
    for number, different in enumerate(
        [notice(), notice(asset="ETHUSDT"), notice(code="halted"), notice(is_critical=False)], start=1
    ):
        one.add(different, 0)
        assert len(drained(one, 0)) == 1, number


def test_over_the_rate_warnings_are_gathered_and_critical_alerts_go_first() -> None:
    """A part of the rate is kept for what is critical."""
    one = digest(per_minute=20)
    for number in range(30):
        one.add(notice(asset=f"A{number}", is_critical=False), 0)
    (gathered,) = drained(one, 0)
    assert (gathered.alerts, gathered.is_critical) == (30, False)
    for number in range(30, 60):
        one.add(notice(asset=f"A{number}", is_critical=False), 0)
        drained(one, 0)
    for number in range(2):
        one.add(notice(asset=f"A{number}"), 0)
        (message,) = drained(one, 0)
        assert message.is_critical


def test_over_the_rate_critical_alerts_are_gathered_within_seconds() -> None:
    one = digest(per_minute=20)
    for number in range(30):
        one.add(notice(asset=f"A{number}"), 0)
        drained(one, 0)
    due = one.next_at()
    assert due is not None
    assert due <= 6
    (gathered,) = drained(one, due)
    assert gathered.alerts == 20


def test_more_different_alerts_than_can_be_kept_apart_are_counted() -> None:
    one = digest(limit=3)
    for number in range(10):
        one.add(notice(asset=f"A{number}"), 0)
    (message,) = drained(one, 0)
    assert (len(message.items), message.further) == (3, 7)


def test_a_critical_alert_that_was_not_delivered_is_told_again_with_what_came_meanwhile() -> None:
    one = digest()
    one.add(notice(), 0)
    (message,) = drained(one, 0)
    one.failed(message, 30)
    one.add(notice(), 31)
    assert drained(one, 31) == []
    (again,) = drained(one, 30 + AGAIN_S)
    assert [(item.times, item.since_s) for item in again.items] == [(2, None)]


def test_a_warning_that_was_not_delivered_leaves_the_next_one_free_to_go() -> None:
    one = digest()
    one.add(notice(is_critical=False), 0)
    (message,) = drained(one, 0)
    one.failed(message, 30)
    assert drained(one, 30 + AGAIN_S) == []
    one.add(notice(is_critical=False), 100)
    assert len(drained(one, 100)) == 1


def test_the_rest_is_one_message_for_each_severity() -> None:
    one = digest()
    for number in range(5):
        one.add(notice(asset=f"A{number}"), 0)
        one.add(notice(asset=f"A{number}", is_critical=False), 0)
    one.take(0)
    one.add(notice(asset="A0"), 1)
    assert [(message.is_critical, message.alerts) for message in one.rest(1)] == [(True, 5), (False, 5)]
    assert one.rest(2) == []


STEPS = st.lists(
    st.tuples(
        st.floats(0, 40),  # seconds until it is raised
        st.booleans(),
        st.sampled_from(["late_fill", "halted"]),
        st.integers(0, 30),  # the asset
        st.sampled_from(["taken", "taken", "taken", "refused"]),
    ),
    max_size=200,
)


@given(STEPS, st.integers(2, 40), st.integers(1, 70))
def test_whatever_is_raised_the_rate_holds_and_nothing_is_lost_or_told_twice(
    steps: list[tuple[float, bool, str, int, str]], per_minute: int, limit: int
) -> None:
    """What is raised equals what is told, refused messages apart, of which warnings are gone and critical ones not."""
    one = digest(per_minute, limit)
    raised: Counter[bool] = Counter()
    told: Counter[bool] = Counter()
    lost: Counter[bool] = Counter()
    sent_at: list[float] = []
    told_at: dict[object, float] = {}
    now = 0.0

    def hear(message: Message, *, is_taken: bool) -> None:
        sent_at.append(now)
        if not is_taken:
            one.failed(message, now)
            lost[message.is_critical] += 0 if message.is_critical else message.alerts
        else:
            told[message.is_critical] += message.alerts
        for item in message.items:
            subject = item.notice.subject
            assert now - told_at.get(subject, -WINDOW_S) >= WINDOW_S - 1e-6, "told again within the window"
            if is_taken:
                told_at[subject] = now
        assert all(item.times >= 1 for item in message.items)

    def pass_time(until: float) -> None:
        nonlocal now
        while (due := one.next_at()) is not None and due <= until:
            now = max(now, due)
            for message in drained(one, now):
                hear(message, is_taken=True)
        now = until

    for wait_s, is_critical, code, asset, answer in steps:
        pass_time(now + wait_s)
        one.add(notice(code, f"A{asset}", is_critical=is_critical), now)
        raised[is_critical] += 1
        for message in drained(one, now):
            hear(message, is_taken=answer == "taken")
    for start, moment in enumerate(sent_at):
        assert sum(1 for other in sent_at[start:] if other < moment + 60) <= per_minute
    for message in one.rest(now):
        told[message.is_critical] += message.alerts
    assert told + lost == raised
    assert one.next_at() is None


@given(STEPS, st.integers(2, 40))
def test_it_never_falls_asleep_over_something_to_tell(
    steps: list[tuple[float, bool, str, int, str]], per_minute: int
) -> None:
    """Whoever asks when told to has heard everything in the end, and a critical alert that is new within a minute."""
    one = digest(per_minute)
    now, heard = 0.0, 0
    for wait_s, is_critical, code, asset, _ in steps:
        now += wait_s
        one.add(notice(code, f"A{asset}", is_critical=is_critical), now)
        heard += sum(message.alerts for message in drained(one, now))
    turns = 0
    while (due := one.next_at()) is not None:
        now = max(now, due)
        heard += sum(message.alerts for message in drained(one, now))
        turns += 1
        assert turns <= 4 * len(steps) + 4
    assert heard == len(steps)


@given(st.integers(2, 40), st.lists(st.floats(0, 5), min_size=1, max_size=150))
def test_a_new_critical_alert_waits_for_one_refill_at_most(per_minute: int, waits_s: list[float]) -> None:
    """However many warnings came before it."""
    one = digest(per_minute)
    now = 0.0
    for number, wait_s in enumerate(waits_s):
        now += wait_s
        one.add(notice(asset=f"A{number}", is_critical=False), now)
        drained(one, now)
    one.add(notice(), now)
    refill_s = 60 / (per_minute - per_minute // 2)
    told = drained(one, now)
    if not told:
        due = one.next_at()
        assert due is not None
        assert due <= now + refill_s
        told = drained(one, due)
    assert told[0].is_critical
