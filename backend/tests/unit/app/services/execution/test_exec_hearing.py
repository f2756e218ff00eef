"""A stream is called deaf on evidence only, and not again before it had its time (scenario W2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.services.execution.hearing import Hearing

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def listening() -> Hearing:
    hearing = Hearing()
    hearing.connected(at(0))
    hearing.heard(at(1))
    hearing.judge([], has_differences=False, now=at(5))
    return hearing


def test_a_change_that_no_frame_told_of_is_evidence_once_its_time_is_up() -> None:
    hearing = listening()
    assert hearing.judge([at(10)], has_differences=False, now=at(12)) is None
    assert "did not tell" in (hearing.judge([at(10)], has_differences=False, now=at(14)) or "")


def test_what_the_stream_told_of_or_what_was_before_it_is_none() -> None:
    hearing = listening()
    hearing.heard(at(20))
    assert hearing.judge([at(-100), at(20)], has_differences=False, now=at(30)) is None


def test_an_execution_that_only_reads_showed_is_evidence() -> None:
    hearing = listening()
    hearing.executed(at(1.1))
    assert hearing.judge([], has_differences=False, now=at(9)) is not None


def test_a_difference_is_evidence_only_where_nothing_at_all_was_heard() -> None:
    hearing = listening()
    hearing.heard(None)
    assert hearing.judge([], has_differences=True, now=at(20)) is None
    assert hearing.judge([], has_differences=True, now=at(50)) is not None


def test_a_lost_stream_is_not_doubted_and_a_doubted_one_gets_its_time() -> None:
    hearing = listening()
    assert hearing.judge([at(10)], has_differences=False, now=at(14)) is not None
    hearing.lost()
    assert hearing.judge([at(20)], has_differences=True, now=at(60)) is None
    hearing.connected(at(61))
    assert hearing.judge([at(70)], has_differences=False, now=at(74)) is not None
    hearing.connected(at(75))
    assert hearing.judge([at(80)], has_differences=False, now=at(84)) is None
