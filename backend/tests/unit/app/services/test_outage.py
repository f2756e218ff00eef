"""People hear of an outage of the database at once, and the record of its end (scenario C2)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from app.db.port import Health
from app.services.execution.commands import Alert
from app.services.outage import OutageWatch

SILENT = "no answer"
START = datetime(2026, 11, 22, tzinfo=UTC)


class Clock:
    """Each wait moves time; the plan says how the database is by then."""

    def __init__(self, plan: list[str | None]) -> None:
        self.plan = plan
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds
        if len(self.plan) == 1:
            await asyncio.get_running_loop().create_future()
        self.plan.pop(0)
        await asyncio.sleep(0)


async def watched(plan: list[str | None]) -> tuple[list[Alert], list[Alert]]:
    """What was told and what was recorded while the database was as planned, a look at a time."""
    told: list[Alert] = []
    recorded: list[Alert] = []

    clock = Clock(plan)
    watch = OutageWatch(
        clock, lambda: Health(plan[0] is None, plan[0]), lambda: plan[0] != SILENT, told.append, recorded.append
    )
    task = asyncio.create_task(watch.run())
    while len(plan) > 1:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    return told, recorded


async def test_an_outage_is_told_once_and_its_end_is_recorded_with_its_length() -> None:
    told, recorded = await watched([None, *["the disk is full"] * 40, None, None])
    assert [alert.code for alert in told] == ["database_unavailable"]
    assert "the disk is full" in told[0].message
    assert [alert.code for alert in recorded] == ["database_recovered"]
    assert "for 10.0 s since 2026-11-22T00:00:00+00:00" in recorded[0].message
    assert "the disk is full" in recorded[0].message


async def test_an_outage_that_keeps_exits_from_leaving_says_so() -> None:
    """The operator must know that only what rests on the book protects the positions."""
    told, recorded = await watched([None, *["the disk is full"] * 40, *[SILENT] * 40, None, None])
    assert ["exits go on" in alert.message for alert in told] == [True, False]
    assert "nothing is sent, exits included" in told[1].message
    assert [alert.code for alert in recorded] == ["database_recovered"]


async def test_trouble_of_a_moment_wakes_nobody() -> None:
    told, recorded = await watched([None, *["locked"] * 3, None, *["locked"] * 3, None])
    assert (told, recorded) == ([], [])


async def test_each_outage_is_told() -> None:
    told, recorded = await watched([*["first"] * 10, None, *["second"] * 10, None])
    assert [alert.message.rpartition(": ")[2] for alert in told] == ["first", "second"]
    assert len(recorded) == 2
