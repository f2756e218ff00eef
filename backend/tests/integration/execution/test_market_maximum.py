"""Positions larger than one market order may be (O7)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, stored, until, until_true

from app.bootstrap import Application
from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState
from app.domain.trades import CloseReason
from app.schemas.result import AssetResult, AssetStatus
from app.services.execution.service import ExecutionService
from aster_sim.core.catalogue import parse_instrument

CLOSE = {"asset": BTC, "action": "close_position"}
STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
FULL: dict[str, Any] = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
ADDS = {"TES_RISK_ON_EXISTING_POSITION": "add"}
FLIPS = {"TES_RISK_ON_EXISTING_POSITION": "flip"}


async def twice(application: Application) -> AssetResult:
    """A position of 0.020, by two entries of 0.010 each, which is the most that an order may be."""
    service = application.service("default")
    await decide(service, buy())
    return (await decide(service, buy())).results[0]


async def closes(stage: Arena, side: str = "SELL") -> list[tuple[str, int | None]]:
    """Quantity and refusal of every market order that was to close."""
    rows = await stage.levers.requests("POST", "/order", type="MARKET", side=side, reduceOnly="true")
    return [(row["params"]["quantity"], row["code"]) for row in rows]


@pytest.mark.parametrize("way", ["decision", "by hand", "all", "flatten"])
async def test_a_position_above_the_maximum_is_closed_in_parts(stage: Arena, way: str) -> None:
    """O7: each an order of its own, none above the maximum."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS) as application:
        service = application.service("default")
        opened = await twice(application)
        if way == "decision":
            assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        elif way == "by hand":
            assert (await service.close_position(BTC)).status is AssetStatus.CLOSED
        elif way == "all":
            await service.close_all(CloseReason.MANUAL)
        else:
            await service.halt("test", flatten=True)
        assert await stage.levers.position(BTC) == 0
        assert await closes(stage) == [("0.01", None), ("0.01", None)]
        trade = await stored(application, opened.trade_id)
        assert len({order.client_order_id for order in trade.orders_of(OrderRole.CLOSE)}) == 2


async def test_an_emergency_close_goes_in_parts(stage: Arena) -> None:
    """O7, P3."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(
        **ADDS, TES_PROTECTION_MAX_ATTEMPTS="1", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault(FULL, count=0, **STOP)
        await decide(service, buy())

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)
        assert await closes(stage) == [("0.01", None), ("0.01", None)]


@pytest.mark.parametrize("target", ["LIMIT", "TAKE_PROFIT_MARKET"])
async def test_a_decrease_above_the_maximum_goes_in_parts(stage: Arena, target: str) -> None:
    """O7."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS, TES_PROTECTION_TP_TYPE=target) as application:
        await twice(application)
        less = {"adjustment_type": "decrease", "adjustment_percentage": 75}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": less}
        result = (await decide(application.service("default"), wish)).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.015"))
        assert [row for row in await closes(stage) if row[1] is None] == [("0.01", None), ("0.005", None)]
        rest = await stage.levers.open_orders(BTC)
        assert [Decimal(row["origQty"]) for row in rest] == [Decimal("0.005")] * 2


async def test_what_one_exit_could_not_be_for_is_refused(stage: Arena) -> None:
    """O7, Z1: judged by the resulting position, since one stop must cover all of it."""
    market = stage.levers.venue.venue.state.markets[BTC]
    raw = dict(market.instrument.raw)
    rows = [{**row, "maxQty": "0.025"} if row["filterType"] == "LOT_SIZE" else row for row in raw["filters"]]
    market.instrument = parse_instrument(raw | {"filters": rows})
    async with stage.application(**ADDS) as application:
        await twice(application)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.error is not None
        assert (result.status, result.error.code) == (AssetStatus.REJECTED, "quantity_above_maximum")
        assert await stage.levers.position(BTC) == Decimal("0.020")


async def test_a_flip_closes_in_parts(stage: Arena) -> None:
    """O7."""
    async with stage.application(**ADDS) as application:
        await twice(application)
    stage.limit_market_orders(BTC, "0.012")
    async with stage.application(**FLIPS) as application:
        service = application.service("default")
        result = (await decide(service, sell(BTC, sl_price=98_000, tp_price=94_000))).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert await closes(stage) == [("0.012", None), ("0.008", None)]
        assert await stage.levers.position(BTC) == Decimal("-0.010")


