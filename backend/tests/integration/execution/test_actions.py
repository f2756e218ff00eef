"""Each action of the contract end to end on the venue, long and short, one-way and hedge."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from arena import BTC, Arena, arena, buy, decide, sell, settled, stored, until_true

from app.domain.ids import OrderRole, parse_client_order_id
from app.schemas.decision import parse_decision
from app.schemas.result import AssetResult, AssetStatus, ResultStatus
from app.services.execution.service import ExecutionService
from support.patience import PATIENCE_S

ANY = pytest.mark.parametrize("action", ["buy", "sell"])
MODES = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
PRICES = {"buy": {"tp_price": 99000, "sl_price": 94000}, "sell": {"tp_price": 93000, "sl_price": 98000}}
CLOSER = {"buy": {"tp": 98000, "sl": 95000}, "sell": {"tp": 94000, "sl": 97000}}


def entry(action: str, **changes: Any) -> dict[str, Any]:
    wish = {"asset": BTC, "action": action, "allocation_usd": 1000, "leverage": 10}
    return wish | PRICES[action] | changes


def adjust_position(**changes: Any) -> dict[str, Any]:
    return {"asset": BTC, "action": "adjust_position", "position_adjustment": changes}


def adjust_orders(**changes: Any) -> dict[str, Any]:
    return {"asset": BTC, "action": "adjust_orders", "order_adjustment": changes}


async def one(service: ExecutionService, item: dict[str, Any]) -> AssetResult:
    return (await decide(service, item)).results[0]


async def resting(stage: Arena) -> dict[str, tuple[Decimal, Decimal]]:
    """Quantity and trigger of each exit on the book, by role; there is at most one of each."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for row in await stage.levers.open_orders(BTC):
        key = parse_client_order_id(row["clientOrderId"])
        assert key is not None
        assert key.role.value not in found
        found[key.role.value] = (Decimal(row["origQty"]), Decimal(row["stopPrice"]) or Decimal(row["price"]))
    return found


async def set_mode(stage: Arena, *, hedge: bool) -> None:
    if hedge:
        await stage.levers.call("POST", "/modes", {"account": "default", "hedge": True})


async def held(stage: Arena) -> Decimal:
    return abs(await stage.levers.position(BTC))


@MODES
@ANY
async def test_decrease_takes_a_part_off_and_resizes_the_exits(stage: Arena, action: str, hedge: bool) -> None:
    await set_mode(stage, hedge=hedge)
    async with stage.application() as application:
        service = application.service("default")
        opened = await one(service, entry(action))
        wish = adjust_position(adjustment_type="decrease", adjustment_percentage=40, adjustment_amount_usd=1)
        result = await one(service, wish)
        assert (result.status, result.trade_id) == (AssetStatus.ADJUSTED, opened.trade_id)
        assert result.requested_quantity == result.filled_quantity == Decimal("0.004")
        assert result.orders.reduce is not None
        assert result.orders.reduce.status == "FILLED"
        assert await held(stage) == Decimal("0.006")
        tp, sl = PRICES[action]["tp_price"], PRICES[action]["sl_price"]
        assert await resting(stage) == {"stop_loss": (Decimal("0.006"), sl), "take_profit": (Decimal("0.006"), tp)}
        await stage.levers.price(BTC, str(tp + 50 if action == "buy" else tp - 50))
        trade = await settled(application, opened.trade_id)
        assert (trade.close_reason, trade.entered_quantity) == ("take_profit", Decimal("0.010"))
        fills = await stage.levers.fills()
        assert trade.realised_pnl == sum(Decimal(fill["realizedPnl"]) for fill in fills)
        assert await resting(stage) == {}


@MODES
@ANY
async def test_increase_adds_and_the_exits_cover_everything(stage: Arena, action: str, hedge: bool) -> None:
    await set_mode(stage, hedge=hedge)
    async with stage.application() as application:
        service = application.service("default")
        opened = await one(service, entry(action))
        await stage.levers.price(BTC, "96500")
        new = CLOSER[action]
        result = await one(
            service, adjust_position(adjustment_type="increase", adjustment_amount_usd=500, new_sl_price=new["sl"])
        )
        assert (result.status, result.trade_id, result.error) == (AssetStatus.ADJUSTED, opened.trade_id, None)
        assert result.filled_quantity == Decimal("0.005")
        assert result.fill_price is not None
        assert result.orders.entry is not None
        assert result.orders.entry.client_order_id == f"tes.{opened.trade_id}.e2"
        assert await held(stage) == Decimal("0.015")
        size = Decimal("0.015")
        assert await resting(stage) == {
            "stop_loss": (size, new["sl"]),
            "take_profit": (size, PRICES[action]["tp_price"]),
        }
        trade = await stored(application, opened.trade_id)
        assert trade.entered_quantity == size
        fills = await stage.levers.fills()
        cost = sum(Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in fills)
        assert trade.entry_price == cost / size
        closed = await one(service, {"asset": BTC, "action": "close_position"})
        assert closed.status is AssetStatus.CLOSED
        assert await held(stage) == 0
        assert await resting(stage) == {}


