"""The database takes no writes (scenario C2): no entries, exits work, readiness says why, and it ends by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest
from arena import BTC, ETH, arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.errors import DecisionRefused
from app.domain.ids import OrderRole
from app.repositories.leases import LEASE_S
from app.schemas.decision import parse_decision
from app.schemas.result import AssetStatus
from support.patience import PATIENCE_S
from support.postgres import PostgresServer, running_postgres

ENTRY = parse_decision(json.dumps({"decision_id": "later", "decisions": [sell()]}))


class Trouble:
    """How a database stops taking writes, and takes them again."""

    def __init__(self, url: str, said: str, begin: Callable[[Application], None], end: Callable[[], None]) -> None:
        self.url = url
        self.said = said
        self.begin = begin
        self.end = end


def locked(path: Path) -> Trouble:
    """Another program is in the middle of a write."""
    held: list[apsw.Connection] = []

    def begin(_: Application) -> None:
        held.append(apsw.Connection(str(path)))
        held[0].set_busy_timeout(10_000)
        held[0].execute("BEGIN IMMEDIATE")

    def end() -> None:
        held[0].execute("ROLLBACK")
        held[0].close()

    return Trouble(f"sqlite:///{path}", "another program holds the file locked", begin, end)


def read_only(path: Path) -> Trouble:
    """As when a disk with errors is mounted read-only under a running program."""
    writers: list[apsw.Connection] = []

    def begin(application: Application) -> None:
        database: object = application.trades._database
        writers.append(database._writer._connection)  # type: ignore[attr-defined]
        writers[0].pragma("query_only", True)

    def end() -> None:
        writers[0].pragma("query_only", False)

    return Trouble(f"sqlite:///{path}", "can't be written", begin, end)


def gone(server: PostgresServer) -> Trouble:
    """The server is shut down."""
    return Trouble(server.new_tables(), "check that the server runs", lambda _: server.stop(), server.start)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["locked", "read-only", "gone"])
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Trouble:
    if request.param == "gone":
        return gone(request.getfixturevalue("server"))
    return (locked if request.param == "locked" else read_only)(tmp_path / "tes.db")


@asynccontextmanager
async def during(trouble: Trouble, application: Application) -> AsyncIterator[None]:
    """While the trouble lasts, longer than a lease that nobody renews."""
    service = application.service("default")
    trouble.begin(application)
    try:
        await until(lambda: trouble.said in str(service.readiness().reasons))
        await until(lambda: application.ownership._unconfirmed_s() > LEASE_S)
        yield
    finally:
        trouble.end()
    await until(lambda: service.readiness().is_ready)


async def alerts(application: Application) -> list[str]:
    log = await application.events.after(0, 10_000)
    assert [recorded.seq for recorded in log] == list(range(1, len(log) + 1))
    return [str(recorded.event.data["code"]) for recorded in log if recorded.event.type == "AlertRaised"]


async def test_no_entry_leaves_and_every_exit_works_until_the_database_is_back(trouble: Trouble) -> None:
    """Records of what happened meanwhile land in their order; trading goes on without a restart."""
    async with arena(trouble.url) as stage, stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy(), sell())
        assert [one.status for one in opened.results] == ["protected", "protected"]
        async with during(trouble, application):
            with pytest.raises(DecisionRefused, match=trouble.said) as refused:
                await service.submit(ENTRY)
            assert refused.value.code == "not_ready"
            # the stop of one position is hit, the other position is closed at market
            await stage.levers.price(BTC, "93900")
            closed = await service.close_position(ETH)
            assert closed.status is AssetStatus.CLOSED

            async def is_flat() -> bool:
                levers = stage.levers
                return not (
                    await levers.position(BTC)
                    or await levers.position(ETH)
                    or await levers.open_orders(BTC)
                    or await levers.open_orders(ETH)
                )

            await until_true(is_flat)
        reasons = [(await settled(application, one.trade_id)).close_reason for one in opened.results]
        assert reasons == ["stop_loss", "manual"]

        async def is_told() -> bool:
            return "database_recovered" in await alerts(application)

        await until_true(is_told)
        result = await asyncio.wait_for(service.execute(ENTRY), PATIENCE_S)
        assert result.results[0].status is AssetStatus.PROTECTED
        assert "taken_over" not in await alerts(application)


async def test_nothing_leaves_before_it_is_on_the_disk(tmp_path: Path) -> None:
    """The disk is slow for a moment, too short to be a trouble: the entry waits for it, and then it is sent."""
    slow = locked(tmp_path / "tes.db")
    async with arena(tmp_path / "tes.db") as stage, stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        database: Any = application.trades._database
        database._writer._connection.set_busy_timeout(30_000)  # a busy machine makes a moment longer
        slow.begin(application)
        try:
            deciding = asyncio.create_task(decide(service, sell()))
            await until(lambda: any(trade.asset == ETH for trade in service._active_trades()))
            await asyncio.sleep(0.3)  # it takes a fiftieth of that to send an entry
            assert not deciding.done(), deciding.result()
            assert await stage.levers.requests("POST", "/order", symbol=ETH) == []
        finally:
            slow.end()
        assert (await deciding).results[0].status is AssetStatus.PROTECTED


@pytest.mark.long
async def test_a_plain_close_waits_for_the_disk_and_the_stop_stays(tmp_path: Path) -> None:
    """O8: without a record the next process could send it once more, and open the other side. The alert says why."""
    trouble = read_only(tmp_path / "tes.db")
    async with arena(trouble.url) as stage, stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy())
        theirs = {"symbol": BTC, "type": "LIMIT", "side": "SELL", "price": "97900", "quantity": "0.010"}
        await stage.levers.by_hand(timeInForce="GTC", **theirs)
        async with during(trouble, application):
            closing = asyncio.create_task(service.close_position(BTC))

            async def closes() -> list[dict[str, Any]]:
                return await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")

            async def is_tried_again() -> bool:
                return len(await closes()) >= 2

            await until_true(is_tried_again)
            assert all("reduceOnly" in row["params"] for row in await closes())
            assert [row["status"] for row in await stage.levers.orders(type="STOP_MARKET")] == ["NEW"]
        await asyncio.wait_for(closing, PATIENCE_S)
        assert await stage.levers.position(BTC) == 0
        assert len([row for row in await closes() if "reduceOnly" not in row["params"]]) == 1
        await settled(application, opened.results[0].trade_id)
        log = await application.events.after(0, 10_000)
        told = [one.event.data["message"] for one in log if one.event.data.get("code") == "close_failing"]
        assert any("could not be recorded" in text for text in told)


async def test_a_stop_that_vanishes_is_restored_while_nothing_can_be_recorded(trouble: Trouble) -> None:
    """P5 does not wait for the disk."""
    async with arena(trouble.url) as stage, stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy())
        async with during(trouble, application):
            (stop,) = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
            await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(stop["orderId"])})

            async def is_restored() -> bool:
                rows = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
                return [row["orderId"] != stop["orderId"] for row in rows] == [True]

            await until_true(is_restored)

        async def is_on_record() -> bool:
            trade = await stored(application, opened.results[0].trade_id)
            return [order.role for order in trade.orders].count(OrderRole.STOP_LOSS) == 2

        await until_true(is_on_record)


@pytest.mark.parametrize("wish", [buy(), sell(BTC, tp_price=93000, sl_price=98000)], ids=["add", "flip"])
async def test_a_decision_whose_record_was_refused_is_carried_out_once_when_it_is_sent_again(
    tmp_path: Path, wish: dict[str, Any]
) -> None:
    """What it was to change in a trade was taken in, held back, and recorded later; the same wish now counts anew."""
    trouble = locked(tmp_path / "tes.db")
    on_existing = "flip" if wish["action"] == "sell" else "add"
    async with (
        arena(tmp_path / "tes.db") as stage,
        stage.application(TES_RISK_ON_EXISTING_POSITION=on_existing) as application,
    ):
        service = application.service("default")
        opened = await decide(service, buy())
        database: Any = application.trades._database
        database._writer._connection.set_busy_timeout(2_000)  # the record is refused when the wish has been taken in
        trouble.begin(application)
        try:
            deciding = asyncio.create_task(decide(service, wish, decision_id="again"))
            await until(lambda: any(trade.adjustments for trade in service._active_trades()))
            with pytest.raises(DecisionRefused) as refused:
                await deciding
        finally:
            trouble.end()
        assert refused.value.code == "not_ready"
        await until(lambda: service.readiness().is_ready)
        (result,) = (await decide(service, wish, decision_id="again")).results
        assert (result.status, result.error) == (AssetStatus.PROTECTED, None)
        assert await stage.levers.position(BTC) == {"add": Decimal("0.020"), "flip": Decimal("-0.010")}[on_existing]
        before = await settled(application, opened.results[0].trade_id, "open" if on_existing == "add" else "closed")
        (adjustment,) = before.adjustments
        assert (adjustment.decision_id, adjustment.error) == ("again", None)
        entries = [order.state.value for order in before.orders if order.role == "entry"]
        assert entries[1:] == {"add": ["NOT_PLACED", "FILLED"], "flip": []}[on_existing]
