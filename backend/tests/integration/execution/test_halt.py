"""The kill switch, pulled by a person or by the service itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled, stored

from app.bootstrap import Application
from app.schemas.result import AssetResult, AssetStatus

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
        for asset in (BTC, ETH):
            assert await stage.levers.position(asset) == Decimal(0)
            assert await stage.levers.open_orders(asset) == []


async def test_halted_is_answered_before_any_other_check(stage: Arena) -> None:
    """Contract, section 9: the order of checks."""
    async with stage.application() as application:
        service = application.service("default")
        await service.halt("lunch")
        result = await decide(service, buy("NOSUCHUSDT"), timestamp="2020-01-01T00:00:00Z")
        assert code_of(result.results[0]) == "halted"
