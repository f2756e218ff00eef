"""The virtual loop: waiting takes no time, order is the seed's, and the dead do nothing."""

from __future__ import annotations

import asyncio
import random

import pytest
from proof.loop import OWNER, Deadlock, Livelock, Owner, VirtualLoop


def test_an_hour_passes_at_once() -> None:
    loop = VirtualLoop(random.Random(1))
    loop.run(asyncio.sleep(3600))  # a loop that really waits runs into the time limit of the test
    assert loop.time() == 3600


def test_timeouts_are_virtual_too() -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 7)
        return asyncio.get_running_loop().time()

    assert VirtualLoop(random.Random(1)).run(wait()) == 7


def test_waiting_for_nothing_is_a_deadlock() -> None:
    with pytest.raises(Deadlock):
        VirtualLoop(random.Random(1)).run(asyncio.Event().wait())


def test_a_loop_that_never_lets_time_pass_is_a_livelock() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        VirtualLoop(random.Random(1)).run(spin())


def test_timers_of_one_moment_run_in_the_seeds_order() -> None:
    def order(seed: int) -> list[int]:
        seen: list[int] = []

        async def note(number: int) -> None:
            await asyncio.sleep(1)
            seen.append(number)

        async def all_of_them() -> None:
            await asyncio.gather(*(note(number) for number in range(8)))

        VirtualLoop(random.Random(seed)).run(all_of_them())
        return seen

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_who_is_frozen_does_nothing_until_it_is_thawed_and_then_everything() -> None:
    loop = VirtualLoop(random.Random(1))
    owner, done = Owner(), []
    context = loop.outside.copy()
    context.run(OWNER.set, owner)

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            done.append(loop.time())

    async def freeze() -> None:
        task = loop.create_task(work(), context=context)
        await asyncio.sleep(1.5)
        owner.freeze()
        await asyncio.sleep(10)
        assert done == [1.0]
        owner.thaw()
        await task

    loop.run(freeze())
    assert done == [1.0, 11.5, 12.5]


def test_the_dead_do_nothing_more_not_even_tidying_up() -> None:
    loop = VirtualLoop(random.Random(1))
    owner, done = Owner(), []
    context = loop.outside.copy()
    context.run(OWNER.set, owner)

    async def work() -> None:
        try:
            await asyncio.sleep(1)
            done.append("woke")
        finally:
            done.append("tidied up")

    async def kill() -> None:
        task = loop.create_task(work(), context=context)
        await asyncio.sleep(0.5)
        owner.die()
        loop.bury(owner)
        del task
        await asyncio.sleep(5)

    loop.run(kill())
    assert done == []
    loop.close()
