"""Two hundred decisions at once: limits hold, because nobody is assessed without those before him."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from arena import BTC, Arena, arena, buy, decide
from many_assets import symbols, write_exchange_info

from aster_sim.server import LimitRules

COUNT = 200
PLAIN = {"tp_price": None, "sl_price": None, "leverage": 5}


def codes(results: list[object]) -> Counter[str]:
    return Counter(
        result.error.code.value if result.error else result.status.value
        for result in results  # type: ignore[attr-defined]
    )


@pytest.mark.long
async def test_two_hundred_assets_at_once_never_exceed_the_total_notional(tmp_path: Path) -> None:
    """Each wants 95 of a total of 2,000: 21 fit."""
    info = write_exchange_info(tmp_path / "info.json", COUNT)
    config = {"exchange_info": info, "limits": LimitRules().times(1000)}
    async with arena(tmp_path / "tes.db", **config) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(COUNT), "190"))
        async with stage.application(TES_RISK_MAX_TOTAL_NOTIONAL="2000") as application:
            service = application.service("default")
            wholes = await asyncio.gather(
                *(decide(service, buy(name, allocation_usd=95, **PLAIN)) for name in symbols(COUNT))
            )
            assert codes([whole.results[0] for whole in wholes]) == {"filled": 21, "exposure_limit": COUNT - 21}
            fills = await stage.levers.fills()
            assert sum(Decimal(fill["qty"]) * 190 for fill in fills) <= 2000
            assert len({fill["symbol"] for fill in fills}) == 21


async def test_two_hundred_decisions_for_one_asset_execute_once_within_the_cooldown(stage: Arena) -> None:
    """C6."""
    changes = {"TES_RISK_COOLDOWN_SECONDS": "300", "TES_RISK_ON_EXISTING_POSITION": "add"}
    async with stage.application(**changes) as application:
        service = application.service("default")
        wholes = await asyncio.gather(*(decide(service, buy()) for _ in range(COUNT)))
        assert codes([whole.results[0] for whole in wholes]) == {"protected": 1, "cooldown_active": COUNT - 1}
        assert len(await stage.levers.orders(type="MARKET", symbol=BTC)) == 1


async def test_additions_at_once_never_exceed_the_notional_per_asset(stage: Arena) -> None:
    """Each wants 960 of 3,000, on top of 960: two more fit."""
    changes = {"TES_RISK_MAX_NOTIONAL_PER_ASSET": "3000", "TES_RISK_ON_EXISTING_POSITION": "add"}
    async with stage.application(**changes) as application:
        service = application.service("default")
        await decide(service, buy())
        wholes = await asyncio.gather(*(decide(service, buy()) for _ in range(20)))
        assert codes([whole.results[0] for whole in wholes]) == {"protected": 2, "exposure_limit": 18}
        assert await stage.levers.position(BTC) == Decimal("0.030")


async def test_a_refused_entry_frees_its_cooldown_and_its_room(stage: Arena) -> None:
    """Contract, section 9: a placement proven not executed frees its reservation, a further entry's as well."""
    changes = {
        "TES_RISK_COOLDOWN_SECONDS": "1",
        "TES_RISK_MAX_TOTAL_NOTIONAL": "2000",
        "TES_RISK_ON_EXISTING_POSITION": "add",
    }
    entry = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
    refusal = {"type": "error", "status": 400, "code": -2010, "msg": "no"}
    async with stage.application(**changes) as application:
        service = application.service("default")
        for opened in (False, True):
            await stage.levers.fault(refusal, **entry)
            refused = await decide(service, buy())
            assert codes([refused.results[0]]) == {"exchange_rejected": 1}
            again = await decide(service, buy())
            assert codes([again.results[0]]) == {"protected": 1}, opened
            await application.clock.sleep(1.1)
