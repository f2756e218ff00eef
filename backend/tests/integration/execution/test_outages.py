"""Outages of the exchange and of the database around a restart."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import apsw
from arena import BTC, Arena, buy, decide, settled, stored, until, until_true

from app.domain.trades import Trade
from app.schemas.decision import parse_decision
from app.schemas.result import AssetStatus
from support.patience import PATIENCE_S

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}


async def test_a_restart_during_maintenance_leaves_protected_positions_alone(stage: Arena) -> None:
    """H4, C3: an exchange that can't be read is no reason to give up what it holds for us."""
    async with stage.application() as application:
        opened = await decide(application.service("default"), buy())
        assert opened.results[0].status is AssetStatus.PROTECTED
    book = await stage.levers.open_orders(BTC)
    await stage.levers.fault({"type": "error", "status": 503}, count=7, method="GET")
    async with stage.application(TES_PROTECTION_DEADLINE_SECONDS="0.2") as application:
        await application.service("default").reconcile()
        trade = await stored(application, opened.results[0].trade_id)
        assert (trade.status, trade.close_reason) == ("open", None)
        assert await stage.levers.open_orders(BTC) == book


async def died_before_the_stop_was_sent(stage: Arena, **changes: str) -> Trade:
    """A process enters, and ends while its stop is on the way to the exchange, which never gets it."""
    async with stage.application(**changes) as application:
        await stage.levers.fault({"type": "delay_before", "seconds": 60}, **STOP)
        service = application.service("default")
        running = asyncio.create_task(decide(service, buy(tp_price=None), decision_id="cut-off"))

        async def is_filled() -> bool:
            return bool(await stage.levers.fills())

        await until_true(is_filled)
        await until(lambda: any(trade.exposure for trade in service._active_trades()))
        (trade,) = service._active_trades()
        running.cancel()
    await stage.levers.heal()
    return trade


async def test_a_stop_that_the_dead_process_did_not_get_to_send_is_sent_by_the_next_one(stage: Arena) -> None:
    """C1."""
    trade = await died_before_the_stop_was_sent(stage)
    async with stage.application() as application:
        after = await settled(application, trade.id, "open")
        assert after.close_reason is None
        stops = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
        assert len(stops) == 1


async def test_a_deadline_that_passed_meanwhile_leaves_time_for_one_attempt(stage: Arena) -> None:
    """C1: what is held can be protected as fast as it could be closed."""
    deadline = {"TES_PROTECTION_DEADLINE_SECONDS": "2"}
    trade = await died_before_the_stop_was_sent(stage, **deadline)
    assert trade.deadline_at is not None
    await until(lambda: datetime.now(UTC) > trade.deadline_at)
    async with stage.application(**deadline) as application:
        assert (await settled(application, trade.id, "open")).close_reason is None
        assert [row["type"] for row in await stage.levers.open_orders(BTC)] == ["STOP_MARKET"]


def put_back(database: Path, to: Path) -> None:
    """Copy a database that nobody has open over another one."""
    for name in (f"{to.name}-wal", f"{to.name}-shm"):
        to.with_name(name).unlink(missing_ok=True)
    shutil.copy(database, to)


async def test_a_close_that_the_dead_process_had_sent_is_not_sent_again_into_what_others_hold(
    stage: Arena, tmp_path: Path
) -> None:
    """C1: it left before its record, and somebody asks for it again at once; what is left belongs to a person."""
    record, kept = tmp_path / "tes.db", tmp_path / "kept.db"
    async with stage.application() as application:
        trade_id = (await decide(application.service("default"), buy())).results[0].trade_id
    put_back(record, kept)
    async with stage.application() as application:
        await application.service("default").close_position(BTC)
    put_back(kept, record)
    await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.015")
    await stage.levers.fault({"type": "delay_before", "seconds": 0.3}, count=0, method="GET", path="/order")
    async with stage.application() as application:
        closed = await application.service("default").close_position(BTC)
        assert (closed.status, closed.trade_id) == (AssetStatus.CLOSED, trade_id)
        assert await stage.levers.position(BTC) == Decimal("0.015")
        assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")) == 1


async def test_a_lost_record_takes_no_stop_away_from_a_position(stage: Arena, tmp_path: Path) -> None:
    """An order with our prefix that the record does not know may be all that protects what is held."""
    async with stage.application() as application:
        await decide(application.service("default"), buy())
    book = await stage.levers.open_orders(BTC)
    async with stage.application(TES_DATABASE_URL=f"sqlite:///{tmp_path / 'another.db'}") as application:
        report = await application.service("default").reconcile()
        assert {difference.kind for difference in report.differences} == {"order_orphaned", "position_external"}
        assert await stage.levers.open_orders(BTC) == book
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010", reduceOnly="true")

        async def is_swept() -> bool:
            return await stage.levers.open_orders(BTC) == []

        await until_true(is_swept)


async def test_who_lost_the_accounts_waits_for_nothing_when_it_stops(stage: Arena, tmp_path: Path) -> None:
    """C4, C8: the new owner protects what is in motion; the old one is not asked to any more."""
    await stage.levers.fault({"type": "error", "status": 503, "code": -1001}, count=0, **STOP)
    patience = {"TES_SHUTDOWN_GRACE_SECONDS": "15", "TES_PROTECTION_DEADLINE_SECONDS": "60"}
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(stage.application(**patience))
        await application.service("default").submit(parse_decision(json.dumps({"decisions": [buy()]})))
        await until_true(lambda: stage.levers.fills())
        with apsw.Connection(str(tmp_path / "tes.db")) as other:
            other.set_busy_timeout(5000)
            other.execute("UPDATE leases SET epoch = epoch + 1, owner = 'another'")
        await until(lambda: application.ownership.is_lost and not application.services)
        await asyncio.wait_for(stack.aclose(), PATIENCE_S)
