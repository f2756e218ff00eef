"""What a start costs, and what it goes ahead of (scenario L7)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, PATIENCE_S, Arena, arena, buy, decide, settled, until, until_true
from many_assets import symbols, write_exchange_info

from app.bootstrap import Application
from app.integrations.aster.endpoints import Endpoint
from app.integrations.aster.gateway import Gateway
from app.services.execution.terms import ASSUMED_FEE
from aster_sim.server import LimitRules

WISH = {"tp_price": "210", "sl_price": "180", "leverage": 5, "allocation_usd": 100}
UNTIL_READY = Counter(time=3, exchangeInfo=1, listenKey=2, positionRisk=5, balance=5, openOrders=40)
"""What a start weighs; the first two are the address's."""
BEHIND = Counter(leverageBracket=1, accountWithJoinMargin=5)
"""What is read behind it."""


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Weight that leaves, by the end of the path."""
    found: Counter[str] = Counter()
    send = Gateway._send

    async def noted(self: Gateway, endpoint: Endpoint, *rest: Any) -> Any:
        found[endpoint.name] += rest[3]
        return await send(self, endpoint, *rest)

    monkeypatch.setattr(Gateway, "_send", noted)
    return found


async def _open(application: Application, names: list[str]) -> None:
    service = application.service("default")
    await until(lambda: service.readiness().is_ready)
    if not names:
        return
    wishes = [buy(name, **WISH) for name in names]
    result = await decide(service, *wishes)
    assert "protected" in {row.status.value for row in result.results}  # a busy machine loses some
    assert not [row for row in result.results if row.error and "rate limit" in row.error.message]


async def test_a_start_has_one_weight_however_much_is_open(tmp_path: Path, weights: Counter[str]) -> None:
    """L7: where everything agrees nothing is asked singly, and nothing once more with each restart."""
    count = 8
    info = write_exchange_info(tmp_path / "info.json", count)
    limits = LimitRules().times(100)
    costs: dict[tuple[int, int], Counter[str]] = {}
    quiet = {"TES_RECONCILE_INTERVAL_SECONDS": "600"}
    async with arena(tmp_path / "tes.db", exchange_info=info, limits=limits) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(count), "190"))
        for total in (0, count):
            async with stage.application(**quiet) as application:
                await _open(application, symbols(total))
                await application.service("default")._market.terms._refresh(tuple(symbols(total)))
                await application.trades.settled()
            for again in range(2):
                weights.clear()
                async with stage.application(**quiet) as application:
                    await until(lambda: BEHIND.keys() <= weights.keys())
                    costs[total, again] = weights.copy()
    assert {tuple(sorted(found.items())) for found in costs.values()} == {tuple(sorted((UNTIL_READY | BEHIND).items()))}
    assert sum(UNTIL_READY.values()) <= 56


async def test_a_stop_that_vanished_while_we_were_down_is_back_after_the_start(stage: Arena) -> None:
    """P5, C1: what differs is asked singly."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        trade = await settled(application, result.results[0].trade_id, "open")
        client = application.service("default")._client
        await application.service("default").drain(0)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await client.cancel_order(BTC, f"tes.{trade.id}.s1")
    await stage.levers.heal()
    async with stage.application():

        async def is_back() -> bool:
            return "STOP_MARKET" in {row["type"] for row in await stage.levers.open_orders(BTC)}

        await until_true(is_back)


async def test_a_target_that_filled_while_we_were_down_is_booked_as_one(stage: Arena) -> None:
    """C1: a trade that was at rest and is gone is asked after, exits included."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        trade = await settled(application, result.results[0].trade_id, "open")
    await stage.levers.price(BTC, "99500")
    async with stage.application() as application:
        assert (await settled(application, trade.id)).close_reason == "take_profit"


@pytest.mark.long
async def test_cold_assets_are_entered_although_their_fees_are_not_known(tmp_path: Path, weights: Counter[str]) -> None:
    """L7: a fee weighs as much as twenty orders, and waits for what trades."""
    count = 10
    info = write_exchange_info(tmp_path / "info.json", count)
    async with arena(tmp_path / "tes.db", exchange_info=info, limits=LimitRules(weight_per_minute=300)) as stage:
        await stage.levers.call("POST", "/prices", dict.fromkeys(symbols(count), "190"))
        async with stage.application() as application:
            await _open(application, symbols(count))
        assert weights["commissionRate"] <= 20 * 5


async def test_a_fee_is_read_once_and_kept_over_restarts(stage: Arena, weights: Counter[str]) -> None:
    """L7: slow facts don't cost a start anything."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        terms = service._market.terms
        await terms._refresh((BTC,))
        fee = terms.at_hand(BTC)
        assert fee is not None
        assert fee.taker_fee < ASSUMED_FEE
        await application.trades.settled()
    weights.clear()
    async with stage.application() as application:
        service = application.service("default")
        await until(lambda: service._market.terms.at_hand(BTC) == fee)
        await service._market.terms._refresh((BTC,))
        assert weights["commissionRate"] == 0


@pytest.mark.parametrize("used", [0.8, 0.92])
async def test_the_first_reconciliation_goes_ahead_of_all_but_exits(tmp_path: Path, used: float) -> None:
    """L7: after many restarts the minute's weight is nearly used up, and what is open is looked at all the same."""
    async with arena(tmp_path / "tes.db") as stage:
        limits: Any = stage.levers.venue._runtime.limits
        limits._weight._seconds = 36_000  # a minute that does not end
        limits._weight.add("127.0.0.1", int(2400 * used), time.time_ns() // 1000)
        started_at = time.monotonic()
        async with stage.application():
            assert time.monotonic() - started_at < PATIENCE_S / 2
