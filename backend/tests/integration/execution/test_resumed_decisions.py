"""What a decision was told stays, over restarts, and what it does is bound to what it meant (C9)."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.schemas.decision import parse_decision
from app.schemas.records import decision_document, pending_result
from app.schemas.result import AssetResult, AssetStatus

CLOSE = {"asset": BTC, "action": "close_position"}
ABSENT: dict[str, Any] = {"type": "error", "status": 400, "code": -2013, "msg": "Order does not exist."}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}


def code_of(result: AssetResult) -> str | None:
    return result.error.code.value if result.error else None


async def lose_entries_on(stage: Arena, asset: str) -> None:
    """Entries on an asset are stuck on their way: their outcome is UNKNOWN."""
    entry = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "symbol": asset}}
    await stage.levers.fault({"type": "drop_before"}, count=0, **entry)
    await stage.levers.fault(ABSENT, count=0, method="GET", path="/order", params={"symbol": asset})
    await stage.levers.fault(REFUSED, count=0, method="POST", path="/noop")


async def submit(application: Application, *items: dict[str, Any], decision_id: str, **fields: Any) -> None:
    body = json.dumps({"decision_id": decision_id, "decisions": list(items), **fields})
    await application.service("default").submit(parse_decision(body))


async def shown(application: Application, decision_id: str) -> dict[str, AssetResult]:
    """What ``GET /v1/decisions/{id}`` answers: it reads the record and nothing else."""
    found = await application.decisions.find(decision_id)
    assert found is not None
    result = found.result or pending_result(
        found.body,
        found.asset_results,
        decision_id=decision_id,
        account_id="default",
        is_paper=True,
        received_at=found.received_at,
    )
    return {one.asset: one for one in decision_document(result, found.body).results}


async def until_shown(application: Application, decision_id: str, asset: str) -> AssetResult:
    async def is_there() -> bool:
        return (await shown(application, decision_id))[asset].status is not AssetStatus.PENDING

    await until_true(is_there)
    return (await shown(application, decision_id))[asset]


async def test_a_close_that_was_told_is_not_done_again(stage: Arena) -> None:
    """The other asset is still in doubt; meanwhile another decision has opened a position of its own."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await lose_entries_on(stage, ETH)
        await submit(application, CLOSE, sell(), decision_id="first")
        told = await until_shown(application, "first", BTC)
        assert told.status is AssetStatus.CLOSED
        opened = (await decide(service, buy(), decision_id="second")).results[0]
        assert opened.status is AssetStatus.PROTECTED
    async with stage.application() as application:
        await application.service("default").reconcile()
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert (await stored(application, opened.trade_id)).status == "open"
        after = await shown(application, "first")
        assert (after[BTC], after[ETH].status) == (told, AssetStatus.PENDING)
        replayed = await decide_within(application, 0.1, CLOSE, sell(), decision_id="first")
        assert {one.asset: one.status.value for one in replayed} == {BTC: "closed", ETH: "pending"}


async def decide_within(application: Application, seconds: float, *items: dict[str, Any], decision_id: str) -> Any:
    body = json.dumps({"decision_id": decision_id, "decisions": list(items)})
    submission = await application.service("default").submit(parse_decision(body))
    return (await submission.wait(seconds)).results


