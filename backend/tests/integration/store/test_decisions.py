"""Decisions on record: accepted once, found again whole, completed and corrected."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.db.port import Database
from app.domain.errors import StoreConflict
from app.domain.events import Event, EventType
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.repositories.events import EventRepository
from app.repositories.pages import InvalidCursor
from app.schemas.decision import Action
from app.schemas.result import AssetResult, AssetStatus, ExecutionResult, ResultStatus

MakeEvent = Callable[..., Event]
NOW = datetime(2026, 11, 22, 10, 15, 0, 123456, tzinfo=UTC)
BODY = {"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": "1000"}], "note": 2**80}


def result(decision_id: str, status: AssetStatus = AssetStatus.PROTECTED) -> ExecutionResult:
    asset = AssetResult(asset="BTCUSDT", action=Action.BUY, status=status, success=True)
    return ExecutionResult(
        decision_id=decision_id,
        account_id="default",
        is_paper=True,
        status=ResultStatus.EXECUTED,
        success=True,
        received_at=NOW,
        completed_at=NOW + timedelta(seconds=1),
        results=(asset,),
    )


async def accept(repository: DecisionRepository, decision_id: str, account_id: str = "default") -> None:
    await repository.accept(decision_id, account_id, "hash", BODY, NOW, ())


async def test_a_decision_is_found_as_it_came(database: Database, make_event: MakeEvent) -> None:
    """The body comes back to the last digit, and the event is in the log with it."""
    repository = DecisionRepository(database)
    await repository.accept("d-1", "default", "hash", BODY, NOW, [make_event(EventType.DECISION_RECEIVED)])
    assert await repository.find("d-1") == StoredDecision(
        account_id="default",
        decision_id="d-1",
        body_hash="hash",
        body=BODY,
        status=ResultStatus.PENDING,
        received_at=NOW,
    )
    (recorded,) = await EventRepository(database).after(0, 10)
    assert recorded.event.type is EventType.DECISION_RECEIVED
    assert await repository.find("d-2") is None


async def test_of_many_at_once_one_is_accepted(database: Database, make_event: MakeEvent) -> None:
    """The same decision in parallel: one execution (C5)."""
    repository = DecisionRepository(database)
    landings = [repository.accept("d-1", "default", "hash", BODY, NOW, [make_event()]) for _ in range(10)]
    outcomes = await asyncio.gather(*landings, return_exceptions=True)
    assert [isinstance(outcome, StoreConflict) for outcome in outcomes] == [False] + [True] * 9
    assert await EventRepository(database).last_seq() == 1


async def test_the_id_is_used_once_whichever_account_it_is_for(database: Database) -> None:
    """Two accounts can't share an id: the same id with another body is refused."""
    repository = DecisionRepository(database)
    await accept(repository, "d-1")
    with pytest.raises(StoreConflict):
        await accept(repository, "d-1", "second")


async def test_a_completed_decision_carries_its_result_and_can_be_corrected(
    database: Database, make_event: MakeEvent
) -> None:
    """A fill that turns up later changes the result (U10)."""
    repository = DecisionRepository(database)
    await accept(repository, "d-1")
    for status in (AssetStatus.FAILED, AssetStatus.PROTECTED):
        ended = result("d-1", status)
        await repository.complete(
            "default",
            "d-1",
            ResultStatus.EXECUTED,
            ended.model_dump(mode="json"),
            NOW,
            [make_event(EventType.DECISION_COMPLETED)],
        )
        found = await repository.find("d-1")
        assert found is not None
        assert (found.status, found.result, found.completed_at) == (ResultStatus.EXECUTED, ended, NOW)


async def test_a_decision_that_is_not_there_can_not_be_completed(database: Database) -> None:
    """That would be a result of nothing."""
    repository = DecisionRepository(database)
    with pytest.raises(StoreConflict):
        await repository.complete(
            "default", "d-1", ResultStatus.EXECUTED, result("d-1").model_dump(mode="json"), NOW, ()
        )


async def test_unfinished_are_those_without_an_end_oldest_first(database: Database) -> None:
    """What a restart has to look after."""
    repository = DecisionRepository(database)
    for decision_id in ("d-1", "d-2", "d-3"):
        await accept(repository, decision_id)
    await accept(repository, "d-4", "second")
    await repository.complete("default", "d-2", ResultStatus.EXECUTED, result("d-2").model_dump(mode="json"), NOW, ())
    assert [stored.decision_id for stored in (await repository.unfinished("default")).items] == ["d-1", "d-3"]


async def test_pages_are_newest_first_and_stay_put_while_the_list_grows(database: Database) -> None:
    """New decisions between two pages shift nothing."""
    repository = DecisionRepository(database)
    for number in range(5):
        await accept(repository, f"d-{number}")
    first = await repository.page(pickle.dumps, 2)
    await accept(repository, "d-5")
    second = await repository.page(pickle.dumps, 2, first.next_cursor)
    third = await repository.page(pickle.dumps, 2, second.next_cursor)
    pages = [[pickle.loads(shown).decision_id for shown in page.items] for page in (first, second, third)]
    assert pages == [["d-4", "d-3"], ["d-2", "d-1"], ["d-0"]]
    assert third.next_cursor is None
    with pytest.raises(InvalidCursor):
        await repository.page(pickle.dumps, 2, "nonsense")
