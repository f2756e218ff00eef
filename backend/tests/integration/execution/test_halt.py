"""The kill switch, pulled by a person or by the service itself."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, ETH, Arena, arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.cli.render import console, halted
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution import halting
from support.commands import tes
from support.faces import TOKEN, serving
from support.locks import locked

UNHEARD_OF: dict[str, Any] = {"type": "error", "status": 400, "code": -4999, "msg": "Stop orders have a new rule."}


async def told(application: Application, type_: str) -> list[dict[str, Any]]:
    return [one.event.data for one in await application.events.after(0, 1_000) if one.event.type.value == type_]


def code_of(result: AssetResult) -> str | None:
    return result.error.code.value if result.error else None


@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
async def test_an_unknown_refusal_of_a_stop_order_stops_entries_until_an_operator_resumes(
    stage: Arena, kind: str
) -> None:
    """P9: loudly, and over a restart."""
    stop = {"method": "POST", "path": "/order", "params": {"type": kind}}
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault(UNHEARD_OF, **stop)
        assert (await decide(service, buy())).results[0].status is AssetStatus.PROTECTED
        refused = (await decide(service, sell(ETH))).results[0]
        assert (refused.status, code_of(refused)) == (AssetStatus.REJECTED, "halted")
        assert "new rule" in (refused.error.message if refused.error else "")
        assert [alert["code"] for alert in await told(application, "AlertRaised")] == ["halted"]
    async with stage.application() as application:
        service = application.service("default")
        assert service.halted is not None
        assert service.halted.is_automatic
        assert code_of((await decide(service, sell(ETH))).results[0]) == "halted"
        await service.resume()
        assert (await decide(service, sell(ETH))).success
        assert len(await told(application, "Halted")) == len(await told(application, "Resumed")) == 1
    async with stage.application() as application:
        assert application.service("default").halted is None


async def test_a_known_refusal_of_a_stop_order_stops_nothing(stage: Arena) -> None:
    async with stage.application() as application:
        refused = UNHEARD_OF | {"code": -2022}
        stop = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
        await stage.levers.fault(refused, **stop)
        await decide(application.service("default"), buy())
        assert application.service("default").halted is None


async def test_a_halt_leaves_positions_and_their_exits_alone(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        assert await service.halt("lunch") == []
        assert code_of((await decide(service, sell(ETH))).results[0]) == "halted"
        assert (await stored(application, opened.trade_id)).status == "open"
        assert (await decide(service, {"asset": BTC, "action": "close_position"})).success


async def test_a_halt_with_flatten_closes_everything_for_that_reason(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy(), sell(ETH))
        closed = await service.halt("enough", flatten=True)
        assert [one.status for one in closed] == [AssetStatus.CLOSED] * 2
        for result in opened.results:
            assert (await settled(application, result.trade_id)).close_reason == "halt"
        assert await service.left_open() == []
        for asset in (BTC, ETH):
            assert await stage.levers.position(asset) == Decimal(0)
            assert await stage.levers.open_orders(asset) == []


@pytest.mark.long
async def test_what_a_flatten_could_not_close_is_named(stage: Arena) -> None:
    """Verified means that the exchange was asked, not that we sent something."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await stage.levers.fault(UNHEARD_OF, count=0, method="POST", path="/order", params={"type": "MARKET"})
        halting = asyncio.create_task(service.halt("enough", flatten=True))
        await until_true(lambda: is_closing(application, opened.trade_id))
        left = await service.left_open()
        assert any("0.01 long is still held" in line for line in left)
        await stage.levers.heal()
        assert [one.status for one in await halting] == [AssetStatus.CLOSED]
        assert await service.left_open() == []


async def is_closing(application: Application, trade_id: str | None) -> bool:
    return (await stored(application, trade_id)).close_attempts > 0


async def test_a_refused_key_stops_entries(stage: Arena) -> None:
    """L6: no retry storm, and an operator must look."""
    refusal: dict[str, Any] = {"type": "error", "status": 400, "code": -2015, "msg": "Invalid API-key."}
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault(refusal, method="POST", path="/order")
        failed = (await decide(service, buy())).results[0]
        assert code_of(failed) == "exchange_rejected"
        assert service.halted is not None
        assert "refuses our key" in service.halted.reason
        assert "-2015" in service.halted.reason
        assert code_of((await decide(service, sell(ETH))).results[0]) == "halted"