async def test_a_maximum_that_the_exchange_does_not_tell_is_found(stage: Arena) -> None:
    """O7: -4005 means parts."""
    async with stage.application(**ADDS) as application:
        await twice(application)
        stage.limit_market_orders(BTC, "0.006", is_told=False)
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert (await closes(stage))[:3] == [("0.02", -4005), ("0.01", -4005), ("0.005", None)]


async def test_a_maximum_that_we_do_not_know_yet_is_read(stage: Arena) -> None:
    """O7, H8: the refusal has the exchange's rules read anew, so that nothing is guessed."""
    async with stage.application(**ADDS) as application:
        await twice(application)
        stage.limit_market_orders(BTC, "0.006")
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert (await closes(stage))[:2] == [("0.02", -4005), ("0.006", None)]


@pytest.mark.long
@pytest.mark.parametrize("obeys", [True, False])
async def test_a_stop_above_the_maximum_gets_us_out_either_way(stage: Arena, obeys: bool) -> None:
    """O7: should the exchange hold triggered orders to it, the stop ends unexecuted, and the position is closed."""
    await stage.levers.call("POST", "/rules", {"triggers_obey_market_maximum": obeys})
    async with stage.application(**ADDS) as application:
        opened = await twice(application)
        stage.limit_market_orders(BTC, "0.008")
        await stage.levers.price(BTC, "93900")

        async def is_flat() -> bool:
            return await stage.levers.position(BTC) == 0

        await until_true(is_flat)

        async def is_closed() -> bool:
            return (await stored(application, opened.trade_id)).close_reason is CloseReason.STOP_LOSS

        await until_true(is_closed)


async def test_a_part_of_unknown_fate_holds_the_next_ones_back(stage: Arena) -> None:
    """O7, U9: the position is looked at first, and nothing is closed twice."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS) as application:
        await twice(application)
        await stage.levers.fault({"type": "drop_events"}, count=0)
        sale = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
        await stage.levers.fault({"type": "drop_after"}, skip=1, **sale)
        assert (await decide(application.service("default"), CLOSE)).results[0].status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0
        assert sum(Decimal(row["qty"]) for row in await stage.levers.fills() if row["side"] == "SELL") == Decimal(
            "0.02"
        )


@pytest.mark.long
async def test_the_next_process_goes_on_with_the_parts(stage: Arena) -> None:
    """O7, C1: what the dead one had sent is not sent again into what others hold."""
    stage.limit_market_orders(BTC, "0.010")
    sale = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
    async with stage.application(**ADDS) as application:
        await twice(application)
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.010")
        await stage.levers.fault({"type": "delay_before", "seconds": 0.3}, skip=1, **sale)
        closing = asyncio.create_task(decide(application.service("default"), CLOSE))
        await until_true(lambda: second_left(stage))
        closing.cancel()
    async with stage.application(**ADDS):

        async def is_closed() -> bool:
            return await stage.levers.position(BTC) == Decimal("0.010")

        await until_true(is_closed)
        await asyncio.sleep(0)
        assert len(await closes(stage)) == 2


async def entries(stage: Arena) -> list[str]:
    """Quantities of every market order that was to open."""
    rows = await stage.levers.requests("POST", "/order", type="MARKET", side="BUY")
    return [row["params"]["quantity"] for row in rows]


async def test_an_entry_above_the_maximum_goes_in_parts_of_one_trade(stage: Arena) -> None:
    """O7: one result, one stop and one target for all of it, and each part is protected before the next one leaves."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application() as application:
        result = (await decide(application.service("default"), buy(allocation_usd=2_400))).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert (result.requested_quantity, result.filled_quantity) == (Decimal("0.025"), Decimal("0.025"))
        assert result.orders is not None
        assert result.orders.entry is not None
        assert (result.orders.entry.status, result.error) == ("FILLED", None)
        assert await entries(stage) == ["0.01", "0.01", "0.005"]
        rest = await stage.levers.open_orders(BTC)
        assert [Decimal(row["origQty"]) for row in rest] == [Decimal("0.025")] * 2
        sent = await stage.levers.requests("POST", "/order")
        kinds = [row["params"]["type"] for row in sent if row["params"]["type"] != "TAKE_PROFIT_MARKET"]
        assert kinds == ["MARKET", "STOP_MARKET"] * 3
        trade = await stored(application, result.trade_id)
        assert result.fill_price == trade.entry_price
        assert result.commission == sum(Decimal(row["commission"]) for row in await stage.levers.fills())


