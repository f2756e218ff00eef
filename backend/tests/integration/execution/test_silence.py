"""Silence that the exchange has asked for is kept to the second, by exits too, and over a restart (scenario L1)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from arena import BTC, Arena, Request, buy, decide, until, until_true

from app.bootstrap import running
from app.core.configuration import load_settings
from app.domain.errors import RateLimited
from app.domain.events import EventType
from support.patience import PATIENCE_S


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ({"type": "ban", "seconds": 3}, "banned"),
        ({"type": "error", "status": 429, "code": -1003, "headers": {"Retry-After": "3"}}, "rate_limited"),
    ],
    ids=["418", "429"],
)
async def test_nothing_at_all_is_sent_until_the_time_is_up(
    stage: Arena, traffic: list[Request], action: dict[str, Any], code: str
) -> None:
    """Not even the exits of a position that was just opened; then they go first."""
    async with stage.application() as application:
        await stage.levers.fault(action, path="/order", method="POST", params={"type": "STOP_MARKET"})
        result = await decide(application.service("default"), buy())
        assert result.results[0].status == "protected"
        told_at = next(at for at, _, status in traffic if status in (418, 429))
        later = [(at - told_at, what) for at, what, _ in traffic if at > told_at + 0.1]
        assert later
        assert min(at for at, _ in later) >= 2.9
        alerts = [one.event.data["code"] for one in await application.events.after(0, 10_000)
                  if one.event.type is EventType.ALERT_RAISED]  # fmt: skip
        assert alerts.count(code) == 1


async def test_a_restart_does_not_break_the_silence(stage: Arena, traffic: list[Request]) -> None:
    """Who goes on talking is banned for longer."""
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault({"type": "ban", "seconds": 8}, account="default")
        await until(lambda: service._client.silent_for_s > 0)
        await application.trades.settled()
    stopped_at = time.monotonic()
    settings = load_settings({**stage.environment}, config=None)
    async with running(settings) as application:
        service = application.service("default")
        await until(lambda: service.readiness().is_ready)
        first = min(at for at, _, _ in traffic if at > stopped_at)
        assert first - stopped_at > 4
        assert not [status for at, _, status in traffic if at > stopped_at and status == 418]


async def test_a_silence_is_kept_for_the_address_that_asked_for_it(stage: Arena) -> None:
    """L1: another exchange's address, or this record on another host, is not silenced by it."""
    refusal = {"type": "error", "status": 429, "code": -1003, "headers": {"Retry-After": "30"}}
    elsewhere = {"TES_ASTER_REST_URL": stage.environment["TES_ASTER_REST_URL"].replace("127.0.0.1", "localhost")}
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault(refusal, account="default")
        await until(lambda: service._client.silent_for_s > 0)
        await application.trades.settled()
    async with stage.application(**elsewhere) as application:
        assert application.service("default")._client.silent_for_s == 0
    async with running(load_settings({**stage.environment}, config=None)) as application:
        assert application.service("default")._client.silent_for_s > 10


async def test_whoever_asks_for_a_reconciliation_during_a_silence_is_told_how_long_it_lasts(stage: Arena) -> None:
    """L1: and the request that asked for it sends nothing and keeps nobody waiting."""
    refusal = {"type": "error", "status": 429, "code": -1003, "headers": {"Retry-After": "30"}}
    async with stage.application() as application:
        service = application.service("default")
        await stage.levers.fault(refusal, account="default")
        await until(lambda: service._client.silent_for_s > 0)
        asked = asyncio.ensure_future(service.reconcile())
        await asyncio.wait({asked}, timeout=PATIENCE_S)
        assert asked.done()
        with pytest.raises(RateLimited) as raised:
            asked.result()
        assert 0 < raised.value.retry_after_s <= 30


async def test_exits_leave_while_reads_wait_for_their_share(stage: Arena) -> None:
    """The reserve: with the address's weight nearly used up, a position can still be protected and closed."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        budget = service._client._gateway.budget
        budget._weight.spend(int(budget._weight.limit * 0.97) - budget.used_weight)
        refused = await decide(service, buy("ETHUSDT", tp_price=3500, sl_price=3300))
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "exchange_unavailable"
        await stage.levers.price(BTC, "95000")
        service._background.start(_closed(service))

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)


async def _closed(service: Any) -> None:
    await service.close_position(BTC)


@pytest.mark.long
async def test_many_who_ask_for_a_reconciliation_at_once_share_it(stage: Arena, traffic: list[Request]) -> None:
    """A run that began after a call answers it; so two runs answer any number of calls."""
    async with stage.application() as application:
        service = application.service("default")
        del traffic[:]
        reports = await asyncio.gather(*(service.reconcile() for _ in range(200)))
        assert len({report.started_at for report in reports}) <= 2
        assert sum("positionRisk" in what for _, what, _ in traffic) <= 3  # a periodic one may fall between


@pytest.mark.long
async def test_whoever_asks_again_and_again_leaves_room_for_trading(stage: Arena) -> None:
    """The address's weight is not used up by runs on request: they wait, and a decision goes ahead of them."""

    async def ask_on_and_on() -> None:
        while True:
            await service.reconcile()

    async with stage.application() as application:
        service = application.service("default")
        flood = asyncio.create_task(ask_on_and_on())
        try:
            await asyncio.wait({flood}, timeout=2)
            assert not flood.done()
            result = await decide(service, buy())
            assert result.results[0].status == "protected"
            assert service.readiness().is_ready
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)


FIREWALL = {
    "type": "error",
    "status": 403,
    "body": "<html><title>403 Forbidden</title></html>",
    "content_type": "text/html",
    "headers": {"Retry-After": "1"},
}


@pytest.mark.parametrize("path", ["/positionRisk", "/listenKey", "/time"])
async def test_a_page_of_the_firewall_is_silence_not_a_bad_key(stage: Arena, traffic: list[Request], path: str) -> None:
    """L8: read or mutation, signed or not, it says nothing of who we are."""
    await stage.levers.fault(FIREWALL, path=path)
    async with stage.application() as application:
        service = application.service("default")
        await until(lambda: any(status == 403 for _, _, status in traffic))
        await until(lambda: service.readiness().is_ready)
        assert service.halted is None
        told_at = next(at for at, _, status in traffic if status == 403)
        # what was on its way already may still be answered
        assert [what for at, what, _ in traffic if told_at + 0.2 < at < told_at + 0.9] == []
        alerts = [one.event.data["message"] for one in await application.events.after(0, 10_000)
                  if one.event.type is EventType.ALERT_RAISED]  # fmt: skip
        assert [text for text in alerts if "firewall" in text]
        assert (await decide(service, buy())).results[0].status == "protected"


async def test_a_stop_that_the_firewall_met_is_placed_when_its_time_is_up(stage: Arena) -> None:
    """L8, P2: nothing proves that it was not placed, so it goes out again under its own id."""
    await stage.levers.fault(FIREWALL, method="POST", path="/order", params={"type": "STOP_MARKET"})
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        assert result.results[0].status == "protected"
        assert application.service("default").halted is None
    sent = [row["params"] for row in await stage.levers.requests("POST", "/order", type="STOP_MARKET")]
    assert len({row["newClientOrderId"] for row in sent}) == 1
    assert len(sent) == 2