@pytest.mark.parametrize(
    ("code", "words"),
    [(-4087, "may only reduce"), (-4088, "may not place orders"), (-4402, "this region"), (-4403, "this region")],
)
async def test_an_account_or_region_that_is_refused_is_named(stage: Arena, code: int, words: str) -> None:
    """L8: another key would be refused as well."""
    refusal: dict[str, Any] = {"type": "error", "status": 403, "code": code, "msg": "Not allowed."}
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault(refusal, method="POST", path="/order")
        failed = (await decide(service, buy())).results[0]
        assert code_of(failed) == "exchange_rejected"
        assert service.halted is not None
        assert words in service.halted.reason
        assert "renew the key" not in service.halted.reason


@pytest.mark.long
async def test_three_emergency_closes_within_ten_minutes_stop_entries(stage: Arena) -> None:
    """Over a restart between them, too: what was closed in an emergency is on record."""
    changes = {"TES_PROTECTION_MAX_ATTEMPTS": "1"}
    stop = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
    refusal: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
    for number in range(3):
        async with stage.application(**changes) as application:
            service = application.service("default")
            assert service.halted is None
            await stage.levers.fault(refusal, count=0, **stop)
            result = (await decide(service, buy())).results[0]
            assert result.status is AssetStatus.EMERGENCY_CLOSED
            await settled(application, result.trade_id)
            assert (service.halted is not None) is (number == 2)
            await stage.levers.heal()
    async with stage.application(**changes) as application:
        halted = application.service("default").halted
        assert halted is not None
        assert halted.is_automatic
        assert "3 positions" in halted.reason


async def test_halted_is_answered_before_any_other_check(stage: Arena) -> None:
    """Contract, section 9: the order of checks."""
    async with stage.application() as application:
        service = application.service("default")
        await service.halt("lunch")
        result = await decide(service, buy("NOSUCHUSDT"), timestamp="2020-01-01T00:00:00Z")
        assert code_of(result.results[0]) == "halted"


async def test_a_halt_that_can_not_be_recorded_says_so_and_is_recorded_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in force at once; what a restart would find of it is told, by the API and by the command line."""
    monkeypatch.setattr(halting, "_RECORD_PATIENCE_S", 0.2)
    async with arena(tmp_path / "tes.db") as stage:
        async with stage.application(TES_API_TOKEN=TOKEN) as application, serving(application) as face:
            service = application.service("default")
            with locked(tmp_path / "tes.db"):
                answer = await face.ask("POST", "/v1/halt", data={"reason": "news"})
                assert (answer.status, answer.json["is_recorded"]) == (200, False)
                assert "holds for this process only" in answer.json["warning"]
                said = await asyncio.to_thread(
                    lambda: tes(tmp_path, "halt", "--reason", "news", TES_URL=face.url, TES_TOKEN=TOKEN)
                )
                assert said.returncode == 0
                assert "NOT on record" in said.stderr
            await until(lambda: service.halted is not None and service.halted.is_recorded)
            status = (await face.ask("GET", "/v1/status")).json
            assert "is_halt_recorded" not in status["accounts"][0]
        async with stage.application() as application:
            assert code_of((await decide(application.service("default"), buy())).results[0]) == "halted"


async def test_a_halt_that_the_database_does_not_even_queue_is_tried_until_it_is_on_record(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many records wait already that one more is refused; the newest wish is what a restart finds."""
    async with stage.application() as application:
        service = application.service("default")
        database: Any = application.trades._database
        monkeypatch.setattr(database._queue, "_capacity", -1)
        await service.halt("first")
        await service.halt("second")
        assert service.halted is not None
        assert not service.halted.is_recorded
        monkeypatch.undo()
        await until(lambda: service.halted is not None and service.halted.is_recorded)
        assert [data["reason"] for data in await told(application, "Halted")] == ["first", "second"]
    async with stage.application() as application:
        assert application.service("default").halted is not None
        assert application.service("default").halted.reason == "second"


async def test_a_flatten_names_what_others_opened_and_does_not_call_it_flat(stage: Arena) -> None:
    """An operator who reads "flat" walks away; a position of somebody else stays, and still costs money."""
    async with stage.application(TES_API_TOKEN=TOKEN) as application, serving(application) as face:
        await decide(application.service("default"), buy())
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.5")
        await until(lambda: any(row.asset == ETH for row in application.service("default").positions().items))
        answer = (await face.post("/v1/halt", {"reason": "news", "flatten": True})).json
        assert (answer["is_flat"], answer["left_open"]) == (True, [])
        assert answer["external"] == ["ETHUSDT: 0.5 long on default"]
        shown = console()
        shown.width = 200
        with shown.capture() as written:
            shown.print(halted(answer, is_flattened=True))
        assert "flat:" not in written.get()
        assert "ETHUSDT: 0.5 long on default was not opened by the service and STAYS OPEN" in written.get()
