"""Ownership of an account, on a clock that the test moves (scenario C4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db.port import Health
from app.domain.errors import OwnershipLost, StoreConflict, StoreUnavailable
from app.domain.events import Event, EventType
from app.repositories.leases import LEASE_S, Lease, Owner
from app.services.ownership import HELD_UP_S, MARGIN_S, PATIENCE_S, RENEW_S, SETTLE_S, Ownership

START = datetime(2026, 11, 22, tzinfo=UTC)
US, THEM = Owner("us", "here", 1), Owner("them", "there", 2)
HEALTHY = Health(is_healthy=True)
SAFE_S = LEASE_S - MARGIN_S


class VirtualClock:
    """Time passes when everybody sleeps, a step at a time; ``freeze`` is a process that does not run."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.wall_lead_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s + self.wall_lead_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.elapsed_s + seconds, waiting))
        await waiting

    def freeze(self, seconds: float) -> None:
        self.elapsed_s += seconds

    async def run(self, seconds: float) -> None:
        end = self.elapsed_s + seconds
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            due = min(self._sleepers, key=lambda sleeper: sleeper[0], default=None)
            if due is None or due[0] > end:
                self.elapsed_s = max(end, self.elapsed_s)
                return
            self._sleepers.remove(due)
            self.elapsed_s = max(self.elapsed_s, due[0])
            if not due[1].done():
                due[1].set_result(None)


class Leases:
    """The lease on account ``a`` as a database would judge it; ``error`` is what every call meets."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.owner: Owner | None = None
        self.epoch = 0
        self.expires_s = 0.0
        self.error: Exception | None = None
        self.takes_writes = True
        self.is_silent = False
        self.told: list[Event] = []
        self.guarded = False

    def held_by(self, owner: Owner, *, epoch: int = 1) -> None:
        self.owner, self.epoch, self.expires_s = owner, epoch, self._clock.elapsed_s + LEASE_S

    async def _answer(self) -> None:
        if self.is_silent:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error

    async def look(self) -> dict[str, Lease]:
        await self._answer()
        if self.owner is None:
            return {}
        is_free = self.expires_s <= self._clock.elapsed_s
        ends_at = START + timedelta(seconds=self.expires_s)
        return {"a": Lease("a", self.owner, START, self.epoch, ends_at, is_free)}

    async def take(self, owner: Owner, seen: Mapping[str, Lease], events: Sequence[Event]) -> dict[str, int]:
        await self._answer()
        self.held_by(owner, epoch=self.epoch + 1)
        self.told += events
        return {"a": self.epoch}

    def guard(self, epochs: Mapping[str, int], on_lost: Any) -> None:
        self.guarded = True

    def keep_alive(self, epochs: Mapping[str, int], is_alive: Callable[[], bool]) -> None:
        self.is_alive = is_alive

    async def renew(self, epochs: Mapping[str, int]) -> None:
        await self._answer()
        if not self.takes_writes:
            raise StoreUnavailable("the disk is full")
        if (self.owner, self.epoch) != (US, epochs["a"]):
            raise StoreConflict("a write touched 0 rows")
        self.expires_s = self._clock.elapsed_s + LEASE_S

    async def release(self, epochs: Mapping[str, int]) -> None:
        await self._answer()
        self.owner, self.expires_s = Owner("", "here", 1), self._clock.elapsed_s


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.leases = Leases(self.clock)
        self.health = HEALTHY
        self.ownership = Ownership(
            self.leases,  # type: ignore[arg-type]  # the repository's own words, on the virtual clock
            US,
            self.clock,
            lambda: self.health,
            lambda lease: Event(
                id="e", type=EventType.ALERT_RAISED, time=START, account_id=lease.account_id, is_paper=True
            ),
        )
        self.tasks: list[asyncio.Task[Any]] = []

    async def keep(self) -> None:
        assert await self.ownership.try_to_take()
        self.tasks.append(asyncio.create_task(self.ownership.keep()))
        await self.clock.run(0)

    async def stand_by(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.ownership.stand_by())
        self.tasks.append(task)
        await self.clock.run(0)
        return task


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_a_free_account_is_taken_at_once_and_kept(world: World) -> None:
    assert not world.ownership.may_send()
    await world.keep()
    for _ in range(40):
        await world.clock.run(0.5)
        assert world.ownership.may_send()
        assert world.ownership.obstacle is None
    assert world.leases.guarded
    assert world.leases.told == []


async def test_who_stands_by_says_who_trades_and_takes_over_within_three_seconds(world: World) -> None:
    """The owner dies right after a renewal, which is the longest wait."""
    world.leases.held_by(THEM)
    waiting = await world.stand_by()
    assert "account a is traded by process 2 on there since 2026-11-22T00:00:00" in str(world.ownership.obstacle)
    assert not world.ownership.may_send()
    await world.clock.run(LEASE_S - 0.05)
    assert not waiting.done()
    await world.clock.run(3 - LEASE_S)
    assert waiting.done()
    assert world.ownership.may_send()
    assert [event.account_id for event in world.leases.told] == ["a"]


async def test_a_lease_whose_end_a_clock_set_back_has_moved_far_ahead_is_taken_over_as_soon(world: World) -> None:
    """Its owner is dead, and by the database's clock the lease lasts for another hour."""
    world.leases.held_by(THEM)
    world.leases.expires_s += 3600
    waiting = await world.stand_by()
    await world.clock.run(LEASE_S)
    assert not waiting.done()
    await world.clock.run(3 - LEASE_S)
    await world.clock.run(SETTLE_S)
    assert waiting.done()
    assert world.ownership.may_send()


