"""A row that can't be read is one row: it is named, and hides none of the others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from test_decisions import accept, result
from test_trades import trade

from app.db.port import Database
from app.domain.errors import UnreadableRecord
from app.domain.events import Event, EventType
from app.domain.trades import TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from app.repositories.flags import FlagRepository
from app.repositories.trades import TradeRepository
from app.schemas.result import ResultStatus
from support.foreign_rows import change_rows

MakeEvent = Callable[..., Event]
NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
FIRST, SECOND, THIRD = (str(number).zfill(20) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE trades SET side = 'SIDEWAYS'", "column side holds 'SIDEWAYS'"),
        ("UPDATE orders SET state = 'HOVERING'", "column state holds 'HOVERING'"),
        ("UPDATE legs SET order_type = 'ICEBERG'", "column order_type holds 'ICEBERG'"),
    ],
)
async def test_a_trade_that_can_not_be_read_is_named_beside_the_others(
    database: Database, database_url: str, change: str, named: str
) -> None:
    """Whichever of its parts it is; it keeps its place in the pages."""
    repository = TradeRepository(database)
    for trade_id in (FIRST, SECOND, THIRD):
        await repository.record_progress(None, trade(trade_id, status=TradeStatus.OPEN), ())
    key = "id" if "trades" in change else "trade_id"
    change_rows(database_url, f"{change} WHERE {key} = '{SECOND}'")
    page = await repository.page(pickle.dumps, limit=2)
    assert [pickle.loads(one).id for one in page.items] == [THIRD]
    assert [one.id for one in page.unreadable] == [SECOND]
    (spoiled,) = page.unreadable
    assert (spoiled.asset, named in spoiled.problem) == ("BTCUSDT", True)
    rest = await repository.page(pickle.dumps, limit=2, cursor=page.next_cursor)
    assert [pickle.loads(one).id for one in rest.items] == [FIRST]
    found = await repository.open_trades("default")
    assert ([one.id for one in found.items], [one.id for one in found.unreadable]) == ([FIRST, THIRD], [SECOND])
    with pytest.raises(UnreadableRecord, match=named):
        await repository.get(SECOND)
    assert await repository.get(FIRST) == found.items[0]


async def test_an_order_that_can_not_be_read_is_named_beside_the_others(database: Database, database_url: str) -> None:
    """The list of orders reads rows, not trades."""
    repository = TradeRepository(database)
    await repository.record_progress(None, trade(FIRST), ())
    change_rows(database_url, "UPDATE orders SET type = 'ICEBERG' WHERE type = 'MARKET'")
    page = await repository.orders_page(pickle.dumps, limit=5)
    assert len(page.items) == len(page.unreadable) == 1
    assert page.unreadable[0].id == str(trade(FIRST).entry.key)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decisions SET status = 'levitating' WHERE decision_id = 'd-2'",
        """UPDATE decisions SET result = '{"odd": 1}' WHERE decision_id = 'd-2'""",
        "UPDATE decisions SET body = 'no JSON' WHERE decision_id = 'd-2'",
    ],
)
async def test_a_decision_that_can_not_be_read_is_named_beside_the_others(
    database: Database, database_url: str, change: str
) -> None:
    """What it asked for, what became of it, or how far it is."""
    repository = DecisionRepository(database)
    for decision_id in ("d-1", "d-2", "d-3"):
        await accept(repository, decision_id)
    ended = result("d-1").model_dump(mode="json")
    await repository.complete("default", "d-1", ResultStatus.EXECUTED, ended, NOW, ())
    change_rows(database_url, change)
    page = await repository.page(pickle.dumps, limit=5)
    assert [pickle.loads(one).decision_id for one in page.items] == ["d-3", "d-1"]
    assert [one.id for one in page.unreadable] == ["d-2"]
    unfinished = await repository.unfinished("default")
    assert [one.decision_id for one in unfinished.items] == ["d-3"]
    assert [one.id for one in unfinished.unreadable] == ["d-2"]
    with pytest.raises(UnreadableRecord, match="decision d-2"):
        await repository.find("d-2")


@pytest.mark.parametrize("change", ["UPDATE events SET type = 'Levitated'", "UPDATE events SET data = 'no JSON'"])
async def test_an_event_that_can_not_be_read_leaves_no_gap(
    database: Database, database_url: str, make_event: MakeEvent, change: str
) -> None:
    """In its place stands an alert that says so; who follows the log goes on."""
    for _ in range(3):
        await TradeRepository(database).record_events((make_event(),))
    change_rows(database_url, f"{change} WHERE seq = 2")
    log = await EventRepository(database).after(0, 10)
    assert [one.seq for one in log] == [1, 2, 3]
    assert [one.event.type for one in log] == [EventType.ORDER_PLACED, EventType.ALERT_RAISED, EventType.ORDER_PLACED]
    assert log[1].event.data["code"] == "record_unreadable"


async def test_a_flag_that_can_not_be_read_says_so(database: Database, database_url: str) -> None:
    """Who asks decides what is safe."""
    flags = FlagRepository(database)
    await flags.raise_flag("halt:default", {"reason": "storm"})
    change_rows(database_url, "UPDATE flags SET value = 'no JSON'")
    with pytest.raises(UnreadableRecord, match="column value holds 'no JSON'"):
        await flags.get("halt:default")
