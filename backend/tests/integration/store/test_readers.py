"""Reads of those who only look: in a process of their own, which may come and go."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.db import reader_process
from app.db.grouped import GroupedDatabase
from app.db.port import Database, Read, Unit
from app.db.sqlite import SqliteDatabase
from app.domain.errors import InvariantBroken, StoreUnavailable
from app.domain.events import EventType
from app.repositories.events import EventRepository, _after
from support import looking
from support.patience import PATIENCE_S

LAUNCH = """
import asyncio, sys
from app.db.executors import ThreadExecutor
from app.db.sqlite import SqliteDatabase
from support.looking import where

async def main():
    database = SqliteDatabase(sys.argv[1], ThreadExecutor())
    await database.start()
    print(await database.browse(where), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while is_there(pid):
            await asyncio.sleep(0.01)


async def test_lists_are_read_elsewhere_and_hold_up_neither_reads_nor_writes_of_trading(
    database: Database, tmp_path: Path
) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    looking_on = asyncio.create_task(database.browse(partial(looking.wait, begun, end)))
    async with asyncio.timeout(PATIENCE_S):
        while not begun.exists():
            await asyncio.sleep(0.01)
        await database.commit(Unit(()))
        assert await EventRepository(database).last_seq() == 0
    assert not looking_on.done()
    end.touch()
    assert await looking_on == "looked"
    assert await database.browse(looking.where) != os.getpid()


async def test_a_process_that_is_gone_is_started_again(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who asked while it ended is told to ask again; a bug in one piece of work ends nothing."""
    monkeypatch.setenv("TES_API_TOKEN", "not for readers")
    first = await sqlite.browse(looking.where)
    with pytest.raises(LookupError, match="of a test"):
        await sqlite.browse(looking.fail)
    assert await sqlite.browse(looking.where) == first
    names, arguments = await sqlite.browse(looking.surroundings)
    assert "PATH" in names
    assert not [name for name in names if name.startswith("TES_")]
    assert str(tmp_path) not in " ".join(arguments)
    os.kill(first, signal.SIGTERM)  # what an init system sends to all of a service means the one that trades
    assert await sqlite.browse(looking.where) == first
    os.kill(first, signal.SIGKILL)
    await until_gone(first)
    second = await sqlite.browse(looking.where)
    assert second != first
    with pytest.raises(StoreUnavailable, match="ask again"):
        await sqlite.browse(looking.die)
    await sqlite.close()
    assert not is_there(second)


async def test_a_process_that_falls_silent_is_ended(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = await sqlite.browse(looking.where)
    monkeypatch.setattr(reader_process, "ANSWER_TIMEOUT_S", 0.05)
    with pytest.raises(StoreUnavailable):
        await sqlite.browse(partial(looking.wait, tmp_path / "begun", tmp_path / "never"))
    assert not is_there(first)


async def test_it_does_not_outlive_a_killed_service(path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", LAUNCH, f"sqlite:///{path}"]
    service = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, env=environment)
    assert service.stdout is not None
    reader = int(await service.stdout.readline())
    assert is_there(reader)
    service.kill()
    await service.wait()
    await until_gone(reader)


async def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    class Local(Exception):
        pass

    said = reader_process._portable(Local("why"))
    assert isinstance(said, InvariantBroken)
    assert str(said) == "Local: why"


@pytest.mark.parametrize("types", [{EventType.HALTED}, {EventType.HALTED, EventType.RESUMED, EventType.ORDER_PLACED}])
async def test_few_types_are_found_by_index(database: Database, types: set[EventType]) -> None:
    """Each type is sought in its order, so a rare one among a million events costs no more than what it has."""
    query = _after(frozenset(types))
    parameters = {"after": 5, "limit": 10}
    assert isinstance(database, GroupedDatabase)
    compiled = query.compiled(database._dialect)
    text, values = compiled.text, compiled.bind(parameters)
    reader: Any = database._browsers_reader()()
    assert reader(Read(query, parameters)) == [[]]
    connection = reader._connection
    if isinstance(database, SqliteDatabase):
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        found = [line for line in plan if line == "SEARCH events USING INDEX ix_events_type_seq (type=? AND seq>?)"]
    else:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
        plan = [row[0] for row in connection.execute(f"EXPLAIN {text}", values).fetchall()]
        found = [line for line in plan if "Index Scan using ix_events_type_seq" in line]
    reader.close()
    assert len(found) == len(types), plan
