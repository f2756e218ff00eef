"""Intake while the database takes nothing more."""

from __future__ import annotations

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from story import START

from app.domain.errors import StoreUnavailable
from app.schemas.decision import parse_decision
from app.services.execution import results
from app.services.execution.intake import Intake, Submission
from app.services.execution.narration import Narrator
from app.services.execution.supervision import Supervisor
from support.patience import PATIENCE_S


async def test_a_result_that_cannot_be_recorded_is_told_all_the_same() -> None:
    """C2: whoever waits for a decision hears how it ended; the record is completed by the next start."""

    def accept(*_: Any) -> asyncio.Future[tuple[Any, ...]]:
        landing: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
        landing.set_result(())
        return landing

    def complete(*_: Any) -> Any:
        raise StoreUnavailable("20000 records wait for the database already")

    def now() -> datetime:
        return START

    decisions: Any = SimpleNamespace(accept=accept, complete=complete)
    clock: Any = SimpleNamespace(now=now)
    ids: Any = SimpleNamespace(new=lambda: "d-1")
    failures: list[Exception] = []
    intake = Intake(
        account_id="default",
        is_paper=True,
        decisions=decisions,
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=now),
        background=Supervisor(clock, failures.append),
        ids=ids,
        clock=clock,
        require_ready=lambda _: None,
    )
    decision = parse_decision('{"decisions": [{"asset": "BTCUSDT", "action": "hold"}]}')
    submission = Submission(await intake.admit(decision), intake.result_of)
    intake.report(submission.decision_id, START, results.skipped(decision.decisions[0]))
    result = await asyncio.wait_for(submission.wait(None), PATIENCE_S)
    assert result.status == "executed"
