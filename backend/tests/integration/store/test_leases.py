"""Leases on accounts, on each database: one owner, an epoch that every commit checks, time by the shared clock (C4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.db.port import Database, Read, Unit
from app.db.sqlite import SqliteDatabase
from app.domain.errors import OwnershipLost, StoreConflict
from app.domain.events import Event
from app.repositories.events import EventRepository
from app.repositories.leases import _LOOK, LEASE_S, LeaseRepository, Owner
from support.patience import PATIENCE_S

MakeEvent = Callable[..., Event]
FIRST, SECOND = Owner("first", "here", 1), Owner("second", "there", 2)


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' views of one database."""
    async with AsyncExitStack() as stack:
        both = make_database(database_url, ThreadExecutor()), make_database(database_url, ThreadExecutor())
        for database in both:
            stack.push_async_callback(database.close)
            await database.start()
        yield both


def unit(*events: Event, must_land: bool = False) -> Unit:
    return Unit((), events, must_land)


async def until_free(leases: LeaseRepository) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not all(lease.is_free for lease in (await leases.look()).values()):
            await asyncio.sleep(0.02)


def ran_out_while_the_loop_is_held_up(database: Any) -> bool:
    """Whether a lease ran out before its end was moved twice; looks on a connection of its own, and blocks the loop."""
    reader = database._browsers_reader()()
    looked = monotonic()
    ends: set[datetime] = set()
    while len(ends) < 3:
        ((row,),) = reader(Read(_LOOK, {"account": "a"}))
        if row["is_free"]:
            break
        ends.add(row["expires_at"])
        assert monotonic() - looked < PATIENCE_S
        sleep(0.02)
    reader.close()
    return len(ends) < 3


async def test_a_lease_is_renewed_while_the_event_loop_is_held_up(databases: tuple[Database, Database]) -> None:
    """A live owner does not lose its account to work of its own; one that is not alive does."""
    first, second = (LeaseRepository(database, ["a"]) for database in databases)
    epochs = await first.take(FIRST, {}, ())
    first.guard(epochs, print)
    first.keep_alive(epochs, lambda: True)
    assert not ran_out_while_the_loop_is_held_up(databases[1])
    await databases[0].commit(unit())
    assert databases[0].waiting == 0
    first.keep_alive(epochs, lambda: False)
    assert ran_out_while_the_loop_is_held_up(databases[1])
    assert await second.take(SECOND, await second.look(), ()) == {"a": 2}


async def test_a_lease_is_taken_once_and_given_back(databases: tuple[Database, Database]) -> None:
    """Who comes second sees who holds it; after the release it is free at once, and the epoch goes on."""
    first, second = (LeaseRepository(database, ["a"]) for database in databases)
    assert await first.look() == {}
    assert await first.take(FIRST, {}, ()) == {"a": 1}
    seen = await second.look()
    assert (seen["a"].owner, seen["a"].is_free, seen["a"].was_released) == (FIRST, False, False)
    with pytest.raises(StoreConflict):
        await second.take(SECOND, {}, ())
    with pytest.raises(StoreConflict):
        await second.take(SECOND, seen, ())
    await first.release({"a": 1})
    seen = await second.look()
    assert (seen["a"].is_free, seen["a"].was_released) == (True, True)
    assert await second.take(SECOND, seen, ()) == {"a": 2}
    with pytest.raises(StoreConflict):
        await first.renew({"a": 1})


async def test_all_accounts_are_taken_or_none(databases: tuple[Database, Database]) -> None:
    """Two processes that want each other's accounts never hold one each."""
    first, second = LeaseRepository(databases[0], ["a", "b"]), LeaseRepository(databases[1], ["b", "c"])
    await first.take(FIRST, {}, ())
    with pytest.raises(StoreConflict):
        await second.take(SECOND, {}, ())
    assert set(await second.look()) == {"b"}
    assert await LeaseRepository(databases[1], ["c"]).take(SECOND, {}, ()) == {"c": 1}


