"""A real database file for each test, and the words that the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from app.db.executors import ThreadExecutor
from app.db.sqlite import SqliteDatabase
from app.domain.events import Event, EventType

START = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
MakeEvent = Callable[..., Event]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's database lives."""
    return tmp_path / "tes.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    """A started database with the executor of production."""
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor(), busy_timeout_ms=20)
    await database.start()
    yield database
    await database.close()


@pytest.fixture
def make_event() -> MakeEvent:
    """Events with ids of their own."""
    numbers = count(1)

    def make(kind: EventType = EventType.ORDER_PLACED, **data: object) -> Event:
        number = next(numbers)
        return Event(
            id=f"event-{number}",
            type=kind,
            time=START + timedelta(microseconds=number),
            account_id="default",
            is_paper=True,
            asset="BTCUSDT",
            data=data,
        )

    return make
