"""Disk full and locked files (scenario C2): intents are refused, records wait and land in order, health tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from app.db.executors import InlineExecutor, ThreadExecutor
from app.db.port import Unit
from app.db.sqlite import SqliteDatabase
from app.db.sqlite_writer import SqliteWriter
from app.domain.errors import StoreUnavailable
from app.domain.events import Event
from app.repositories.events import EventRepository
from support.locks import locked
from support.patience import PATIENCE_S

MakeEvent = Callable[..., Event]
LARGE = "x" * 100_000


def limit_pages(database: SqliteDatabase, pages: int) -> None:
    """Let the file grow no further than that; a small number means no further than it is."""
    assert database._writer is not None
    database._writer._connection.pragma("max_page_count", pages)


async def until_healthy(database: SqliteDatabase) -> None:
    while not database.health.is_healthy:
        await asyncio.sleep(0.005)


async def test_a_full_disk_refuses_intents_and_keeps_records_in_order(
    sqlite: SqliteDatabase, make_event: MakeEvent
) -> None:
    """What happened lands once there is space, before everything that came later."""
    limit_pages(sqlite, 1)
    records = [sqlite.enqueue(Unit((), (make_event(text=LARGE),), must_land=True)) for _ in range(3)]
    with pytest.raises(StoreUnavailable, match=r"full: free some space"):
        await sqlite.commit(Unit((), (make_event(text=LARGE),)))
    assert "full" in str(sqlite.health.reason)
    assert not any(record.done() for record in records)
    assert await EventRepository(sqlite).last_seq() == 0

    late = sqlite.enqueue(Unit((), (make_event(),), must_land=True))
    limit_pages(sqlite, 1_000_000)
    assert [recorded.seq for record in [*records, late] for recorded in await record] == [1, 2, 3, 4]
    assert sqlite.health.is_healthy
    log = await EventRepository(sqlite).after(0, 10)
    assert [recorded.event.id for recorded in log] == ["event-1", "event-2", "event-3", "event-5"]


async def test_a_lock_held_elsewhere_is_named_and_health_returns_without_traffic(
    sqlite: SqliteDatabase, path: Path, make_event: MakeEvent
) -> None:
    """With nothing left to write, a probe finds out that the lock is gone."""
    with locked(path):
        with pytest.raises(StoreUnavailable, match="another program holds the file locked"):
            await sqlite.commit(Unit((), (make_event(),)))
        assert str(path) in str(sqlite.health.reason)
        assert await EventRepository(sqlite).last_seq() == 0  # reading goes on
    await asyncio.wait_for(until_healthy(sqlite), PATIENCE_S)
    assert [recorded.seq for recorded in await sqlite.commit(Unit((), (make_event(),)))] == [1]


async def test_a_probe_is_a_write(sqlite: SqliteDatabase, path: Path) -> None:
    """A row that stays as it was is no write to SQLite, and would find a full disk healthy."""
    journal = path.with_name("tes.db-wal")
    before = journal.stat().st_size
    sqlite._probe(None)
    assert journal.stat().st_size > before


async def test_closing_a_database_that_takes_nothing_ends(path: Path, make_event: MakeEvent) -> None:
    """The process can end; what could not be written is told."""
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor(), busy_timeout_ms=1)
    await database.start()
    with locked(path):
        record = database.enqueue(Unit((), (make_event(),), must_land=True))
        await asyncio.wait_for(database.close(), PATIENCE_S)
        with pytest.raises(StoreUnavailable, match="locked"):
            await record


async def test_a_bug_in_the_writer_leaves_nobody_hanging(
    sqlite: SqliteDatabase, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer thread survives, intents are refused, records wait for a better try."""

    def explode(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteWriter, "commit", explode)
        record = sqlite.enqueue(Unit((), (make_event(),), must_land=True))
        with pytest.raises(StoreUnavailable, match="internal error: RuntimeError: a bug"):
            await sqlite.commit(Unit((), (make_event(),)))
        assert not sqlite.health.is_healthy
    assert [recorded.seq for recorded in await record] == [1]
    assert sqlite.health.is_healthy


class VirtualClock:
    """Waits take no real time; what happens meanwhile is up to the test."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.waits: list[float] = []
        self._meanwhile = meanwhile

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._meanwhile()
        await asyncio.sleep(0)


async def test_inline_retries_wait_on_the_injected_clock(path: Path, make_event: MakeEvent) -> None:
    """A simulation owns the backoff, so that a seed replays exactly."""
    other: apsw.Connection | None = None

    def release_after_three_waits() -> None:
        if other is not None and len(clock.waits) == 3:
            other.execute("ROLLBACK")

    clock = VirtualClock(release_after_three_waits)
    database = SqliteDatabase(f"sqlite:///{path}", InlineExecutor(clock), busy_timeout_ms=0)  # type: ignore[arg-type]
    await database.start()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    record = database.enqueue(Unit((), (make_event(),), must_land=True))
    assert [recorded.seq for recorded in await record] == [1]
    assert clock.waits == [0.05, 0.1, 0.2]
    other.close()
    await database.close()


async def test_closing_during_a_backoff_does_not_wait_for_it(path: Path, make_event: MakeEvent) -> None:
    """The last tries begin at once; with the lock gone, the record lands."""
    clock = VirtualClock(lambda: None)
    database = SqliteDatabase(f"sqlite:///{path}", InlineExecutor(clock), busy_timeout_ms=0)  # type: ignore[arg-type]
    await database.start()
    with locked(path):
        record = database.enqueue(Unit((), (make_event(),), must_land=True))
        while not clock.waits:
            await asyncio.sleep(0)
    await database.close()
    assert [recorded.seq for recorded in await record] == [1]
