"""Group commit on a real file: atomic units, gapless events, isolated conflicts, ordered news."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert, select, update

from app.db.commit_queue import Job, Operation, Outcome
from app.db.executors import InlineExecutor, ThreadExecutor
from app.db.grouped import GroupedDatabase
from app.db.opening import make_database
from app.db.port import Database, Read, Unit, Write
from app.db.sqlite import SqliteDatabase
from app.db.statements import Query, Statement
from app.domain.errors import InvariantBroken, StoreConflict, StoreUnavailable
from app.domain.events import Event, RecordedEvent
from app.models import flags
from app.repositories.events import EventRepository
from support.patience import PATIENCE_S

MakeEvent = Callable[..., Event]

ADD = Statement(insert(flags).values({"key": bindparam("key"), "value": bindparam("value")}))
CHANGE = Statement(update(flags).where(flags.c.key == bindparam("name")).values({"value": bindparam("value")}))
ALL = Query(select(flags).order_by(flags.c.key))


def add(key: str, *events: Event, value: object = 1, must_land: bool = False) -> Unit:
    return Unit((Write(ADD, {"key": key, "value": value}),), events, must_land)


async def keys(database: Database) -> list[str]:
    return [row["key"] for row in await database.fetch(ALL, {})]


def count_commits(database: GroupedDatabase, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each commit of the writer appends the number of its jobs."""
    commits: list[int] = []
    commit = database._commit

    def counted(jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        commits.append(len(jobs))
        return commit(jobs, guard)

    monkeypatch.setattr(database, "_commit", counted)
    return commits


async def test_everything_that_waits_shares_one_commit(
    database: GroupedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one commit syncs, all that arrives is gathered for the next one."""
    commits = count_commits(database, monkeypatch)
    await asyncio.gather(*(database.commit(add(f"{number}")) for number in range(100)))
    assert 1 <= len(commits) <= 10
    assert len(await keys(database)) == 100


async def test_a_conflict_rolls_back_only_its_unit(database: GroupedDatabase, make_event: MakeEvent) -> None:
    """The neighbours in the same commit land, and no number is used by the one that did not."""
    first = database.enqueue(add("a", make_event()))
    taken = database.enqueue(Unit((*add("b").writes, *add("a").writes), (make_event(),)))
    last = database.enqueue(add("c", make_event()))
    assert [recorded.seq for recorded in await first] == [1]
    with pytest.raises(StoreConflict, match=r"UNIQUE|unique"):
        await taken
    assert [recorded.seq for recorded in await last] == [2]
    assert await keys(database) == ["a", "c"]


async def test_unexpected_row_counts_are_conflicts(database: GroupedDatabase, make_event: MakeEvent) -> None:
    """An update of something that is not there writes nothing of its unit."""
    lost = Unit((*add("a").writes, Write(CHANGE, {"name": "nobody", "value": 2}, expect_rows=1)), (make_event(),))
    with pytest.raises(StoreConflict, match="touched 0 rows, not 1"):
        await database.commit(lost)
    assert await keys(database) == []
    assert await EventRepository(database).last_seq() == 0
    assert database.health.is_healthy


async def test_a_unit_that_the_database_does_not_understand_fails_alone(
    database: GroupedDatabase, make_event: MakeEvent
) -> None:
    """Text that is no Unicode is our bug, not the database's trouble: nothing is retried."""
    neighbour = database.enqueue(add("a", make_event()))
    with pytest.raises(InvariantBroken, match="does not understand"):
        await database.commit(Unit((Write(ADD, {"key": "\ud800", "value": 1}),), (make_event(),)))
    assert [recorded.seq for recorded in await neighbour] == [1]
    assert [recorded.seq for recorded in await database.commit(add("b", make_event()))] == [2]
    assert await keys(database) == ["a", "b"]


async def test_seq_is_gapless_whatever_fails(database: GroupedDatabase, make_event: MakeEvent) -> None:
    """A hundred units, every third a conflict: the numbers still rise by one."""
    units = [add(f"{0 if number % 3 == 0 else number}", make_event(), make_event()) for number in range(100)]
    await asyncio.gather(*(database.enqueue(unit) for unit in units), return_exceptions=True)
    log = await EventRepository(database).after(0, 1000)
    assert [recorded.seq for recorded in log] == list(range(1, len(log) + 1))
    landed = len(await keys(database))
    assert len(log) == 2 * landed
    assert await EventRepository(database).last_seq() == len(log)


async def test_followers_hear_of_events_in_order_before_any_waiter_goes_on(
    database: GroupedDatabase, make_event: MakeEvent
) -> None:
    """Who awaits a commit may rely on its events being published."""
    heard: list[RecordedEvent] = []
    database.follow(heard.extend)
    landings = [database.enqueue(add(f"{number}", make_event(number=number))) for number in range(20)]
    for landing in landings:
        (recorded,) = await landing
        assert recorded in heard
    assert [recorded.seq for recorded in heard] == list(range(1, 21))
    assert heard == await EventRepository(database).after(0, 100)


async def test_a_read_sees_every_unit_whose_future_is_done(database: GroupedDatabase) -> None:
    """Read your own writes, each time."""
    for number in range(30):
        await database.commit(add(f"{number:02}"))
        assert (await keys(database))[-1] == f"{number:02}"


async def test_the_queries_of_a_snapshot_see_one_moment(database: GroupedDatabase) -> None:
    """Parts of a trade never come from different commits."""
    writing = [database.enqueue(add(f"{number}")) for number in range(200)]
    for _ in range(20):
        first, second = await database.snapshot(Read(ALL), Read(ALL))
        assert first == second
    await asyncio.gather(*writing)


async def test_close_writes_what_is_queued(database_url: str, make_event: MakeEvent) -> None:
    """Futures that nobody awaits are kept as well, and make no noise when they fail."""
    database = make_database(database_url, ThreadExecutor())
    await database.start()
    for number in range(1000):
        database.enqueue(add(f"{number % 900}", make_event()))
    await database.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        database.enqueue(add("late"))
    with pytest.raises(StoreUnavailable, match="not open"):
        await keys(database)
    again = make_database(database_url, ThreadExecutor())
    await again.start()
    assert len(await keys(again)) == 900
    assert await EventRepository(again).last_seq() == 900
    await again.close()
    await again.close()


async def test_wrong_parameters_are_refused_before_they_are_queued(database: GroupedDatabase) -> None:
    """The caller hears of its bug at once, not the writer thread."""
    with pytest.raises(InvariantBroken, match="other parameters"):
        database.enqueue(Unit((Write(ADD, {"key": "a"}),)))
    with pytest.raises(ValueError, match="JSON compliant"):
        database.enqueue(add("a", value=float("nan")))


class NoClock:
    """A clock for a database that never has to wait."""

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing failed, so nothing waits")


async def test_inline_commits_group_what_one_loop_iteration_brings(
    path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulation runs the same code without threads."""
    database = SqliteDatabase(f"sqlite:///{path}", InlineExecutor(NoClock()), busy_timeout_ms=0)  # type: ignore[arg-type]
    await database.start()
    commits = count_commits(database, monkeypatch)
    landings = [database.enqueue(add(f"{number}", make_event())) for number in range(10)]
    assert [seq for landing in landings for seq in [(await landing)[0].seq]] == list(range(1, 11))
    assert commits == [10]
    database.enqueue(add("last"))
    await database.close()
    assert not path.with_name("tes.db-wal").exists()


async def test_what_may_linger_lands_by_itself(database: SqliteDatabase, make_event: MakeEvent) -> None:
    landing = database.enqueue(Unit((), (make_event(),), must_land=True, may_linger=True))
    async with asyncio.timeout(PATIENCE_S):
        (recorded,) = await landing
    assert recorded.seq == 1


async def test_what_somebody_waits_for_takes_along_what_lingers_before_it(
    database: SqliteDatabase, make_event: MakeEvent
) -> None:
    """The order of the record is that of the facts."""
    lingering = [database.enqueue(Unit((), (make_event(),), must_land=True, may_linger=True)) for _ in range(3)]
    (awaited,) = await database.commit(Unit((), (make_event(),)))
    assert awaited.seq == 4
    assert [landing.result()[0].seq for landing in lingering] == [1, 2, 3]


async def test_what_lingers_when_the_database_is_closed_is_written(path: Path, make_event: MakeEvent) -> None:
    database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor())
    await database.start()
    landing = database.enqueue(Unit((), (make_event(),), must_land=True, may_linger=True))
    await database.close()
    assert landing.done()
    assert landing.result()[0].seq == 1