async def test_a_renewed_lease_stays_and_one_that_is_not_runs_out(databases: tuple[Database, Database]) -> None:
    """By the database's clock."""
    first, second = (LeaseRepository(database, ["a"]) for database in databases)
    await first.take(FIRST, {}, ())
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() < begun + LEASE_S:
        await first.renew({"a": 1})
        await asyncio.sleep(0.2)
    assert not (await second.look())["a"].is_free
    renewed = loop.time()
    await first.renew({"a": 1})
    await until_free(second)
    assert loop.time() - renewed > LEASE_S - 0.1
    assert LEASE_S < 3, "the contract: a dead owner's lease is free within 3 s"


async def test_a_lease_that_was_renewed_since_it_was_seen_is_not_taken(
    databases: tuple[Database, Database],
) -> None:
    """Whoever judged it abandoned, by whatever clock."""
    first, second = (LeaseRepository(database, ["a"]) for database in databases)
    await first.take(FIRST, {}, ())
    seen = {name: replace(lease, is_free=True) for name, lease in (await second.look()).items()}
    await first.renew({"a": 1})
    with pytest.raises(StoreConflict):
        await second.take(SECOND, seen, ())
    seen = {name: replace(lease, is_free=True) for name, lease in (await second.look()).items()}
    assert await second.take(SECOND, seen, ()) == {"a": 2}


async def test_who_lost_its_lease_writes_nothing_more(
    databases: tuple[Database, Database], make_event: MakeEvent
) -> None:
    """The whole group fails, records that must land too, and everything that comes later; the owner hears why."""
    first, second = (LeaseRepository(database, ["a"]) for database in databases)
    epochs = await first.take(FIRST, {}, ())
    lost: list[str] = []
    first.guard(epochs, lost.append)
    await databases[0].commit(unit(make_event()))
    await first.release(epochs)
    second.guard(await second.take(SECOND, await second.look(), ()), lost.append)

    group = [databases[0].enqueue(unit(make_event(), must_land=number % 2 == 0)) for number in range(10)]
    for landing in group:
        with pytest.raises(OwnershipLost, match="another process has taken over a"):
            await landing
    with pytest.raises(OwnershipLost):
        databases[0].enqueue(unit(make_event(), must_land=True))
    assert len(lost) == 1
    assert lost[0] in str(databases[0].health.reason)
    assert [recorded.seq for recorded in await databases[1].commit(unit(make_event()))] == [2]
    assert await EventRepository(databases[0]).last_seq() == 2  # reading goes on
    assert len(lost) == 1


async def test_accounts_of_two_owners_share_one_database(
    databases: tuple[Database, Database], make_event: MakeEvent
) -> None:
    """An account is what is owned, not the database; ``seq`` stays one gapless row of numbers."""
    for database, owner, account in zip(databases, (FIRST, SECOND), ("a", "b"), strict=True):
        leases = LeaseRepository(database, [account])
        leases.guard(await leases.take(owner, {}, ()), pytest.fail)
    writing = [database.commit(unit(make_event())) for _ in range(10) for database in databases]
    landed = [recorded.seq for events in await asyncio.gather(*writing) for recorded in events]
    assert sorted(landed) == list(range(1, 21))


async def test_a_conflict_beside_the_guard_is_still_only_a_conflict(
    databases: tuple[Database, Database], make_event: MakeEvent
) -> None:
    """The guard holds however the group is written."""
    leases = LeaseRepository(databases[0], ["a"])
    epochs = await leases.take(FIRST, {}, ())
    leases.guard(epochs, pytest.fail)
    event = make_event()
    await databases[0].commit(unit(event))
    again = databases[0].enqueue(unit(event))
    other = databases[0].enqueue(unit(make_event()))
    with pytest.raises(StoreConflict):
        await again
    assert [recorded.seq for recorded in await other] == [2]


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 22, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


async def test_a_file_judges_leases_by_the_injected_clock(path: Path) -> None:
    """A simulation owns time there as everywhere."""
    clock = Hands()
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor(), clock=clock)
    await database.start()
    leases = LeaseRepository(database, ["a"])
    await leases.take(FIRST, {}, ())
    lease = (await leases.look())["a"]
    assert (lease.since, lease.is_free) == (clock.moment, False)
    clock.moment += timedelta(seconds=LEASE_S) - timedelta(microseconds=1)
    assert not (await leases.look())["a"].is_free
    clock.moment += timedelta(microseconds=1)
    assert (await leases.look())["a"].is_free
    await database.close()
