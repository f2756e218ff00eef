"""A close that is asked for while an entry is on its way binds to that entry (O10)."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, Arena, arena, buy, decide, sell, settled, stored, until, until_true
from test_database_trouble import locked

from app.bootstrap import Application
from app.repositories.trades import TradeRepository
from app.schemas.decision import parse_decision
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution import closing
from app.services.execution.intake import Submission
from app.services.execution.service import ExecutionService

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
NOOP = {"method": "POST", "path": "/noop"}
MARK = {"method": "GET", "path": "/premiumIndex"}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}
CLOSE = {"asset": BTC, "action": "close_position"}
SHORT = sell(BTC, tp_price=93000, sl_price=98000)
FLIP = {"TES_RISK_ON_EXISTING_POSITION": "flip"}
WINDOW = {"TES_ASTER_NONCE_WINDOW_SECONDS": "0.5"}


async def submitted(service: ExecutionService, item: dict[str, Any], decision_id: str = "entry") -> Submission:
    return await service.submit(parse_decision(json.dumps({"decision_id": decision_id, "decisions": [item]})))


async def by_decision(service: ExecutionService) -> AssetResult:
    return (await decide(service, CLOSE)).results[0]


async def by_hand(service: ExecutionService) -> AssetResult:
    return await service.close_position(BTC, timeout_s=closing.CLOSE_PATIENCE_S)


async def everything(service: ExecutionService) -> AssetResult:
    (result,) = await service.close_all()
    return result


async def flatten(service: ExecutionService) -> AssetResult:
    (result,) = await service.halt("news", flatten=True)
    return result


WAYS = {"decision": by_decision, "hand": by_hand, "all": everything, "halt": flatten}
BY_ANY_WAY = pytest.mark.parametrize("way", WAYS)


def code_of(result: AssetResult) -> str | None:
    return result.error.code.value if result.error else None


async def until_used(stage: Arena) -> None:
    async def is_used() -> bool:
        return any(fault["used"] for fault in await stage.levers.call("GET", "/faults"))

    await until_true(is_used)


@BY_ANY_WAY
async def test_an_entry_in_flight_is_closed_once_filled(stage: Arena, way: str) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, **ENTRY)
        entry = await submitted(service, buy())
        await until_used(stage)
        closed = await WAYS[way](service)
        assert (closed.status, closed.error) == (AssetStatus.CLOSED, None)
        reason = {"decision": "decision", "halt": "halt"}.get(way, "manual")
        assert (await settled(application, closed.trade_id)).close_reason == reason
        assert (await entry.wait(10)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert await stage.levers.open_orders(BTC) == []
        assert await service.left_open() == []


@BY_ANY_WAY
async def test_an_entry_that_has_not_left_is_not_sent(stage: Arena, way: str) -> None:
    """It is held up where the market is looked at, before it has become a trade."""
    async with stage.application() as application:
        service = application.service("default")
        held_up, go_on = hold_up(service)
        entry = await submitted(service, buy())
        await until(held_up.is_set)
        closed = await WAYS[way](service)
        assert (closed.status, closed.trade_id) == (AssetStatus.CLOSED, None)
        go_on.set()
        result = (await entry.wait(10)).results[0]
        code = "halted" if way == "halt" else "superseded"
        assert (result.status, code_of(result)) == (AssetStatus.REJECTED, code)
        assert await stage.levers.requests("POST", "/order") == []
        assert service._active_trades() == []


@BY_ANY_WAY
async def test_an_entry_being_prepared_is_not_sent(stage: Arena, way: str) -> None:
    """It is a trade already; its leverage is being set."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, method="POST", path="/leverage")
        entry = await submitted(service, buy())
        await until_used(stage)
        closed = await WAYS[way](service)
        assert closed.status is AssetStatus.CLOSED
        result = (await entry.wait(10)).results[0]
        code = "halted" if way == "halt" else "superseded"
        assert (result.status, code_of(result)) == (AssetStatus.REJECTED, code)
        assert await stage.levers.requests("POST", "/order") == []


