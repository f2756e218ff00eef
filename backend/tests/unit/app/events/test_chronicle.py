"""One line for each committed event, whatever comes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.clock import SystemClock
from app.domain.errors import StoreUnavailable
from app.domain.events import Event, EventType, RecordedEvent
from app.domain.tracing import trace_id_of
from app.events import chronicle
from app.events.chronicle import NAMES, Chronicle
from app.schemas.event_data import EVENT_DATA
from support.patience import PATIENCE_S

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{THEIRS}-00f067aa0ba902b7-01"


@pytest.fixture
def written() -> Iterator[Any]:
    with capture_logs() as lines:
        yield lines


def event(seq: int, type_: EventType = EventType.ORDER_PLACED, decision_id: str | None = "d-1", **data: Any):
    told = Event(
        id=str(seq), type=type_, time=NOW, account_id="main", is_paper=True, decision_id=decision_id, data=data
    )
    return RecordedEvent(seq, told)


class Record:
    """Decisions on record, and how often they were asked for."""

    def __init__(self, **traceparents: str) -> None:
        self.traceparents = traceparents
        self.asked: list[str] = []
        self.is_away = False

    async def traceparent(self, decision_id: str) -> object:
        self.asked.append(decision_id)
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("the database is away")
        return self.traceparents.get(decision_id.replace("-", "_"))


async def until_written(lines: list[Any], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(lines) < count:
            await asyncio.sleep(0.001)


async def test_lines_come_in_order_and_what_waits_at_the_end_is_written_too(written: Any) -> None:
    async with Chronicle(SystemClock(), Record().traceparent) as keeper:
        keeper.take(event(seq) for seq in range(1, 4))
        await until_written(written, 3)
        keeper.take([event(4), event(5)])
    assert [line["seq"] for line in written] == [1, 2, 3, 4, 5]
    assert all(line["trace_id"] == trace_id_of("d-1") for line in written[:3])


async def test_a_decision_of_this_life_is_never_looked_up_and_one_of_an_earlier_life_once(written: Any) -> None:
    record = Record(old_1=PARENT)
    async with Chronicle(SystemClock(), record.traceparent) as keeper:
        keeper.take([event(1, EventType.DECISION_RECEIVED, assets=["BTCUSDT"], trace_id=THEIRS), event(2)])
        keeper.take([event(3, decision_id="old-1"), event(4, decision_id="old-1"), event(5, decision_id=None)])
        await until_written(written, 5)
    assert record.asked == ["old-1"]
    assert [line.get("trace_id") for line in written] == [THEIRS] * 4 + [None]


async def test_a_database_that_is_away_costs_the_trace_and_not_the_line(written: Any) -> None:
    record = Record(d_1=PARENT)
    record.is_away = True
    async with Chronicle(SystemClock(), record.traceparent) as keeper:
        keeper.take([event(1)])
        await until_written(written, 1)
        record.is_away = False
        keeper.take([event(2)])
        await until_written(written, 2)
    assert [line.get("trace_id") for line in written] == [None, THEIRS]


async def test_no_more_lines_wait_than_there_is_room_for(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "_MOST_WAITING", 10)
    async with Chronicle(SystemClock(), Record().traceparent) as keeper:
        keeper.take(event(seq) for seq in range(1, 26))
        assert [line["seq"] for line in written] == list(range(1, 16))
    assert [line["seq"] for line in written] == list(range(1, 26))


async def test_an_alert_is_a_warning_that_names_its_severity(written: Any) -> None:
    async with Chronicle(SystemClock(), Record().traceparent) as keeper:
        for seq, severity in enumerate(("warning", "critical"), start=1):
            keeper.take([event(seq, EventType.ALERT_RAISED, severity=severity, code="halted", message="look")])
    assert [(line["log_level"], line["event"], line["severity"]) for line in written] == [
        ("warning", "alert.raised", "warning"),
        ("warning", "alert.raised", "critical"),
    ]


def test_every_event_has_a_name_of_its_own_and_no_field_that_the_line_needs() -> None:
    assert len(set(NAMES.values())) == len(EventType)
    assert all("." in name for name in NAMES.values())
    for model in EVENT_DATA.values():
        assert not {"event", "level", "logger", "timestamp", "seq", "trace_id", "account_id"} & (
            set(model.model_fields) - {"trace_id"}
        )
