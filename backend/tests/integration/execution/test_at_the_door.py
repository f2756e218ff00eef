"""What engines really send: what a decision means is carried out, and what it can't mean leaves no bare position."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, stored, until_true

from app.domain.errors import DecisionRefused
from app.schemas.decision import parse_decision
from app.schemas.result import AssetStatus, ExecutionResult, ResultStatus
from app.services.execution.service import ExecutionService
from support.patience import PATIENCE_S

EXITS = {"new_sl_price": 94000, "new_tp_price": 99000}


async def send(service: ExecutionService, text: str) -> ExecutionResult:
    return await asyncio.wait_for(service.execute(parse_decision(text)), PATIENCE_S)


async def sent_orders(stage: Arena) -> list[dict[str, Any]]:
    return await stage.levers.requests("POST", "/order")


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    "misplaced",
    [{"order_adjustment": EXITS}, {"position_adjustment": EXITS}, {"order_adjustment": {"adjust_sl": True}}],
    ids=["orders", "position", "flag"],
)
async def test_an_entry_with_exits_in_another_block_is_not_sent(
    stage: Arena, side: str, misplaced: dict[str, Any]
) -> None:
    """P16: it would be filled bare, with success."""
    entry = {"asset": BTC, "action": side, "allocation_usd": 1000, "leverage": 5, **misplaced}
    async with stage.application() as application:
        service = application.service("default")
        with pytest.raises(DecisionRefused, match=r"decisions\[0\].*_adjustment.*does not use"):
            await decide(service, entry)
        whole = await decide(service, entry, {"asset": ETH, "action": "hold"})
        assert [one.status for one in whole.results] == [AssetStatus.REJECTED, AssetStatus.SKIPPED]
        assert await stage.levers.position(BTC) == 0
        assert await sent_orders(stage) == []


async def test_exits_around_the_decisions_send_nothing(stage: Arena) -> None:
    """P16: kept with the record and ignored, they would leave the position bare, with success."""
    entry = {"asset": BTC, "action": "buy", "allocation_usd": 1000}
    text = json.dumps({"decisions": [entry], "sl_price": 94000, "tp_price": 99000})
    async with stage.application() as application:
        with pytest.raises(DecisionRefused, match=r"^sl_price: .*; tp_price: .*asset's decision"):
            await send(application.service("default"), text)
        assert await sent_orders(stage) == []


async def test_a_key_that_comes_twice_sends_nothing(stage: Arena) -> None:
    """P16: of two values for sl_price a parser keeps the last, which may be null."""
    text = '{"decisions":[{"asset":"BTCUSDT","action":"buy","allocation_usd":900,"sl_price":94000,"sl_price":null}]}'
    async with stage.application() as application:
        with pytest.raises(DecisionRefused, match="'sl_price' comes twice"):
            await send(application.service("default"), text)
        assert await sent_orders(stage) == []


async def test_beside_what_cannot_be_read_only_reductions_go_on(stage: Arena) -> None:
    """A close is not held up by its neighbour; nothing that adds risk is sent in a half-read document."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy(), sell())
        whole = await decide(
            service,
            {"asset": "SOLUSDT", "action": "buy", "allocation_usd": 500, "stop": 100},
            {"asset": "BNBUSDT", "action": "buy", "allocation_usd": 500, "sl_price": 1},
            {"asset": BTC, "action": "close_position"},
            {"asset": ETH, "action": "adjust_orders", "order_adjustment": {"new_sl_price": 3480}},
            decision_id="half-read",
        )
        assert [one.asset for one in whole.results] == ["SOLUSDT", "BNBUSDT", BTC, ETH]
        statuses = [one.status.value for one in whole.results]
        assert statuses == ["rejected", "rejected", "closed", "adjusted"]
        assert (whole.status, whole.success) == (ResultStatus.PARTIAL, False)
        unread, beside = (one.error for one in whole.results[:2])
        assert unread is not None
        assert beside is not None
        assert unread.code == beside.code == "validation_error"
        assert "decisions[0].stop" in unread.message
        assert "SOLUSDT" in beside.message
        assert await stage.levers.position(BTC) == 0
        stops = [row for row in await stage.levers.open_orders(ETH) if row["type"] == "STOP_MARKET"]
        assert [Decimal(row["stopPrice"]) for row in stops] == [3480]
        assert await stage.levers.position("BNBUSDT") == 0


async def test_beside_what_cannot_be_read_no_increase_is_sent(stage: Arena) -> None:
    increase = {"adjustment_type": "increase", "adjustment_amount_usd": 500}
    decrease = {"adjustment_type": "decrease", "adjustment_percentage": "50%"}
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy(), sell())
        whole = await decide(
            service,
            {"asset": BTC, "action": "adjust_position", "position_adjustment": increase},
            {"asset": ETH, "action": "adjust_position", "position_adjustment": decrease},
            {"asset": "SOLUSDT", "action": "purchase"},
        )
        assert [one.status.value for one in whole.results] == ["rejected", "adjusted", "rejected"]
        assert whole.results[2].action is None
        assert await stage.levers.position(BTC) == Decimal("0.010")


