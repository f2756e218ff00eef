"""Online backup: whole, private, never over something else."""

from __future__ import annotations

import asyncio
import pickle
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.db.backup import backup
from app.db.executors import ThreadExecutor
from app.db.port import Unit
from app.db.postgres import PostgresDatabase
from app.db.sqlite import SqliteDatabase
from app.domain.errors import ConfigurationError, StoreUnavailable
from app.domain.events import Event
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from support.patience import PATIENCE_S
from support.postgres import MIGRATED, PostgresServer

START = datetime(2026, 11, 22, tzinfo=UTC)
MakeEvent = Callable[..., Event]


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def test_a_backup_of_a_database_in_use_holds_everything_committed(
    sqlite: SqliteDatabase, path: Path, tmp_path: Path, make_event: MakeEvent
) -> None:
    """The service goes on writing; what was acknowledged before is in the copy, without gaps."""
    for _ in range(50):
        await sqlite.commit(Unit((), (make_event(),)))
    copying = asyncio.create_task(asyncio.to_thread(backup, f"sqlite:///{path}", tmp_path / "copy.db"))
    while not copying.done():
        await sqlite.commit(Unit((), (make_event(),)))
    assert await copying == (tmp_path / "copy.db").stat().st_size
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert names_in(tmp_path) == {"tes.db", "tes.db-wal", "tes.db-shm", "copy.db"}

    copy = SqliteDatabase(f"sqlite:///{tmp_path / 'copy.db'}", ThreadExecutor())
    await copy.start()
    log = await EventRepository(copy).after(0, 100_000)
    assert len(log) >= 50
    assert [recorded.seq for recorded in log] == list(range(1, len(log) + 1))
    generation = (await EventRepository(copy).head()).generation
    assert generation not in ("0", (await EventRepository(sqlite).head()).generation)
    await copy.close()
    again = SqliteDatabase(f"sqlite:///{tmp_path / 'copy.db'}", ThreadExecutor())
    await again.start()
    assert (await EventRepository(again).head()).generation == generation
    await again.close()


async def test_a_backup_of_many_steps_is_of_one_moment_and_tells_how_far_it_is(
    sqlite: SqliteDatabase, path: Path, tmp_path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written between two steps neither starts the copy over nor gets half into it."""
    monkeypatch.setattr("app.db.backup._PAGES_AT_ONCE", 5)
    for _ in range(100):
        await sqlite.commit(Unit((), (make_event(),)))
    loop = asyncio.get_running_loop()
    told: list[tuple[int, int]] = []

    def writing_between(done: int, total: int) -> None:
        told.append((done, total))
        asyncio.run_coroutine_threadsafe(sqlite.commit(Unit((), (make_event(),))), loop).result(10)

    await asyncio.to_thread(backup, f"sqlite:///{path}", tmp_path / "copy.db", writing_between)
    assert len(told) > 3
    assert told == sorted(told)
    assert len({total for _, total in told}) == 1
    assert told[-1][0] == told[-1][1]
    copy = SqliteDatabase(f"sqlite:///{tmp_path / 'copy.db'}", ThreadExecutor())
    await copy.start()
    assert [recorded.seq for recorded in await EventRepository(copy).after(0, 1000)] == list(range(1, 101))
    await copy.close()


async def test_a_backup_never_replaces_a_file(sqlite: SqliteDatabase, path: Path, tmp_path: Path) -> None:
    """Yesterday's backup stays."""
    (tmp_path / "copy.db").write_text("yesterday")
    with pytest.raises(ConfigurationError, match="exists already"):
        backup(f"sqlite:///{path}", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "yesterday"


def test_there_must_be_a_database(path: Path, tmp_path: Path) -> None:
    """A misspelt URL makes no empty backup."""
    with pytest.raises(ConfigurationError, match="there is no database"):
        backup(f"sqlite:///{path}", tmp_path / "copy.db")
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreUnavailable, match="no SQLite database"):
        backup(f"sqlite:///{path}", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "copy.db.partial").exists()


@pytest.mark.long
async def test_a_backup_of_postgresql_is_a_script_that_restores_it(
    postgres: PostgresServer, tmp_path: Path, make_event: MakeEvent
) -> None:
    """Made while the service writes; the copy goes on where the original was."""
    database = PostgresDatabase(postgres.new_database(MIGRATED), ThreadExecutor())
    await database.start()
    for number in range(50):
        await database.commit(Unit((), (make_event(text=f"tab\t back\\slash newline\n {number} ü"),)))
    decisions = DecisionRepository(database)
    await decisions.accept("first", "default", "hash", {}, START, ())
    file = tmp_path / "copy.sql"
    copying = asyncio.create_task(asyncio.to_thread(backup, database._location.url, file))
    while not copying.done():
        await database.commit(Unit((), (make_event(),)))
    assert await copying == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    original = await EventRepository(database).after(0, 100_000)
    generation = (await EventRepository(database).head()).generation
    await database.close()

    restored = postgres.new_database()
    psql = [postgres.program("psql"), "--set", "ON_ERROR_STOP=1", "--quiet", "--file", str(file), restored]
    await asyncio.to_thread(subprocess.run, psql, check=True, timeout=PATIENCE_S)
    copy = PostgresDatabase(restored, ThreadExecutor())
    await copy.start()
    log = await EventRepository(copy).after(0, 100_000)
    assert len(log) >= 50
    assert log == original[: len(log)]
    (recorded,) = await DecisionRepository(copy).accept("second", "default", "hash", {}, START, [make_event()])
    assert recorded.seq == len(log) + 1
    page = await DecisionRepository(copy).page(pickle.dumps, 10)
    assert [pickle.loads(shown).decision_id for shown in page.items] == ["second", "first"]
    assert (await EventRepository(copy).head()).generation not in ("0", generation)
    await copy.close()


def test_an_empty_server_database_is_no_backup(postgres: PostgresServer, tmp_path: Path) -> None:
    """As with a misspelt file."""
    with pytest.raises(ConfigurationError, match="is empty"):
        backup(postgres.new_database(), tmp_path / "copy.sql")
    assert names_in(tmp_path) == set()