async def test_a_lease_far_ahead_that_is_renewed_is_left_to_its_owner(world: World) -> None:
    world.leases.held_by(THEM)
    world.leases.expires_s += 3600
    waiting = await world.stand_by()
    for _ in range(20):
        world.leases.expires_s += RENEW_S
        await world.clock.run(RENEW_S)
    assert not waiting.done()


async def test_what_was_watched_before_an_outage_says_nothing_after_it(world: World) -> None:
    """Nobody could renew meanwhile."""
    world.leases.held_by(THEM)
    world.leases.expires_s += 3600
    waiting = await world.stand_by()
    world.leases.error = StoreUnavailable("the server is gone")
    await world.clock.run(2 * LEASE_S)
    world.leases.error = None
    await world.clock.run(PATIENCE_S)
    assert not waiting.done()
    await world.clock.run(2 * LEASE_S)
    assert waiting.done()


async def test_a_lease_that_was_given_back_is_no_alert(world: World) -> None:
    await world.keep()
    await world.ownership.release()
    assert not world.ownership.may_send()
    other = World()
    other.clock, other.leases.owner, other.leases.epoch = world.clock, world.leases.owner, world.leases.epoch
    assert await other.ownership.try_to_take()
    assert other.leases.told == []


async def test_a_silent_database_ends_sending_before_the_lease_ends(world: World) -> None:
    """Nobody said that the lease is still ours: another process may reach the database that we do not."""
    await world.keep()
    world.leases.is_silent = True
    renewed_s = world.leases.expires_s - LEASE_S
    while world.ownership.may_send():
        await world.clock.run(0.05)
    assert world.clock.elapsed_s - renewed_s <= SAFE_S + 0.06
    assert world.clock.elapsed_s < world.leases.expires_s - MARGIN_S + 0.1
    assert "could not be renewed in time" in str(world.ownership.obstacle)


async def test_a_database_that_says_no_to_everybody_lets_exits_go_on(world: World) -> None:
    """C2: nobody can take over what nobody can write."""
    await world.keep()
    world.leases.error = StoreUnavailable("the disk is full")
    world.health = Health(is_healthy=False, reason="the disk is full", is_everyones=True)
    for _ in range(60):
        await world.clock.run(0.5)
        assert world.ownership.may_send()
    world.leases.error, world.health = None, HEALTHY
    await world.clock.run(RENEW_S + 0.5)
    assert world.ownership.may_send()
    assert world.leases.expires_s > world.clock.elapsed_s


async def test_in_an_outage_the_owner_reads_that_it_was_replaced(world: World) -> None:
    """Writes came back for the other process first; until our next try to renew, only a read can tell."""
    await world.keep()
    world.leases.takes_writes = False
    world.health = Health(is_healthy=False, reason="the disk is full", is_everyones=True)
    for _ in range(20):
        await world.clock.run(0.5)
        assert world.ownership.may_send()
    world.leases.held_by(THEM, epoch=world.leases.epoch + 1)
    sent_until = world.clock.elapsed_s + SETTLE_S
    while world.ownership.may_send() and world.clock.elapsed_s < sent_until:
        await world.clock.run(0.01)
    assert world.clock.elapsed_s < sent_until
    assert world.ownership.is_lost