async def test_an_addition_above_the_maximum_goes_in_parts(stage: Arena) -> None:
    """O7."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(**ADDS) as application:
        service = application.service("default")
        await decide(service, buy())
        result = (await decide(service, buy(allocation_usd=2_000))).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.020"))
        assert await entries(stage) == ["0.01", "0.01", "0.01"]
        rest = await stage.levers.open_orders(BTC)
        assert [Decimal(row["origQty"]) for row in rest] == [Decimal("0.030")] * 2


async def test_a_part_without_an_answer_is_settled_before_the_next_one_leaves(stage: Arena) -> None:
    """O7, U1: and is never sent again."""
    stage.limit_market_orders(BTC, "0.010")
    purchase = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0)
        await stage.levers.fault({"type": "drop_after"}, skip=1, **purchase)
        result = (await decide(application.service("default"), buy(allocation_usd=2_400))).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.025"))
        assert await stage.levers.position(BTC) == Decimal("0.025")
        assert await entries(stage) == ["0.01", "0.01", "0.005"]


async def test_a_part_that_is_refused_is_the_last_one(stage: Arena) -> None:
    """O7: what came in before it is protected, and told."""
    stage.limit_market_orders(BTC, "0.010")
    purchase = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
    short: dict[str, Any] = {"type": "error", "status": 400, "code": -2019, "msg": "Margin is insufficient."}
    async with stage.application() as application:
        await stage.levers.fault(short, skip=1, **purchase)
        result = (await decide(application.service("default"), buy(allocation_usd=2_400))).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.010"))
        assert await entries(stage) == ["0.01", "0.01"]


async def test_a_close_and_a_restart_end_the_parts(stage: Arena) -> None:
    """O7, C1: what a dead process had planned is not sent by the next one."""
    stage.limit_market_orders(BTC, "0.010")
    purchase = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, skip=1, **purchase)
        await stage.levers.fault({"type": "error", "status": 503}, count=0, method="GET", path="/order")
        opening = asyncio.create_task(
            decide(application.service("default"), buy(allocation_usd=2_900), decision_id="parts")
        )

        async def is_in_doubt() -> bool:
            (trade,) = (await application.trades.of_decision("default", "parts")).items or (None,)
            return trade is not None and trade.entries[1].state is OrderState.UNKNOWN

        await until_true(is_in_doubt)
        opening.cancel()
    await stage.levers.heal()
    async with stage.application() as application:
        await until_true(lambda: covers(stage, "0.020"))
        assert await entries(stage) == ["0.01", "0.01"]

        async def is_settled() -> bool:
            (trade,) = (await application.trades.of_decision("default", "parts")).items
            states = [order.state for order in trade.entries]
            return states == [OrderState.FILLED, OrderState.FILLED, OrderState.NOT_PLACED]

        await until_true(is_settled)
        (trade,) = (await application.trades.of_decision("default", "parts")).items
        assert (trade.entries[-1].refusal_message or "").startswith("the part before it")
        assert (await application.service("default").close_position(BTC)).status is AssetStatus.CLOSED
        assert await stage.levers.position(BTC) == 0


async def test_a_restart_ends_the_parts_of_a_decrease(stage: Arena) -> None:
    """O7, C9: nobody knows whether the decision is still meant by then."""
    stage.limit_market_orders(BTC, "0.010")
    sale = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
    less = {"adjustment_type": "decrease", "adjustment_percentage": 75}
    wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": less}
    async with stage.application(**ADDS) as application:
        await twice(application)
        service = application.service("default")
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **sale)
        await stage.levers.fault({"type": "error", "status": 503}, count=0, method="GET", path="/order")
        asking = asyncio.create_task(decide(service, wish, decision_id="less"))
        await until(lambda: any(trade.has_unknown_order for trade in service._active_trades()))
        asking.cancel()
    await stage.levers.heal()
    async with stage.application(**ADDS) as application:
        await until_true(lambda: covers(stage, "0.010"))
        await until_true(lambda: has_ended(application, "less"))
        known = await application.decisions.find("less")
        assert known is not None
        assert known.result is not None
        (told,) = known.result.results
        assert (told.status, told.filled_quantity) == (AssetStatus.ADJUSTED, Decimal("0.010"))
        assert [row for row in await closes(stage) if row[1] is None] == [("0.01", None)]


async def has_ended(application: Application, decision_id: str) -> bool:
    stored = await application.decisions.find(decision_id)
    return stored is not None and stored.result is not None


class Turn:
    """Where the first of an entry's further parts waits until a test lets it go on."""

    def __init__(self, application: Application) -> None:
        self._flow = application.service("default")._desk(BTC).parts
        self._send = self._flow.send
        self.has_come = asyncio.Event()
        self.may_leave = asyncio.Event()
        self._flow.send = self._wait  # type: ignore[method-assign]

    async def _wait(self, trade_id: str, order: Order) -> None:
        self.has_come.set()
        await self.may_leave.wait()
        await self._send(trade_id, order)