async def test_what_was_refused_is_not_bought_after_a_restart(stage: Arena) -> None:
    """Told ``position_exists``; the position is gone when the decision is taken up again."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await lose_entries_on(stage, ETH)
        await submit(application, buy(), sell(), decision_id="first")
        told = await until_shown(application, "first", BTC)
        assert (told.status, code_of(told)) == (AssetStatus.REJECTED, "position_exists")
        await service.close_position(BTC)
    async with stage.application() as application:
        later = (await decide(application.service("default"), buy(), decision_id="later")).results[0]
        assert later.status is AssetStatus.PROTECTED, "nothing was bought before it"
        assert await stage.levers.position(BTC) == later.filled_quantity
        assert (await shown(application, "first"))[BTC] == told


async def test_nothing_is_told_of_an_asset_before_it_is_on_record(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.application() as application:
        await lose_entries_on(stage, ETH)
        held_up = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(application.decisions, "record_asset_result", lambda *_: held_up)
        body = json.dumps({"decision_id": "slow", "decisions": [CLOSE, sell()]})
        service = application.service("default")
        submission = await service.submit(parse_decision(body))
        await until(lambda: service._intake.running("slow").results[BTC].status is not AssetStatus.PENDING)  # type: ignore[union-attr]
        assert submission.result.results[0].status is AssetStatus.PENDING
        held_up.set_result(())
        await until(lambda: submission.result.results[0].status is AssetStatus.REJECTED)


@pytest.mark.parametrize("item", [CLOSE, {**CLOSE, "action": "adjust_orders", "order_adjustment": {"cancel_tp": True}}])
async def test_age_binds_every_action_but_hold(stage: Arena, item: dict[str, Any]) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        old = (datetime.now(UTC) - timedelta(seconds=61)).isoformat()
        whole = await decide(service, item, {"asset": ETH, "action": "hold"}, timestamp=old)
        assert [code_of(one) for one in whole.results] == ["stale_decision", None]
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert (await service.close_position(BTC)).status is AssetStatus.CLOSED  # a hand's close has no age


def freeze(database: Path, to: Path) -> None:
    """Keep the database as a kill at this moment would leave it."""
    to.unlink(missing_ok=True)
    source, copy = apsw.Connection(str(database)), apsw.Connection(str(to))
    with copy.backup("main", source, "main") as backup:
        backup.step()
    copy.execute("DELETE FROM leases")  # it has run out by the time of the next start
    copy.close()
    source.close()


def put_back(kept: Path, database: Path) -> None:
    for name in (f"{database.name}-wal", f"{database.name}-shm"):
        database.with_name(name).unlink(missing_ok=True)
    shutil.copy(kept, database)


CLOSING = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
async def test_a_killed_processes_close_is_the_decisions(stage: Arena, tmp_path: Path, is_sent: bool) -> None:
    """It had recorded which trade it closes, and neither the reason nor the order."""
    record, kept = tmp_path / "tes.db", tmp_path / "kept.db"
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        bound = threading.Event()
        ask = service._closer._ask

        def killed_here(*arguments: Any) -> None:
            freeze(record, kept)
            bound.set()
            if is_sent:
                ask(*arguments)

        object.__setattr__(service._closer, "_ask", killed_here)
        await submit(application, CLOSE, decision_id="close")
        await until(bound.is_set)
        if is_sent:
            await settled(application, opened.trade_id)
    put_back(kept, record)
    async with stage.application() as application:
        assert (await settled(application, opened.trade_id)).close_reason == "decision"
        assert (await until_shown(application, "close", BTC)).status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0


async def test_a_killed_processes_close_may_be_too_old(stage: Arena, tmp_path: Path) -> None:
    """It was bound, and not sent: taken up again it is judged by its age, and the position keeps its exits."""
    record, kept = tmp_path / "tes.db", tmp_path / "kept.db"
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        bound = threading.Event()

        def killed_here(*_: Any) -> None:
            freeze(record, kept)
            bound.set()

        object.__setattr__(service._closer, "_ask", killed_here)
        await submit(application, CLOSE, decision_id="close")
        await until(bound.is_set)
    put_back(kept, record)
    async with stage.application(TES_RISK_MAX_DECISION_AGE_SECONDS="0.01") as application:
        refused = await until_shown(application, "close", BTC)
        assert (refused.status, code_of(refused)) == (AssetStatus.REJECTED, "stale_decision")
        trade = await stored(application, opened.trade_id)
        assert (trade.status, trade.close_reason) == ("open", None)
        assert (await application.service("default").close_position(BTC)).status is AssetStatus.CLOSED
        assert (await settled(application, opened.trade_id)).close_reason == "manual"


async def test_a_decision_leaves_alone_what_was_opened_after_it(stage: Arena, tmp_path: Path) -> None:
    """It died before it was bound to a trade. Meanwhile, on another host, its position was closed and opened anew."""
    record, kept = tmp_path / "tes.db", tmp_path / "kept.db"
    items = (CLOSE, {"asset": ETH, "action": "adjust_orders", "order_adjustment": {"cancel_tp": True}})
    async with stage.application() as application:
        service = application.service("default")
        await submit(application, *items, decision_id="early")
        await until_shown(application, "early", BTC)
        opened = (await decide(service, buy(), sell())).results
    with apsw.Connection(str(record)) as connection:
        connection.execute(
            "UPDATE decisions SET completed_at = NULL, result = NULL, status = 'pending' WHERE number = 1"
        )
    put_back(record, kept)
    async with stage.application() as application:
        results = [await until_shown(application, "early", asset) for asset in (BTC, ETH)]
        assert [code_of(one) for one in results] == ["position_absent", "position_absent"]
        for one in opened:
            trade = await stored(application, one.trade_id)
            assert (trade.status, len(trade.legs)) == ("open", 2)