@pytest.mark.parametrize("way", ["hand", "halt"])
async def test_an_unknown_entry_is_closed_when_it_turns_up(
    stage: Arena, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the close is pending, and nothing is flat; the doubt outlives a restart."""
    async with stage.application(**WINDOW) as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 4}, **ENTRY)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        entry = await submitted(service, buy())
        await until(lambda: service.vital_signs().unknown_orders_s)
        monkeypatch.setattr(closing, "CLOSE_PATIENCE_S", 0.1)
        closed = await WAYS[way](service)
        assert closed.status is AssetStatus.PENDING
        assert "UNKNOWN" in " ".join(await service.left_open())
        assert entry.result.results[0].status is AssetStatus.PENDING
    async with stage.application(**WINDOW) as application:
        trade = await settled(application, closed.trade_id)
        assert trade.entered_quantity == Decimal("0.010")
        assert trade.close_reason == ("halt" if way == "halt" else "manual")
        assert await stage.levers.position(BTC) == 0
        assert await application.service("default").left_open() == []


@pytest.mark.long
@pytest.mark.parametrize("is_resumed", [False, True], ids=["halted", "resumed"])
async def test_what_turns_up_after_a_flatten_is_closed(stage: Arena, is_resumed: bool) -> None:
    """U10: the entry had been given up before the halt."""
    async with stage.application(**WINDOW) as application:
        service = application.service("default")
        await stage.levers.fault({"type": "delay_before", "seconds": 9}, **ENTRY)
        await stage.levers.fault(REFUSED, count=0, **NOOP)
        failed = (await decide(service, buy())).results[0]
        assert failed.status is AssetStatus.FAILED
        await service.halt("news", flatten=True)
        if is_resumed:
            await service.resume()
        await until_true(lambda: stage.levers.orders(type="MARKET", side="SELL"))
        assert (await settled(application, failed.trade_id)).close_reason == "halt"
        assert await stage.levers.position(BTC) == 0


async def refused_and_executed(stage: Arena, service: ExecutionService, told_after_s: float) -> AssetResult:
    """The result of an entry to which the exchange said no, and which it executed: it tells of that later."""
    no = {"type": "error", "status": 400, "code": -2019, "msg": "Margin is insufficient.", "executed": True}
    await stage.levers.fault({"type": "delay_events", "seconds": told_after_s}, count=0, account="default")
    await stage.levers.fault(no, **ENTRY)
    refused = (await decide(service, buy())).results[0]
    assert refused.status is AssetStatus.FAILED
    return refused


async def test_what_turns_up_after_a_flatten_of_an_entry_that_was_refused_is_closed(stage: Arena) -> None:
    """O10: the exchange said no and executed it, and tells that when everything was flat."""
    async with stage.application() as application:
        service = application.service("default")
        refused = await refused_and_executed(stage, service, told_after_s=2)
        await service.halt("news", flatten=True)
        await until_true(lambda: stage.levers.orders(type="MARKET", side="SELL"))
        assert (await settled(application, refused.trade_id)).close_reason == "halt"
        assert await stage.levers.position(BTC) == 0


async def test_what_an_earlier_process_saw_refused_is_closed_after_a_flatten(stage: Arena) -> None:
    """O10: nobody who asks for the close knows of that entry any more; the halt that is in force decides."""
    async with stage.application() as application:
        refused = await refused_and_executed(stage, application.service("default"), told_after_s=3600)
    await stage.levers.heal()
    async with stage.application() as application:
        await application.service("default").halt("news", flatten=True)
        (row,) = await stage.levers.orders(type="MARKET", side="BUY")
        told = {"s": BTC, "c": row["clientOrderId"], "i": row["orderId"], "S": "BUY", "o": "MARKET", "ot": "MARKET"}
        told |= {"q": row["origQty"], "z": row["executedQty"], "ap": row["avgPrice"], "x": "TRADE", "X": "FILLED"}
        frame = {"e": "ORDER_TRADE_UPDATE", "E": row["updateTime"], "o": told | {"T": row["updateTime"]}}
        stage.levers.venue._runtime.hub.publish_user("default", frame)
        await until_true(lambda: stage.levers.orders(type="MARKET", side="SELL"))
        assert (await settled(application, refused.trade_id)).close_reason == "halt"
        assert await stage.levers.position(BTC) == 0


EXPECTED = {**CLOSE, "expected_position": "long"}


async def close_expected(service: ExecutionService) -> AssetResult:
    return (await decide(service, EXPECTED)).results[0]


@pytest.mark.parametrize("way", ["decision", "expected", "hand", "all"])
async def test_what_turns_up_after_a_close_is_closed(stage: Arena, way: str) -> None:
    """O10: the entry had been refused, so nothing was known to be held; and a later entry is none of the close's."""
    async with stage.application() as application:
        service = application.service("default")
        refused = await refused_and_executed(stage, service, told_after_s=1.5)
        closed = await {**WAYS, "expected": close_expected}[way](service)
        told = closed.error.message if closed.error is not None else " ".join(closed.notes)
        assert "given up lately" in told
        assert code_of(closed) == (None if way == "all" else "position_absent")
        later = (await decide(service, buy())).results[0]
        await until_true(lambda: stage.levers.orders(type="MARKET", side="SELL"))
        reason = "decision" if way in ("decision", "expected") else "manual"
        assert (await settled(application, refused.trade_id)).close_reason == reason
        assert await stage.levers.position(BTC) == Decimal("0.010")
        assert (await stored(application, later.trade_id)).close_reason is None


SELLING = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}