async def test_a_part_is_judged_by_all_that_is_left_at_the_present_price(stage: Arena) -> None:
    """O7, Z7: the size may only shrink, and what came in already counts."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application() as application:
        turn = Turn(application)
        opening = asyncio.create_task(decide(application.service("default"), buy(allocation_usd=2_400)))
        await turn.has_come.wait()
        await stage.move(BTC, "96800")
        turn.may_leave.set()
        result = (await opening).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.024"))
        assert await entries(stage) == ["0.01", "0.01", "0.004"]
        assert (result.requested_quantity, result.notes) == (Decimal("0.024"), ())


async def test_what_came_in_by_earlier_parts_counts_towards_the_limits(stage: Arena) -> None:
    """O7, Z7: the rest alone would be within them."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application(TES_RISK_MAX_TOTAL_NOTIONAL="3000") as application:
        service, turn = application.service("default"), Turn(application)
        opening = asyncio.create_task(decide(service, buy(allocation_usd=2_400)))
        await turn.has_come.wait()
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.2")
        await until_true(lambda: is_shown(service, ETH))
        turn.may_leave.set()
        result = (await opening).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.010"))
        assert await entries(stage) == ["0.01"]
        assert "order 2 of 3 was the last one (all positions together would carry" in result.notes[0]


async def test_a_halt_ends_the_parts(stage: Arena) -> None:
    """O7."""
    stage.limit_market_orders(BTC, "0.010")
    async with stage.application() as application:
        service, turn = application.service("default"), Turn(application)
        opening = asyncio.create_task(decide(service, buy(allocation_usd=2_400)))
        await turn.has_come.wait()
        await service.halt("no more of it")
        turn.may_leave.set()
        result = (await opening).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PROTECTED, Decimal("0.010"))
        assert await entries(stage) == ["0.01"]
        assert "(halted: no more of it" in result.notes[0]


async def test_the_margin_of_a_part_counts_once(stage: Arena) -> None:
    """O7, Z4: what the first parts took is in the balance by which others are judged, and not reserved as well."""
    stage.limit_market_orders(BTC, "0.400")
    async with stage.application() as application:
        service, turn = application.service("default"), Turn(application)
        opening = asyncio.create_task(decide(service, buy(allocation_usd=115_200, leverage=2)))
        await turn.has_come.wait()
        beside = buy(ETH, allocation_usd=60_000, leverage=2, sl_price=3300, tp_price=3500)
        assert (await decide(service, beside)).results[0].status is AssetStatus.PROTECTED
        turn.may_leave.set()
        result = (await opening).results[0]
        assert (result.status, result.filled_quantity, result.notes) == (AssetStatus.PROTECTED, Decimal("1.2"), ())


async def test_no_part_leaves_once_the_result_is_told(stage: Arena) -> None:
    """O7, P14: a position whose target is missing gets no larger, whatever becomes of the target."""
    stage.limit_market_orders(BTC, "0.010")
    target = {"method": "POST", "path": "/order", "params": {"type": "TAKE_PROFIT_MARKET"}}
    async with stage.application(
        TES_PROTECTION_MAX_ATTEMPTS="1", TES_PROTECTION_BASE_DELAY_SECONDS="0.05"
    ) as application:
        await stage.levers.fault(FULL, count=2, **target)
        result = (await decide(application.service("default"), buy(allocation_usd=2_400))).results[0]
        assert (result.status, result.filled_quantity) == (AssetStatus.PARTIALLY_PROTECTED, Decimal("0.010"))
        await until_true(lambda: covers(stage, "0.010"))
        trade = await stored(application, result.trade_id)
        assert [order.state for order in trade.entries] == [OrderState.FILLED] + [OrderState.NOT_PLACED] * 2
        assert await entries(stage) == ["0.01"]


async def is_shown(service: ExecutionService, asset: str) -> bool:
    return any(row.asset == asset for row in service.positions().items)


async def covers(stage: Arena, quantity: str) -> bool:
    """Whether exits rest for exactly that much."""
    rest = await stage.levers.open_orders(BTC)
    return [Decimal(row["origQty"]) for row in rest] == [Decimal(quantity)] * 2


async def second_left(stage: Arena) -> bool:
    return len(await closes(stage)) == 2