async def test_in_an_outage_a_lease_that_nobody_has_read_for_a_while_ends_sending(world: World) -> None:
    """An answer that hangs may be older than a takeover."""
    await world.keep()
    world.leases.takes_writes = False
    world.health = Health(is_healthy=False, reason="the disk is full", is_everyones=True)
    await world.clock.run(5)
    assert world.ownership.may_send()
    world.leases.is_silent = True
    await world.clock.run(SETTLE_S)
    assert not world.ownership.may_send()


async def test_who_takes_over_a_lease_that_ran_out_leaves_its_owner_time_to_read_that(world: World) -> None:
    world.leases.held_by(THEM)
    waiting = await world.stand_by()
    await world.clock.run(LEASE_S + 0.05)
    assert world.leases.owner == US
    await world.clock.run(SETTLE_S - 0.1)
    assert not waiting.done()
    await world.clock.run(0.15)
    assert waiting.done()


async def test_trouble_that_may_be_ours_alone_ends_sending(world: World) -> None:
    """A cable that was cut on our side keeps nobody else from taking over."""
    await world.keep()
    world.leases.error = StoreUnavailable("no answer for 10 s")
    world.health = Health(is_healthy=False, reason="no answer for 10 s")
    await world.clock.run(SAFE_S)
    assert not world.ownership.may_send()
    world.leases.error, world.health = None, HEALTHY
    await world.clock.run(0.5)
    assert world.ownership.may_send()


async def test_who_was_frozen_sends_nothing_until_the_database_has_confirmed_it(world: World) -> None:
    """Not in the first moment either, and an outage told before the freeze says nothing about now."""
    await world.keep()
    world.clock.freeze(SAFE_S + 0.01)
    assert not world.ownership.may_send()
    await world.clock.run(0.5)
    assert world.ownership.may_send()

    world.leases.error = StoreUnavailable("the disk is full")
    world.health = Health(is_healthy=False, reason="the disk is full", is_everyones=True)
    await world.clock.run(5)
    assert world.ownership.may_send()
    world.clock.freeze(60)
    for _ in range(10):
        assert not world.ownership.may_send()
        await world.clock.run(0.3)
    world.leases.error, world.health = None, HEALTHY
    await world.clock.run(1)
    assert world.ownership.may_send()


async def test_a_machine_that_was_suspended_is_noticed_by_the_wall_clock(world: World) -> None:
    """Its monotonic clock may have stood still meanwhile."""
    await world.keep()
    world.clock.wall_lead_s += SAFE_S
    assert not world.ownership.may_send()
    await world.clock.run(RENEW_S)
    assert world.ownership.may_send()


@pytest.mark.parametrize("error", [StoreConflict("0 rows"), OwnershipLost("another process")])
async def test_a_lost_lease_is_lost_for_good(world: World, error: Exception) -> None:
    await world.keep()
    world.leases.error = error
    await world.clock.run(RENEW_S + 0.1)
    assert world.ownership.is_lost
    assert world.tasks[0].done()
    world.leases.error = None
    await world.clock.run(10)
    assert not world.ownership.may_send()
    assert "start it again to stand by" in str(world.ownership.obstacle)
    await world.ownership.release()
    assert world.leases.owner == US, "what is not ours is not given back"


async def test_after_an_outage_the_owner_has_time_to_renew_before_it_is_taken_over(world: World) -> None:
    """The lease ran out while nobody could renew it; who stands by must not be faster than its owner."""
    world.leases.held_by(THEM)
    waiting = await world.stand_by()
    world.leases.error = StoreUnavailable("the server is down")
    world.health = Health(is_healthy=False, reason="the server is down")
    await world.clock.run(30)
    world.leases.error, world.health = None, HEALTHY
    await world.clock.run(PATIENCE_S - 0.2)
    assert not waiting.done()
    world.leases.held_by(THEM)
    await world.clock.run(1)
    assert not waiting.done()
    await world.clock.run(LEASE_S)
    assert waiting.done()


async def test_a_loop_that_was_at_work_lately_keeps_its_lease_and_one_that_hangs_does_not(world: World) -> None:
    """The writer's thread renews in the loop's place for a bounded time, and never after the lease was given back."""
    await world.keep()
    world.clock.freeze(HELD_UP_S - 0.1)
    assert world.leases.is_alive()
    assert not world.ownership.may_send()
    world.clock.freeze(0.2)
    assert not world.leases.is_alive()
    await world.clock.run(RENEW_S)
    assert world.leases.is_alive()
    await world.ownership.release()
    assert not world.leases.is_alive()