@MODES
@ANY
async def test_orders_are_replaced_new_before_old_and_canceled(stage: Arena, action: str, hedge: bool) -> None:
    await set_mode(stage, hedge=hedge)
    async with stage.application() as application:
        service = application.service("default")
        opened = await one(service, entry(action))
        new, size = CLOSER[action], Decimal("0.010")
        result = await one(service, adjust_orders(adjust_sl=True, new_sl_price=new["sl"], new_tp_price=new["tp"]))
        assert (result.status, result.error) == (AssetStatus.ADJUSTED, None)
        assert await resting(stage) == {"stop_loss": (size, new["sl"]), "take_profit": (size, new["tp"])}
        stops = [row for row in await stage.levers.orders(symbol=BTC) if row["type"] == "STOP_MARKET"]
        first, second = sorted(stops, key=lambda row: row["orderId"])
        assert first["status"] == "CANCELED"
        assert second["time"] <= first["updateTime"], "the new stop was on the book before the old one went"
        result = await one(service, adjust_orders(cancel_tp=True))
        assert (result.status, result.orders.take_profit is None) == (AssetStatus.ADJUSTED, False)
        assert await resting(stage) == {"stop_loss": (size, new["sl"])}
        result = await one(service, adjust_orders(cancel_sl=True, new_tp_price=PRICES[action]["tp_price"]))
        assert result.status is AssetStatus.ADJUSTED
        assert await resting(stage) == {"take_profit": (size, PRICES[action]["tp_price"])}
        assert {leg.role for leg in (await stored(application, opened.trade_id)).legs} == {OrderRole.TAKE_PROFIT}


@MODES
@ANY
async def test_new_prices_alone_move_the_exits(stage: Arena, action: str, hedge: bool) -> None:
    await set_mode(stage, hedge=hedge)
    async with stage.application() as application:
        service = application.service("default")
        await one(service, entry(action, tp_price=None, sl_price=None))
        assert await resting(stage) == {}
        result = await one(service, adjust_position(new_sl_price=CLOSER[action]["sl"]))
        assert (result.status, result.error) == (AssetStatus.ADJUSTED, None)
        assert await resting(stage) == {"stop_loss": (Decimal("0.010"), CLOSER[action]["sl"])}


@MODES
@ANY
async def test_an_entry_on_the_same_side_adds(stage: Arena, action: str, hedge: bool) -> None:
    await set_mode(stage, hedge=hedge)
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="add") as application:
        service = application.service("default")
        opened = await one(service, entry(action))
        added = await one(service, entry(action, sl_price=CLOSER[action]["sl"], leverage=3))
        assert (added.status, added.trade_id, added.action) == (AssetStatus.PROTECTED, opened.trade_id, action)
        assert (added.filled_quantity, added.leverage, added.requested_leverage) == (Decimal("0.010"), 10, 3)
        assert (await resting(stage))["stop_loss"] == (Decimal("0.020"), CLOSER[action]["sl"])
        other = await one(service, entry("sell" if action == "buy" else "buy"))
        assert other.error is not None
        assert (other.status, other.error.code) == (AssetStatus.REJECTED, "position_exists")


@MODES
@ANY
async def test_an_entry_on_the_other_side_flips(stage: Arena, action: str, hedge: bool) -> None:
    """One trade for the cooldown: checked before the close, and the close does not block the entry."""
    await set_mode(stage, hedge=hedge)
    changes = {"TES_RISK_ON_EXISTING_POSITION": "flip", "TES_RISK_COOLDOWN_SECONDS": "1"}
    other = "sell" if action == "buy" else "buy"
    async with stage.application(**changes) as application:
        service = application.service("default")
        opened = await one(service, entry(action))
        early = await one(service, entry(other))
        assert early.error is not None
        assert early.error.code == "cooldown_active"
        await application.clock.sleep(1.1)
        flipped = await one(service, entry(other))
        assert (flipped.status, flipped.error) == (AssetStatus.PROTECTED, None)
        assert flipped.trade_id != opened.trade_id
        old = await stored(application, opened.trade_id)
        assert (old.status, old.close_reason) == ("closed", "decision")
        position = await stage.levers.position(BTC)
        assert position == (Decimal("0.010") if other == "buy" else Decimal("-0.010"))
        assert set(await resting(stage)) == {"stop_loss", "take_profit"}
        again = await one(service, entry(action))
        assert again.error is not None
        assert again.error.code == "cooldown_active"


@pytest.mark.long
async def test_of_two_flips_at_once_one_is_carried_out_and_the_other_is_answered(stage: Arena) -> None:
    """The second one took the place of the first, which was never answered (found by the simulation)."""
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip", TES_RISK_COOLDOWN_SECONDS="0") as application:
        service = application.service("default")
        await one(service, entry("buy"))
        results = await asyncio.wait_for(asyncio.gather(*(one(service, entry("sell")) for _ in range(3))), PATIENCE_S)
        assert sorted(result.status.value for result in results) == ["protected", "rejected", "rejected"]
        assert {result.error.code.value for result in results if result.error} == {"position_exists"}
        assert await stage.levers.position(BTC) == Decimal("-0.010")


