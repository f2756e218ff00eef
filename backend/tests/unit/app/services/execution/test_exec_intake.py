"""Intake: a decision is taken on exactly once, durably, and answered with one result (scenario C5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from story import START

from app.db.executors import ThreadExecutor
from app.db.sqlite import SqliteDatabase
from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.ids import IdSource
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from app.schemas.decision import TradingDecision
from app.schemas.result import AssetResult, AssetStatus, ResultStatus
from app.services.execution.intake import Intake
from app.services.execution.narration import Narrator
from app.services.execution.steady_clock import SteadyClock
from app.services.execution.supervision import Supervisor
from support.patience import PATIENCE_S

ITEM = {"asset": "BTCUSDT", "action": "buy", "allocation_usd": "1000", "sl_price": "94000"}


@dataclass
class Bench:
    """An intake on a real database; :meth:`restarted` is another process on the same file."""

    database: SqliteDatabase
    time: datetime = START
    is_ready: bool = True
    numbers: count[int] = field(default_factory=lambda: count(1))
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decisions = DecisionRepository(self.database)
        self.intake = self.restarted()

    # a clock and randomness that tests move by hand
    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("intake waits for nothing but its disk")

    def uniform(self, low: float, high: float) -> float:
        return low

    def token(self, bits: int) -> int:
        return next(self.numbers)

    def require_ready(self, decision: TradingDecision) -> None:
        if not self.is_ready:
            raise DecisionRefused(ErrorCode.NOT_READY, "not yet")

    def restarted(self) -> Intake:
        narrator = Narrator(
            account_id="default", is_paper=True, new_id=lambda: f"e{next(self.numbers)}", now=lambda: self.time
        )
        return Intake(
            account_id="default",
            is_paper=True,
            decisions=self.decisions,
            narrator=narrator,
            background=Supervisor(self, self.failures.append),
            ids=IdSource(self, self),
            clock=SteadyClock(self),
            require_ready=self.require_ready,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    database = SqliteDatabase(f"sqlite:///{tmp_path / 'tes.db'}", ThreadExecutor())
    await database.start()
    yield Bench(database)
    await database.close()


def decision(decision_id: str | None = "d-1", **changes: Any) -> TradingDecision:
    outside = {name: changes.pop(name) for name in ("timestamp", "note") if name in changes}
    return TradingDecision.model_validate({"decision_id": decision_id, "decisions": [ITEM | changes], **outside})


def outcome(status: AssetStatus = AssetStatus.PROTECTED) -> AssetResult:
    return AssetResult(asset="BTCUSDT", action="buy", status=status, success=status.is_success)  # type: ignore[arg-type]


async def types(bench: Bench) -> list[str]:
    return [recorded.event.type.value for recorded in await EventRepository(bench.database).after(0, 100)]


async def test_a_new_decision_is_on_record_and_announced(bench: Bench) -> None:
    admission = await bench.intake.admit(decision())
    assert not admission.is_replay
    assert admission.running is not None
    await admission.running.landing
    stored = await bench.decisions.find("d-1")
    assert stored is not None
    assert stored.status is ResultStatus.PENDING
    assert stored.body["decisions"][0]["sl_price"] == "94000"
    assert await types(bench) == ["DecisionReceived"]


async def test_the_same_id_with_the_same_body_is_the_same_decision(bench: Bench) -> None:
    first = await bench.intake.admit(decision())
    again = await bench.intake.admit(decision())
    assert again.is_replay
    assert again.running is first.running


@pytest.mark.parametrize(
    "spelling",
    [
        {"allocation_usd": 1000},
        {"allocation_usd": "1000.00"},
        {"tp_price": None},
        {"leverage": None, "rationale": None},
        {"sl_price": "9.4e4"},
    ],
)
async def test_another_spelling_of_the_same_body_is_the_same_body(bench: Bench, spelling: dict[str, Any]) -> None:
    """Contract, section 4: null means absent; numbers may be JSON numbers or strings."""
    await bench.intake.admit(decision())
    assert (await bench.intake.admit(decision(**spelling))).is_replay


@pytest.mark.parametrize("change", [{"allocation_usd": "1001"}, {"action": "sell"}, {"leverage": 3}, {"note": "x"}])
async def test_the_same_id_with_another_body_is_a_conflict(bench: Bench, change: dict[str, Any]) -> None:
    await bench.intake.admit(decision())
    with pytest.raises(DecisionRefused, match="d-1 was used for another decision") as caught:
        await bench.intake.admit(decision(**change))
    assert caught.value.code is ErrorCode.DECISION_CONFLICT


async def test_of_many_at_once_one_is_new(bench: Bench) -> None:
    """Scenario C5: in parallel."""
    admissions = await asyncio.gather(*(bench.intake.admit(decision()) for _ in range(30)))
    assert sum(not admission.is_replay for admission in admissions) == 1
    assert len({id(admission.running) for admission in admissions}) == 1
    assert admissions[0].running is not None
    await admissions[0].running.landing
    assert await types(bench) == ["DecisionReceived"]


async def test_of_two_bodies_at_once_under_one_id_one_wins(bench: Bench) -> None:
    bodies = [decision(), decision(action="sell")]
    answers = await asyncio.gather(*(bench.intake.admit(one) for one in bodies), return_exceptions=True)
    assert sum(isinstance(answer, DecisionRefused) for answer in answers) == 1


async def test_a_replay_after_the_end_gets_the_first_result(bench: Bench) -> None:
    admission = await bench.intake.admit(decision())
    bench.intake.report("d-1", START, outcome())
    assert admission.running is not None
    await asyncio.wait_for(admission.running.ended.wait(), PATIENCE_S)
    again = await bench.intake.admit(decision())
    assert again.running is not None
    result = bench.intake.result_of(again.running)
    assert (result.status, result.success, result.completed_at) == (ResultStatus.EXECUTED, True, START)


async def test_a_replay_after_a_restart_gets_the_stored_result_even_when_not_ready(bench: Bench) -> None:
    admission = await bench.intake.admit(decision())
    assert admission.running is not None
    await admission.running.landing
    bench.intake.report("d-1", START, outcome())
    await bench.decisions.accept("barrier", "default", "h", {"decisions": []}, START, ())
    bench.is_ready = False
    bench.time += timedelta(days=1)
    again = await bench.restarted().admit(decision())
    assert again.is_replay
    assert again.running is None
    assert again.stored is not None
    assert again.stored.results == (outcome(),)


async def test_another_body_is_a_conflict_after_a_restart_too(bench: Bench) -> None:
    admission = await bench.intake.admit(decision())
    assert admission.running is not None
    await admission.running.landing
    with pytest.raises(DecisionRefused, match="used for another"):
        await bench.restarted().admit(decision(leverage=7))


async def test_an_unfinished_decision_is_taken_up_again_and_recognised(bench: Bench) -> None:
    admission = await bench.intake.admit(decision())
    assert admission.running is not None
    await admission.running.landing
    reborn = bench.restarted()
    (unfinished,) = (await bench.decisions.unfinished("default")).items
    running = reborn.resume(unfinished)
    again = await reborn.admit(decision())
    assert again.is_replay
    assert again.running is running
    reborn.report("d-1", START, outcome())
    await asyncio.wait_for(running.ended.wait(), PATIENCE_S)


async def test_ids_are_made_where_none_was_given(bench: Bench) -> None:
    first = await bench.intake.admit(decision(None))
    second = await bench.intake.admit(decision(None))
    assert first.decision_id != second.decision_id
    assert not second.is_replay


async def test_a_decision_that_is_not_taken_does_not_use_up_its_id(bench: Bench) -> None:
    """Contract, section 9: a 422 or 503 does not use up its decision_id."""
    bench.is_ready = False
    with pytest.raises(DecisionRefused) as caught:
        await bench.intake.admit(decision())
    assert caught.value.code is ErrorCode.NOT_READY
    bench.is_ready = True
    assert not (await bench.intake.admit(decision(action="sell"))).is_replay


@pytest.mark.parametrize(("ahead_s", "is_taken"), [(0, True), (5, True), (5.001, False), (3600, False)])
async def test_a_time_ahead_of_the_clock_is_refused(bench: Bench, ahead_s: float, is_taken: bool) -> None:
    asked = decision(timestamp=(START + timedelta(seconds=ahead_s)).isoformat())
    if is_taken:
        assert not (await bench.intake.admit(asked)).is_replay
    else:
        with pytest.raises(DecisionRefused, match=r"timestamp: .* ahead") as caught:
            await bench.intake.admit(asked)
        assert caught.value.code is ErrorCode.VALIDATION_ERROR


async def test_an_end_stays_unless_it_was_wrong(bench: Bench) -> None:
    """Scenario U10: a fill after ``failed`` corrects the result; nothing else changes an end."""
    admission = await bench.intake.admit(decision())
    running = admission.running
    assert running is not None
    await running.landing
    steps = {
        AssetStatus.FAILED: ResultStatus.FAILED,
        AssetStatus.PENDING: ResultStatus.FAILED,
        AssetStatus.PROTECTED: ResultStatus.EXECUTED,
        AssetStatus.CLOSED: ResultStatus.EXECUTED,
    }
    for number, (news, told) in enumerate(steps.items()):
        bench.intake.report("d-1", START, outcome(news))
        await bench.decisions.accept(f"barrier-{number}", "default", "h", {"decisions": []}, START, ())
        assert bench.intake.result_of(running).status is told
    stored = await bench.decisions.find("d-1")
    assert stored is not None
    assert stored.status is ResultStatus.EXECUTED
    assert await types(bench) == ["DecisionReceived", "DecisionCompleted", "DecisionCompleted"]


async def test_an_end_is_recorded_behind_its_beginning_however_quick_it_was(bench: Bench) -> None:
    """C2: an end without a beginning would never be taken by the database (found by the simulation, seed 116)."""
    running = (await bench.intake.admit(decision())).running
    assert running is not None
    bench.intake.report("d-1", START, outcome(AssetStatus.REJECTED))
    assert running.completed_at is None
    await asyncio.wait_for(running.ended.wait(), PATIENCE_S)
    assert await types(bench) == ["DecisionReceived", "DecisionRejected"]


async def test_a_decision_refused_as_a_whole_is_told_as_rejected(bench: Bench) -> None:
    running = (await bench.intake.admit(decision())).running
    assert running is not None
    await running.landing
    bench.intake.report("d-1", START, outcome(AssetStatus.REJECTED))
    await bench.decisions.accept("barrier", "default", "h", {"decisions": []}, START, ())
    assert await types(bench) == ["DecisionReceived", "DecisionRejected"]


async def test_what_was_begun_for_a_refused_record_does_not_answer_for_the_decision_sent_again(bench: Bench) -> None:
    """C5: the first attempt's end would be told of the second, which trades (seed 475)."""
    admission = await bench.intake.admit(decision())
    assert admission.running is not None
    await admission.running.landing
    bench.intake.forget(admission.running)  # as when its record was refused
    bench.time += timedelta(seconds=1)
    (stored,) = (await bench.decisions.unfinished("default")).items
    again = bench.intake.resume(replace(stored, received_at=bench.time))
    bench.intake.report("d-1", START, outcome(AssetStatus.REJECTED))
    assert bench.intake.result_of(again).status is ResultStatus.PENDING
    bench.intake.report("d-1", bench.time, outcome(AssetStatus.PROTECTED))
    await asyncio.wait_for(again.ended.wait(), 5)
    assert bench.intake.result_of(again).status is ResultStatus.EXECUTED
