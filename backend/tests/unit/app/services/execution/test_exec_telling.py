"""A change is told once, behind the orders that it caused, however often the trade changed in one turn of the loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from story import START, submitted

from app.domain.errors import StoreUnavailable
from app.domain.trades import Trade
from app.services.execution.narration import Narrator
from app.services.execution.supervision import Supervisor
from app.services.execution.telling import Teller


class Record:
    """What was recorded and reported, in order."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.is_full = is_full
        self.recorded: list[tuple[Trade, Trade]] = []
        self.reported: list[Trade] = []
        clock: Any = SimpleNamespace(now=lambda: START)
        trades: Any = self
        narrator = Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=lambda: START)
        self.teller = Teller(trades, narrator, Supervisor(clock, lambda _: None), self.reported.append)

    def record_progress(self, before: Trade, after: Trade, _events: object) -> None:
        if self.is_full:
            raise StoreUnavailable("full")
        self.recorded.append((before, after))


async def a_moment() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def changes() -> tuple[Trade, Trade, Trade]:
    first = submitted()
    second = replace(first, entry_sent_at=START)
    return first, second, replace(second, first_fill_at=START)


async def test_two_changes_in_one_turn_are_told_as_one() -> None:
    record, (first, second, third) = Record(), changes()
    record.teller.changed(first, second)
    record.teller.changed(second, third)
    assert record.recorded == []
    await a_moment()
    assert record.recorded == [(first, third)]
    assert record.reported == [third]


async def test_what_was_only_noted_is_told_with_the_next_change() -> None:
    record, (first, second, third) = Record(), changes()
    record.teller.note(first, second)
    await a_moment()
    assert record.recorded == []
    record.teller.changed(second, third)
    await a_moment()
    record.teller.changed(third, second)
    await a_moment()
    assert record.recorded == [(first, third), (third, second)]


async def test_a_record_that_takes_nothing_more_does_not_keep_the_result_from_being_told() -> None:
    """C2."""
    record, (first, second, _) = Record(is_full=True), changes()
    record.teller.changed(first, second)
    await a_moment()
    assert record.reported == [second]
