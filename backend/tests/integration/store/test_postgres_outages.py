"""A PostgreSQL server that goes away, comes back, gets stuck or loses an answer (scenario C2)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db import migrate, postgres_server
from app.db.executors import ThreadExecutor
from app.db.migrate import upgrade
from app.db.port import Unit
from app.db.postgres import PostgresDatabase
from app.db.postgres_session import ConnectionLost, PostgresSession
from app.domain.errors import ConfigurationError, StoreUnavailable
from app.domain.events import Event
from app.repositories.events import EventRepository
from support.patience import PATIENCE_S
from support.postgres import MIGRATED, PostgresServer, running_postgres

MakeEvent = Callable[..., Event]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    with running_postgres() as server:
        server.execute(f"CREATE DATABASE {MIGRATED}")
        upgrade(server.url(MIGRATED))
        yield server


@pytest.fixture
async def database(server: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    """A started database."""
    database = PostgresDatabase(server.new_database(MIGRATED), ThreadExecutor())
    await database.start()
    yield database
    await database.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def backend_pid(database: PostgresDatabase) -> int:
    session = database._writer._session
    assert session is not None
    return session._libpq.backend_pid


@pytest.mark.long
async def test_a_server_that_restarts_is_found_again_and_no_record_is_lost(
    server: PostgresServer, database: PostgresDatabase, make_event: MakeEvent
) -> None:
    """Intents are refused meanwhile, records land in their order, reads answer again; nobody restarts anything."""
    await database.commit(Unit((), (make_event(),)))
    assert await EventRepository(database).last_seq() == 1
    server.stop()
    records = [database.enqueue(Unit((), (make_event(),), must_land=True)) for _ in range(3)]
    with pytest.raises(StoreUnavailable, match=r"check that the server runs|the server was shut down"):
        await database.commit(Unit((), (make_event(),)))
    assert not database.health.is_healthy
    with pytest.raises(StoreUnavailable):
        await EventRepository(database).last_seq()
    server.start()
    assert [recorded.seq for record in records for recorded in await record] == [2, 3, 4]
    assert database.health.is_healthy
    log = await EventRepository(database).after(0, 10)
    assert [recorded.event.id for recorded in log] == ["event-1", "event-2", "event-3", "event-4"]


async def test_health_returns_without_traffic(
    server: PostgresServer, database: PostgresDatabase, make_event: MakeEvent
) -> None:
    """With nothing left to write, a probe finds out that the server is back."""
    server.stop()
    with pytest.raises(StoreUnavailable):
        await database.commit(Unit((), (make_event(),)))
    server.start()
    await until(lambda: database.health.is_healthy)


async def test_an_idle_connection_that_the_server_ended_costs_one_refusal_at_most(
    database: PostgresDatabase, server: PostgresServer, make_event: MakeEvent
) -> None:
    """As after a failover: what must land lands without anybody's doing."""
    await database.commit(Unit((), (make_event(),)))
    server.execute(f"SELECT pg_terminate_backend({backend_pid(database)})")
    (recorded,) = await database.enqueue(Unit((), (make_event(),), must_land=True))
    assert recorded.seq == 2


@pytest.mark.parametrize("is_lost_before", [True, False], ids=["before it was carried out", "after it was"])
async def test_a_commit_whose_answer_is_lost_is_asked_after_and_happens_once(
    database: PostgresDatabase, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch, is_lost_before: bool
) -> None:
    """Neither refused while it is on record nor written twice: the server knows what became of the transaction."""
    await database.commit(Unit((), (make_event(),)))
    run = PostgresSession.run
    lost = []

    def losing(session: PostgresSession, operations: Any) -> Any:
        if operations[0].text == "COMMIT" and not lost:
            lost.append(True)
            if not is_lost_before:
                run(session, operations)
            raise ConnectionLost("the cable was cut")
        return run(session, operations)

    monkeypatch.setattr(PostgresSession, "run", losing)
    intent = database.enqueue(Unit((), (make_event(),)))
    record = database.enqueue(Unit((), (make_event(),), must_land=True))
    assert [recorded.seq for landing in (intent, record) for recorded in await landing] == [2, 3]
    assert lost
    assert database.health.is_healthy
    log = await EventRepository(database).after(0, 10)
    assert [recorded.event.id for recorded in log] == ["event-1", "event-2", "event-3"]


