"""Real databases for each test, and the words that the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.db.port import Database
from app.db.sqlite import SqliteDatabase
from app.domain.events import Event, EventType

START = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
MakeEvent = Callable[..., Event]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's database lives."""
    return tmp_path / "tes.db"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started database of each kind, with the executor of production."""
    database = make_database(database_url, ThreadExecutor())
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    """A started SQLite database that does not wait long for locks."""
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
