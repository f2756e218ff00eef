"""Many entries at once: each leaves only with room for its own exits, and signs as it leaves (scenarios L7, L2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from arena import Levers, Request, arena, buy, decide, until, until_true
from many_assets import symbols, write_exchange_info

from app.schemas.result import AssetResult
from app.services.execution.service import ExecutionService
from aster_sim.server import LimitRules

COUNT = 40
EXITS = {"tp_price": "210", "sl_price": "180", "leverage": 5}


async def _burst(service: ExecutionService, names: list[str]) -> list[AssetResult]:
    wholes = await asyncio.gather(*(decide(service, buy(name, allocation_usd=100, **EXITS)) for name in names))
    return [whole.results[0] for whole in wholes]


def _config(folder: Path, **limits: Any) -> dict[str, Any]:
    info = write_exchange_info(folder / "info.json", COUNT)
    return {"exchange_info": info, "limits": LimitRules(**({"weight_per_minute": 100_000} | limits))}


async def _bare(levers: Levers) -> list[str]:
    """Positions without a stop."""
    orders = await levers.orders(type="STOP_MARKET", status="NEW")
    stops = {row["symbol"] for row in orders}
    return [name for name in symbols(COUNT) if await levers.position(name) and name not in stops]


async def test_a_burst_does_not_starve_its_own_stops(tmp_path: Path, traffic: list[Request]) -> None:
    """L7: 30 orders within ten seconds are eight entries with their exits, whatever else was asked for."""
    async with arena(tmp_path / "tes.db", **_config(tmp_path, orders_per_ten_seconds=30)) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(COUNT), "190"))
        async with stage.application() as application:
            service = application.service("default")
            burst = asyncio.create_task(_burst(service, symbols(14)))

            async def is_full() -> bool:
                targets = await stage.levers.orders(type="TAKE_PROFIT_MARKET", status="NEW")
                return burst.done() or len(targets) >= 6  # a busy machine loses some

            await until_true(is_full)
            assert service.halted is None
            await service.halt("those that wait are given up")
            results = await burst
            ended = Counter(row.status.value for row in results)
            assert ended.keys() <= {"protected", "rejected"}
            assert ended["protected"] <= 8
            assert await _bare(stage.levers) == []
        assert [request for request in traffic if request[2] == 429] == []


async def test_a_burst_that_waits_for_room_is_executed_when_there_is_some(tmp_path: Path) -> None:
    """L7: what was given back is used by what waits."""
    async with arena(tmp_path / "tes.db", **_config(tmp_path, orders_per_ten_seconds=30)) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(COUNT), "190"))
        async with stage.application() as application:
            service = application.service("default")
            refusal = {"type": "error", "status": 400, "code": -2010, "msg": "no"}
            await stage.levers.fault(refusal, method="POST", path="/order", params={"type": "MARKET"}, count=6)
            results = await _burst(service, symbols(13))
            assert not [row for row in results if row.error and "left no room" in row.error.message]
            kept = service._client._gateway.order_windows.kept
            await until(lambda: kept.total == 0)
            assert await _bare(stage.levers) == []


@pytest.mark.long
async def test_a_cold_burst_is_signed_in_the_order_of_leaving(tmp_path: Path) -> None:
    """L2: while forty entries get ready hundreds of requests leave, and none of theirs is refused for its nonce."""
    async with arena(tmp_path / "tes.db", **_config(tmp_path)) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(COUNT), "190"))
        async with stage.application() as application:
            service = application.service("default")
            await stage.levers.fault({"type": "delay_before", "seconds": 0.3}, path="/leverage", count=COUNT // 2)
            results = await _burst(service, symbols(COUNT))
            assert "protected" in {row.status.value for row in results}
            assert [row for row in (await stage.levers.ledger())["requests"] if row["code"] == -4225] == []
            sent = await stage.levers.requests("POST", "/order", type="MARKET")
            assert len({row["params"]["newClientOrderId"] for row in sent}) == len(sent)
            stamps = {trade.entry.stamp.value for trade in (await application.trades.open_trades("default")).items}
            assert stamps == {int(row["params"]["nonce"]) for row in sent}, "what left is what is on record"


async def test_tries_that_the_exchange_did_not_count_do_not_count(tmp_path: Path) -> None:
    """L2: it looks at the nonce before it counts."""
    async with arena(tmp_path / "tes.db") as stage, stage.application() as application:
        service = application.service("default")
        expired = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}
        await stage.levers.fault(expired, method="POST", path="/order")
        assert (await decide(service, buy())).results[0].status == "protected"
        minute, ten_seconds = service._client.order_levels
        assert (minute.used, ten_seconds.used) == (3, 3)
        assert await stage.levers.position("BTCUSDT") == Decimal("0.010")