async def test_while_a_commit_is_in_doubt_new_intents_are_refused_and_its_own_waits(
    database: PostgresDatabase, server: PostgresServer, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the lost answer is told what happened, not what might have."""
    run = PostgresSession.run

    def losing(session: PostgresSession, operations: Any) -> Any:
        if operations[0].text == "COMMIT":
            run(session, operations)
            server.stop()
            raise ConnectionLost("the cable was cut")
        return run(session, operations)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresSession, "run", losing)
        intent = database.enqueue(Unit((), (make_event(),)))
        await until(lambda: not database.health.is_healthy)
    with pytest.raises(StoreUnavailable, match="in doubt"):
        database.enqueue(Unit((), (make_event(),)))
    assert not intent.done()
    server.start()
    assert [recorded.seq for recorded in await intent] == [1]
    assert [recorded.seq for recorded in await database.commit(Unit((), (make_event(),)))] == [2]


async def test_another_program_that_numbers_events_costs_no_number(
    database: PostgresDatabase, make_event: MakeEvent
) -> None:
    """Two processes share one log: each finds where the other left the counter."""
    other = PostgresDatabase(database._location.url, ThreadExecutor())
    await other.start()
    writers = [database, other] * 20
    landed = await asyncio.gather(*(writer.commit(Unit((), (make_event(),))) for writer in writers))
    assert sorted(recorded.seq for events in landed for recorded in events) == list(range(1, 41))
    await other.close()


async def test_a_server_that_is_read_only_is_named(
    server: PostgresServer, database: PostgresDatabase, make_event: MakeEvent
) -> None:
    """A replica, or a primary that protects a full disk."""
    await database.commit(Unit((), (make_event(),)))
    name = database._location.url.partition("?")[0].rpartition("/")[2]
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    server.execute(f"SELECT pg_terminate_backend({backend_pid(database)})")
    record = database.enqueue(Unit((), (make_event(),), must_land=True))
    await until(lambda: "read-only: name the primary" in str(database.health.reason))
    assert not record.done()
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert [recorded.seq for recorded in await record] == [2]


async def test_a_lock_that_another_program_holds_is_named(
    server: PostgresServer, database: PostgresDatabase, make_event: MakeEvent
) -> None:
    """Somebody's open transaction holds the counter: waiting has an end, and so has the trouble."""
    with psycopg.connect(database._location.url) as other:
        other.execute("UPDATE counters SET value = value")
        with pytest.raises(StoreUnavailable, match="another program holds a lock"):
            await database.commit(Unit((), (make_event(),)))
    await until(lambda: database.health.is_healthy)


async def test_a_server_that_does_not_answer_is_given_up(
    server: PostgresServer, database: PostgresDatabase, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence ends in a refusal; the answer that comes later is nobody's."""
    await database.commit(Unit((), (make_event(),)))
    monkeypatch.setattr(postgres_server, "ANSWER_TIMEOUT_S", 0.2)
    frozen = backend_pid(database)
    os.kill(frozen, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer for 0\.2 s"):
            await database.commit(Unit((), (make_event(),)))
    finally:
        os.kill(frozen, signal.SIGCONT)
    monkeypatch.undo()
    await until(lambda: database.health.is_healthy)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://tes:hunter2@127.0.0.1:1/tes", "127.0.0.1:1/tes: check that the server runs"),
        ("postgresql://tes:hunter2@127.0.0.1:x/tes", "no PostgreSQL URL"),
        ("postgresql://tes:hunter2@127.0.0.1/tes?colour=red", "no PostgreSQL URL"),
    ],
)
async def test_a_server_that_is_not_there_is_named_without_the_password(url: str, said: str) -> None:
    """One sentence; the start fails."""
    with pytest.raises((StoreUnavailable, ConfigurationError), match=said) as raised:
        await PostgresDatabase(url, ThreadExecutor()).start()
    assert "hunter2" not in str(raised.value)


async def test_a_database_that_is_not_there_is_named(server: PostgresServer) -> None:
    """The fix is the operator's: we make tables, not databases."""
    with pytest.raises(StoreUnavailable, match=r'does not let us in \(database "nowhere" does not exist\)'):
        await PostgresDatabase(server.url("nowhere"), ThreadExecutor()).start()


async def test_a_newer_schema_is_refused_and_left_alone(server: PostgresServer) -> None:
    """An old program never writes into a schema that it does not know."""
    url = server.new_database(MIGRATED)
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute("UPDATE alembic_version SET version_num = '9999'", name)
    with pytest.raises(StoreUnavailable, match="version 9999"):
        await PostgresDatabase(url, ThreadExecutor()).start()


@pytest.mark.long
async def test_two_programs_that_start_together_migrate_once(server: PostgresServer, tmp_path: Path) -> None:
    """The second waits for the first and finds everything done."""
    url = server.new_database()
    both = [PostgresDatabase(url, ThreadExecutor()) for _ in range(2)]
    await asyncio.gather(*(database.start() for database in both))
    for database in both:
        await database.close()


@pytest.mark.long
async def test_a_migration_on_a_busy_host_is_not_taken_for_a_frozen_one(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read the revisions took longer than a transaction may be idle, and the first start failed."""
    read = migrate.script

    def slowly(*what: str | None) -> str:
        time.sleep(1.7)
        return read(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(migrate, "script", slowly)
    database = PostgresDatabase(server.new_database(), ThreadExecutor())
    await database.start()
    await database.close()