async def test_what_could_not_be_read_stays_refused_over_a_restart(stage: Arena) -> None:
    """C5: the record tells what was refused, and the same document again is answered from it."""
    document = json.dumps(
        {
            "decision_id": "half-read",
            "decisions": [
                {"asset": BTC, "action": "buy", "allocation_usd": 500, "order_adjustment": EXITS, "leverage": 2},
                {"asset": ETH, "action": "buy", "allocation_usd": 500},
            ],
        }
    )
    async with stage.application() as application:
        first = await send(application.service("default"), document)
        assert first.status is ResultStatus.REJECTED
    async with stage.application() as application:
        again = await send(application.service("default"), document)
        assert again == first
        found = await application.decisions.find(first.decision_id)
        assert found is not None
        assert found.body["decisions"][0]["unreadable"]["said"]["order_adjustment"] == EXITS
        assert await sent_orders(stage) == []


async def test_a_dry_run_shows_what_cannot_be_read(stage: Arena) -> None:
    async with stage.application() as application:
        decision = parse_decision(json.dumps({"decisions": [buy(sl=94000), sell()]}))
        explained = await application.service("default").explain(decision)
        assert [(one.asset, one.verdict) for one in explained.assets] == [(BTC, "refused"), (ETH, "refused")]
        assert "decisions[0].sl" in explained.assets[0].checks[0].message


async def test_zeros_on_a_hold_do_not_hinder_the_close_beside_it(stage: Arena) -> None:
    zeros = {"allocation_usd": 0, "leverage": 0, "tp_price": 0, "sl_price": 0, "exit_plan": "", "confidence": 55}
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        whole = await decide(
            service, {"asset": BTC, "action": "close_position"}, {"asset": ETH, "action": "hold", **zeros}
        )
        assert [one.status.value for one in whole.results] == ["closed", "skipped"]
        assert await stage.levers.position(BTC) == 0


async def test_a_false_flag_leaves_the_exit_and_says_so(stage: Arena) -> None:
    restated = {"adjust_tp": True, "adjust_sl": False, "new_tp_price": 99500, "new_sl_price": 95000}
    async with stage.application() as application:
        service = application.service("default")
        opened = await decide(service, buy(), source="engine-7")
        assert (await stored(application, opened.results[0].trade_id)).context["source"] == "engine-7"
        wish = {"asset": BTC, "action": "adjust_orders", "allocation_usd": 0.0, "order_adjustment": restated}
        result = (await decide(service, wish)).results[0]
        assert (result.status, result.error) == (AssetStatus.ADJUSTED, None)
        assert result.notes == ("order_adjustment.new_sl_price 95000 was ignored: adjust_sl is false",)
        resting = {row["type"]: Decimal(row["stopPrice"]) for row in await stage.levers.open_orders(BTC)}
        assert resting == {"STOP_MARKET": 94000, "TAKE_PROFIT_MARKET": 99500}


async def test_a_record_of_looser_rules_is_taken_up_again(stage: Arena) -> None:
    """An earlier version dropped what an action does not use; its unfinished decision must not stop the start."""
    body = {"decision_id": "older", "decisions": [{"asset": BTC, "action": "hold", "leverage": 3, "sl_price": 1}]}
    async with stage.application() as application:
        now = application.clock.now()
        await application.decisions.accept("older", "default", "hash", body, now, ())
    async with stage.application() as application:

        async def is_over() -> bool:
            found = await application.decisions.find("older")
            return found is not None and found.status is ResultStatus.EXECUTED

        await until_true(is_over)


@pytest.mark.parametrize(("spelt", "side"), [("btc/usdt:usdt", "buy"), ("BTCUSDT.P", "sell")])
async def test_a_spelling_of_the_symbol_and_exits_in_percent_are_resolved(stage: Arena, spelt: str, side: str) -> None:
    entry = {"asset": spelt, "action": side, "allocation_usd": 1000, "leverage": 5, "sl_percent": "2%", "tp_percent": 3}
    prices = {"buy": (94080, 98880), "sell": (97920, 93120)}[side]
    async with stage.application(TES_RISK_REQUIRE_STOP_LOSS="true") as application:
        service = application.service("default")
        first = await decide(service, entry, decision_id="spelt")
        (result,) = first.results
        assert (result.asset, result.status) == (BTC, AssetStatus.PROTECTED)
        assert (result.stop_loss_price, result.take_profit_price) == prices
        resting = sorted(Decimal(row["stopPrice"]) for row in await stage.levers.open_orders(BTC))
        assert resting == sorted(map(Decimal, prices))
    async with stage.application() as application:
        service = application.service("default")
        assert (await decide(service, entry, decision_id="spelt")).results == first.results
        closed = await decide(service, {"asset": "Btc", "action": "close_position"})
        assert closed.results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0


async def test_one_asset_spelt_in_two_ways_is_refused(stage: Arena) -> None:
    async with stage.application() as application:
        with pytest.raises(DecisionRefused, match="BTCUSDT appears twice"):
            await decide(application.service("default"), buy(), buy("BTC"))
        assert await sent_orders(stage) == []