@pytest.mark.parametrize("is_killed", [False, True], ids=["goes on", "restarted"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_close_ends_a_flip_under_way(stage: Arena, way: str, is_killed: bool) -> None:
    """The other side was about to be opened a moment later."""
    code = "halted" if way == "halt" else "superseded"
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        await decide(service, buy())
        held_up, go_on = hold_up(service, skip=1)
        flip = await submitted(service, SHORT, "flip")
        await until(held_up.is_set)
        assert (await WAYS[way](service)).status is AssetStatus.CLOSED
        if not is_killed:
            go_on.set()
            result = (await flip.wait(10)).results[0]
            assert (result.status, code_of(result)) == (AssetStatus.FAILED, code)
            await nothing_follows(stage, application)
    if is_killed:
        async with stage.application(**FLIP) as application:
            replayed = await submitted(application.service("default"), SHORT, "flip")
            assert code_of(replayed.result.results[0]) == code
            await nothing_follows(stage, application)


@BY_ANY_WAY
async def test_a_close_ends_a_flip_whose_entry_is_in_flight(stage: Arena, way: str) -> None:
    async with stage.application(**FLIP) as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, skip=1, **SELLING)
        flip = await submitted(service, SHORT, "flip")
        await until_used(stage)
        assert (await WAYS[way](service)).status is AssetStatus.CLOSED
        assert (await flip.wait(10)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0


def hold_up(service: ExecutionService, skip: int = 0) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold entries up where the market is looked at, after ``skip`` of them: whether one is, and to let it go on."""
    held_up, go_on, seen = asyncio.Event(), asyncio.Event(), [0]
    view = service._market.view

    async def slow_view(asset: str) -> Any:
        seen[0] += 1
        if seen[0] > skip:
            held_up.set()
            await go_on.wait()
        return await view(asset)

    service._market.view = slow_view  # type: ignore[method-assign]
    return held_up, go_on


async def nothing_follows(stage: Arena, application: Application) -> None:
    await application.service("default").reconcile()
    assert application.service("default")._active_trades() == []
    assert await stage.levers.position(BTC) == 0
    assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="SELL")) == 1


async def test_a_close_of_an_entry_whose_record_is_refused_ends(tmp_path: Path) -> None:
    """C2: the trade vanishes with its record, and the database is healthy again afterwards."""
    trouble = locked(tmp_path / "tes.db")
    async with arena(tmp_path / "tes.db") as stage, stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await service.close_position(BTC)
        database: Any = application.trades._database
        database._writer._connection.set_busy_timeout(1_000)
        trouble.begin(application)
        try:
            entry = asyncio.create_task(submitted(service, buy()))
            await until(lambda: service._active_trades())
            closed = await service.close_position(BTC)
        finally:
            trouble.end()
        assert closed.status is AssetStatus.CLOSED
        await asyncio.gather(entry, return_exceptions=True)
        await until(lambda: service.readiness().is_ready)
        assert len(await stage.levers.requests("POST", "/order", type="MARKET", side="BUY")) == 1


async def test_the_record_of_a_change_goes_before_its_order(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """An increase is on record before it leaves, whatever the loop does meanwhile."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        steps: list[str] = []
        for name in ("record_progress", "settled"):
            method = getattr(TradeRepository, name)

            def noted(self: TradeRepository, *rest: Any, _name: str = name, _method: Any = method) -> Any:
                steps.append(_name)
                return _method(self, *rest)

            monkeypatch.setattr(TradeRepository, name, noted)
        more = {"adjustment_type": "increase", "adjustment_percentage": 100}
        await decide(service, {"asset": BTC, "action": "adjust_position", "position_adjustment": more})
        assert steps[:2] == ["record_progress", "settled"]