@MODES
async def test_hold_does_nothing_and_the_phases_make_room(tmp_path: Path, hedge: bool) -> None:
    """A close frees the room that an entry of the same decision needs."""
    async with arena(tmp_path / "tes.db") as stage:
        await set_mode(stage, hedge=hedge)
        async with stage.application(TES_RISK_MAX_OPEN_POSITIONS="1") as application:
            service = application.service("default")
            await one(service, entry("buy"))
            whole = await decide(
                service,
                sell(),
                {"asset": "SOLUSDT", "action": "hold"},
                {"asset": BTC, "action": "close_position"},
            )
            assert whole.status is ResultStatus.EXECUTED
            assert [result.status for result in whole.results] == ["protected", "skipped", "closed"]


@pytest.mark.parametrize("kind", ["LIMIT", "TAKE_PROFIT"])
@MODES
@ANY
async def test_a_decrease_finds_room_beside_a_target_at_a_limit(
    stage: Arena, action: str, hedge: bool, kind: str
) -> None:
    """A limit covers the position: the reduction is refused (-2022) until the target has made room, and goes."""
    await set_mode(stage, hedge=hedge)
    async with stage.application(TES_PROTECTION_TP_TYPE=kind) as application:
        service = application.service("default")
        await one(service, entry(action))
        for left in ("0.006", "0.004"):
            result = await one(service, adjust_position(adjustment_type="decrease", adjustment_percentage=40))
            assert result.status is AssetStatus.ADJUSTED, result.error
            assert await held(stage) == Decimal(left)
            exits = await resting(stage)
            assert {role: quantity for role, (quantity, _) in exits.items()} == {
                "stop_loss": Decimal(left),
                "take_profit": Decimal(left),
            }
        gone = [row for row in await stage.levers.orders(type="STOP_MARKET") if row["status"] == "CANCELED"]
        assert len(gone) == 2  # each once its successor was there


async def test_a_decrease_by_everything_closes(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        opened = await one(service, buy())
        result = await one(service, adjust_position(adjustment_type="decrease", adjustment_percentage=100))
        assert (result.status, result.error) == (AssetStatus.CLOSED, None)
        trade = await settled(application, opened.trade_id)
        assert trade.close_reason == "decision"
        assert await resting(stage) == {}


async def test_a_replayed_adjustment_is_done_once(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await one(service, buy())
        wish = adjust_position(adjustment_type="decrease", adjustment_percentage=50)
        first = await decide(service, wish, decision_id="halve")
        again = await decide(service, wish, decision_id="halve")
        assert first.results == again.results
        assert await held(stage) == Decimal("0.005")
    async with stage.application() as application:
        again = await decide(application.service("default"), wish, decision_id="halve")
        assert first.results == again.results
        assert await held(stage) == Decimal("0.005")


@pytest.mark.long
async def test_a_process_that_died_on_the_way_to_a_decrease_ends_it_once(stage: Arena) -> None:
    """C1: the answer was lost with the process; the reduction is found, the exits follow, the result is told."""
    wish = adjust_position(adjustment_type="decrease", adjustment_percentage=50)
    reduction = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
    async with stage.application() as application:
        service = application.service("default")
        await one(service, buy())
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "delay_after", "seconds": 20}, **reduction)
        await service.submit(parse_decision(json.dumps({"decision_id": "halve", "decisions": [wish]})))
        await until_true(lambda: is_held(stage, "0.005"))
    await stage.levers.heal()
    async with stage.application() as application:
        result = (await decide(application.service("default"), wish, decision_id="halve")).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.005"))
        assert {size for size, _ in (await resting(stage)).values()} == {Decimal("0.005")}
        assert len(await stage.levers.orders(type="MARKET", side="SELL", symbol=BTC)) == 1


@pytest.mark.long
async def test_a_process_that_died_between_a_flips_close_and_its_entry_goes_on(stage: Arena) -> None:
    """C1: what was closed to make room is on record, so its exit does not block the entry that follows."""
    changes = {"TES_RISK_ON_EXISTING_POSITION": "flip", "TES_RISK_COOLDOWN_SECONDS": "1"}
    closing = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
    wish = entry("sell")
    async with stage.application(**changes) as application:
        service = application.service("default")
        opened = await one(service, entry("buy"))
        await application.clock.sleep(1.1)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "delay_after", "seconds": 20}, **closing)
        await service.submit(parse_decision(json.dumps({"decision_id": "flip", "decisions": [wish]})))
        await until_true(lambda: is_held(stage, "0"))
    await stage.levers.heal()
    async with stage.application(**changes) as application:
        result = (await decide(application.service("default"), wish, decision_id="flip")).results[0]
        assert (result.status, result.error) == (AssetStatus.PROTECTED, None)
        assert result.trade_id != opened.trade_id
        assert await stage.levers.position(BTC) == Decimal("-0.010")
        assert (await stored(application, opened.trade_id)).close_reason == "decision"


async def is_held(stage: Arena, quantity: str) -> bool:
    return await held(stage) == Decimal(quantity)
