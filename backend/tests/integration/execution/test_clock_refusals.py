"""What the exchange refuses for its time is signed anew, where that proves that it was not executed (scenario L2)."""

from __future__ import annotations

from arena import Arena, buy, decide

REFUSED = {"type": "error", "status": 400, "code": -4225, "msg": "Nonce Expired"}


async def test_an_entry_refused_for_its_nonce_is_signed_anew_and_executed_once(stage: Arena) -> None:
    """Many that leave together may push each other's nonce out of the signer's newest hundred."""
    await stage.levers.fault(REFUSED, method="POST", path="/order", params={"type": "MARKET"}, count=2)
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
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


async def test_an_entry_that_left_unanswered_is_never_signed_anew(stage: Arena) -> None:
    """Only a refusal proves anything: here it was executed, and its answer was lost."""
    await stage.levers.fault({"type": "drop_after"}, method="POST", path="/order", params={"type": "MARKET"})
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy())).results[0]
    assert result.status == "protected"
    sent = [row for row in (await stage.levers.ledger())["requests"] if row["params"].get("type") == "MARKET"]
    assert len(sent) == 1
