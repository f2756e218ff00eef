"""What the exchange refuses for its time is signed anew, where that proves that it was not executed (scenario L2)."""

from __future__ import annotations

import asyncio

import pytest
from arena import Arena, Request, buy, decide, sell, stored

from app.integrations.aster.exchange_clock import ExchangeClock

REFUSED = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}


async def test_an_entry_refused_for_its_nonce_is_signed_anew_and_executed_once(stage: Arena) -> None:
    """Many that leave together may push each other's nonce out of the signer's newest hundred."""
    await stage.levers.fault(REFUSED, method="POST", path="/order", params={"type": "MARKET"}, count=2)
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
        assert (await stored(application, result.trade_id)).entry.transmissions == 3, "each may have been executed"
    assert result.status == "protected"
    assert len(await stage.levers.fills()) == 1
    sent = [row for row in (await stage.levers.ledger())["requests"] if row["params"].get("type") == "MARKET"]
    assert len({row["params"]["newClientOrderId"] for row in sent}) == 1
    assert len({row["params"]["nonce"] for row in sent}) == len(sent) == 3


async def test_an_entry_whose_every_nonce_is_refused_fails_with_the_exchanges_word(stage: Arena) -> None:
    await stage.levers.fault(REFUSED, method="POST", path="/order", params={"type": "MARKET"}, count=0)
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.exchange_code == -4225
    assert await stage.levers.fills() == []


async def test_an_exit_refused_for_its_nonce_is_signed_anew(stage: Arena) -> None:
    await stage.levers.fault(REFUSED, method="POST", path="/order", params={"type": "STOP_MARKET"})
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
    assert result.status == "protected"
    sent = [row["params"] for row in await stage.levers.requests("POST", "/order", type="STOP_MARKET")]
    assert len({row["newClientOrderId"] for row in sent}) == 1, "at once, not as another attempt after a pause"
    assert len({row["nonce"] for row in sent}) == len(sent) == 2


async def test_an_entry_is_not_signed_anew_when_something_has_come_to_speak_against_it(stage: Arena) -> None:
    """L2, O8: entries were halted while the new signature was being recorded."""
    await stage.levers.fault(REFUSED, method="POST", path="/order", params={"type": "MARKET"})
    async with stage.application() as application:
        service = application.service("default")
        settled = application.trades.settled

        async def halting_as_it_lands() -> None:
            await settled()
            if await stage.levers.requests("POST", "/order", type="MARKET"):
                await service.halt("the operator wants a look")

        service._tools.trades.settled = halting_as_it_lands  # type: ignore[method-assign]
        result = (await decide(service, buy())).results[0]
        service._tools.trades.settled = settled  # type: ignore[method-assign]
        assert (result.status, result.error.code if result.error else None) == ("rejected", "halted")
    assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == 1
    assert await stage.levers.fills() == []


async def test_an_entry_that_left_unanswered_is_never_signed_anew(stage: Arena) -> None:
    """Only a refusal proves anything: here it was executed, and answer and frames were lost."""
    await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
    await stage.levers.fault({"type": "drop_after"}, method="POST", path="/order", params={"type": "MARKET"})
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
    assert result.status == "protected"
    sent = [row for row in (await stage.levers.ledger())["requests"] if row["params"].get("type") == "MARKET"]
    assert len(sent) == 1


async def test_what_leaves_within_one_tick_of_the_clock_has_nonces_of_its_own(
    stage: Arena, traffic: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L3: one allocator gives them all out, and they rise even while a coarse clock stands still."""
    precise = ExchangeClock.now_us
    monkeypatch.setattr(ExchangeClock, "now_us", lambda self: precise(self) // 100_000 * 100_000)
    async with stage.application() as application:
        service = application.service("default")
        result = await decide(service, buy(), sell())
        assert [one.status for one in result.results] == ["protected", "protected"]
        await asyncio.gather(*(service._client.positions() for _ in range(30)))
    assert [request for request in traffic if request[2] != 200] == []
