"""A trailing stop as an option of a decision, on the venue that lets it follow the price."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled, stored, until_true

from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.schemas.result import AssetStatus

TRAILING = "TRAILING_STOP_MARKET"
PLACING = {"method": "POST", "path": "/order", "params": {"type": TRAILING}}
ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "BUY"}}


def trailing(rate: float = 1, **changes: Any) -> dict[str, Any]:
    """A long whose only stop follows at ``rate`` percent."""
    return buy(tp_price=None, sl_price=None, trailing_stop={"callback_rate": rate}) | changes


async def resting(stage: Arena, symbol: str = BTC) -> list[str]:
    return sorted(row["type"] for row in await stage.levers.open_orders(symbol))


async def test_it_is_placed_reduce_only_for_what_is_held_and_named_in_the_result(stage: Arena) -> None:
    async with stage.application() as application:
        wish = buy(trailing_stop={"callback_rate": "1.5", "activation_price": 97_000})
        result = (await decide(application.service("default"), wish)).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert await resting(stage) == ["STOP_MARKET", "TAKE_PROFIT_MARKET", TRAILING]
        (order,) = await stage.levers.orders(type=TRAILING)
        assert (Decimal(order["origQty"]), order["reduceOnly"]) == (result.filled_quantity, True)
        assert (Decimal(order["activatePrice"]), Decimal(order["priceRate"])) == (97_000, Decimal("1.5"))
        assert result.orders.trailing_stop is not None
        assert result.orders.trailing_stop.order_id == order["orderId"]
        assert (await stored(application, result.trade_id)).leg(OrderRole.TRAILING_STOP) is not None


async def test_a_result_without_one_does_not_speak_of_it(stage: Arena) -> None:
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        assert "trailing_stop" not in result.model_dump_json()


async def test_it_follows_the_price_triggers_and_its_siblings_go(stage: Arena) -> None:
    async with stage.application() as application:
        wish = trailing(tp_price=99_000, sl_price=94_000)
        result = (await decide(application.service("default"), wish)).results[0]
        await stage.levers.price(BTC, "98000")
        await stage.levers.price(BTC, "97100")  # 0.92 % back: not yet
        assert await stage.levers.position(BTC) == result.filled_quantity
        await stage.levers.price(BTC, "97000")  # 1.02 %
        trade = await settled(application, result.trade_id)
        assert trade.close_reason == "stop_loss"
        assert trade.realised_pnl > 0
        assert await stage.levers.position(BTC) == 0
        assert await resting(stage) == []


@pytest.mark.long
async def test_a_short_is_followed_downwards(stage: Arena) -> None:
    async with stage.application() as application:
        wish = sell(tp_price=None, sl_price=None, trailing_stop={"callback_rate": 1})
        result = (await decide(application.service("default"), wish)).results[0]
        assert result.status is AssetStatus.PROTECTED
        await stage.levers.price(ETH, "3300")
        await stage.levers.price(ETH, "3340")
        trade = await settled(application, result.trade_id)
        assert (trade.close_reason, trade.realised_pnl > 0) == ("stop_loss", True)


async def test_it_goes_when_the_target_is_reached(stage: Arena) -> None:
    async with stage.application() as application:
        result = (await decide(application.service("default"), trailing(tp_price=99_000))).results[0]
        await stage.levers.price(BTC, "99100")
        assert (await settled(application, result.trade_id)).close_reason == "take_profit"
        assert await resting(stage) == []


@pytest.mark.long
async def test_it_changes_with_the_position_new_before_old(stage: Arena) -> None:
    async with stage.application() as application:
        await decide(application.service("default"), trailing())
        (old,) = await stage.levers.orders(type=TRAILING)
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.004", reduceOnly="true")
        await until_true(lambda: stage.levers.orders(orderId=old["orderId"], status="CANCELED"))
        await until_true(lambda: stage.levers.orders(type=TRAILING, status="NEW"))
        (new,) = await stage.levers.orders(type=TRAILING, status="NEW")
        assert Decimal(new["origQty"]) == Decimal("0.006")
        _, sent = await stage.levers.requests("POST", "/order", type=TRAILING)
        (taken_off,) = await stage.levers.requests("DELETE", "/order")
        assert sent["sequence"] < taken_off["sequence"]


async def test_it_is_restored_when_it_disappears(stage: Arena) -> None:
    async with stage.application() as application:
        await decide(application.service("default"), trailing())
        (order,) = await stage.levers.orders(type=TRAILING)
        await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(order["orderId"])})
        await until_true(lambda: stage.levers.orders(type=TRAILING, status="NEW"))


@pytest.mark.long
async def test_refused_for_good_it_is_given_up_like_any_stop(stage: Arena) -> None:
    """P2: the deadline and the failure policy are the same."""
    async with stage.application(TES_PROTECTION_DEADLINE_SECONDS="0.5") as application:
        refusal = {"type": "error", "status": 400, "code": -4045, "msg": "Reach max stop order limit."}
        await stage.levers.fault(refusal, count=0, **PLACING)
        result = (await decide(application.service("default"), trailing())).results[0]
        assert result.status is AssetStatus.EMERGENCY_CLOSED
        assert result.error is not None
        assert "trailing stop" in result.error.message
        assert await stage.levers.position(BTC) == 0


async def test_activation_already_reached_after_the_fill_lets_it_follow_at_once(stage: Arena) -> None:
    """-2021 says that the wait is over here, not that a stop was hit."""
    async with stage.application() as application:
        await stage.levers.fault({"type": "delay_before", "seconds": 1}, **ENTRY)
        wish = trailing(sl_price=94_000, trailing_stop={"callback_rate": 1, "activation_price": 97_000})
        deciding = asyncio.create_task(decide(application.service("default"), wish))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET"))
        await stage.levers.price(BTC, "97500")
        result = (await deciding).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert [row["code"] for row in await stage.levers.requests("POST", "/order", type=TRAILING)] == [-2021, None]
        await stage.levers.price(BTC, "96400")
        assert (await settled(application, result.trade_id)).close_reason == "stop_loss"


async def test_a_lost_answer_leaves_it_on_the_book_once(stage: Arena) -> None:
    async with stage.application() as application:
        await stage.levers.fault({"type": "drop_events"}, count=0, event="ORDER_TRADE_UPDATE")
        await stage.levers.fault({"type": "drop_after"}, **PLACING)
        result = (await decide(application.service("default"), trailing())).results[0]
        assert result.status is AssetStatus.PROTECTED
        assert len(await stage.levers.orders(type=TRAILING)) == 1


async def test_a_restart_takes_it_over(stage: Arena) -> None:
    async with stage.application() as application:
        wish = trailing(trailing_stop={"callback_rate": "0.7", "activation_price": 97_000}, sl_price=94_000)
        opened = (await decide(application.service("default"), wish)).results[0]
        before = await stored(application, opened.trade_id)
    (order,) = await stage.levers.orders(type=TRAILING)
    await stage.levers.call("DELETE", "/orders", {"symbol": BTC, "orderId": str(order["orderId"])})
    async with stage.application() as application:
        await until_true(lambda: stage.levers.orders(type=TRAILING, status="NEW"))
        after = await settled(application, opened.trade_id, "open")
        legs = [trade.leg(OrderRole.TRAILING_STOP) for trade in (before, after)]
        assert [(leg.activation_price, leg.callback_rate) for leg in legs if leg] == [(97_000, Decimal("0.7"))] * 2
        assert [one.state for one in after.orders_of(OrderRole.TRAILING_STOP)] == [OrderState.CANCELED, OrderState.NEW]


@pytest.mark.parametrize(
    ("wish", "settings", "code", "words"),
    [
        (
            trailing(trailing_stop={"callback_rate": 1, "activation_price": 97_000}),
            {},
            "stop_loss_required",
            "give sl_price beside it",
        ),
        (
            buy(trailing_stop={"callback_rate": 1, "activation_price": 95_000}),
            {},
            "stop_loss_invalid",
            "activation_price 95000 must be above the mark price",
        ),
        (
            sell(trailing_stop={"callback_rate": 1, "activation_price": 3_500}),
            {},
            "stop_loss_invalid",
            "activation_price 3500 must be below the mark price",
        ),
        (
            trailing(5, leverage=25),
            {"TES_MARGIN_TYPE": "ISOLATED"},
            "stop_loss_invalid",
            "liquidation price",
        ),
    ],
    ids=["idle without a stop", "long, wrong side", "short, wrong side", "beyond liquidation"],
)
async def test_what_would_leave_the_position_bare_is_refused_before_anything_is_sent(
    stage: Arena, wish: dict[str, Any], settings: dict[str, str], code: str, words: str
) -> None:
    async with stage.application(**settings) as application:
        result = (await decide(application.service("default"), wish)).results[0]
        assert result.status is AssetStatus.REJECTED
        assert result.error is not None
        assert result.error.code == code
        assert words in result.error.message
        assert await stage.levers.requests("POST", "/order") == []


async def test_it_counts_as_a_stop_where_one_is_required(stage: Arena) -> None:
    async with stage.application(TES_RISK_REQUIRE_STOP_LOSS="true") as application:
        service = application.service("default")
        refused = (await decide(service, buy(sl_price=None))).results[0]
        assert refused.error is not None
        assert refused.error.code == "stop_loss_required"
        assert (await decide(service, trailing())).results[0].status is AssetStatus.PROTECTED


# --- a changed size keeps what it had gained (P15) -------------------------------------------------------------------


async def trails(stage: Arena, symbol: str = BTC) -> list[Decimal]:
    """Quantities of the trailing stops on the book, in the order in which they were placed."""
    rows = [row for row in await stage.levers.open_orders(symbol) if row["type"] == TRAILING]
    return [Decimal(row["origQty"]) for row in sorted(rows, key=lambda row: row["orderId"])]


def decrease(asset: str = BTC, percent: int = 40) -> dict[str, Any]:
    change = {"adjustment_type": "decrease", "adjustment_percentage": percent}
    return {"asset": asset, "action": "adjust_position", "position_adjustment": change}


@pytest.mark.parametrize(
    ("wish", "peak", "back", "level"),
    [
        (trailing(), "98990", "98200", "97990"),
        (sell(tp_price=None, sl_price=None, trailing_stop={"callback_rate": 1}), "3300", "3320", "3334"),
    ],
    ids=["long", "short"],
)
async def test_a_decrease_keeps_the_level_that_was_reached(
    stage: Arena, wish: dict[str, Any], peak: str, back: str, level: str
) -> None:
    async with stage.application() as application:
        service, symbol = application.service("default"), wish["asset"]
        opened = (await decide(service, wish)).results[0]
        await stage.levers.price(symbol, peak)
        await stage.levers.price(symbol, back)
        assert (await decide(service, decrease(symbol))).results[0].status is AssetStatus.ADJUSTED
        assert len(await trails(stage, symbol)) == 2  # the new one follows from here; the old one has seen the peak
        await stage.levers.price(symbol, level)
        assert (await settled(application, opened.trade_id)).close_reason == "stop_loss"
        assert await stage.levers.position(symbol) == 0
        assert await resting(stage, symbol) == []


async def test_an_addition_keeps_the_level_for_what_was_there(stage: Arena) -> None:
    async with stage.application(TES_RISK_MAX_PRICE_DEVIATION_BPS="1000") as application:
        service = application.service("default")
        await decide(service, trailing())
        await stage.levers.price(BTC, "98990")
        await stage.levers.price(BTC, "98200")
        more = {"adjustment_type": "increase", "adjustment_percentage": 50}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": more}
        added = (await decide(service, wish)).results[0]
        assert added.status is AssetStatus.ADJUSTED
        await stage.levers.price(BTC, "97990")

        async def is_the_addition_left() -> bool:
            left = await stage.levers.position(BTC)
            return left == added.filled_quantity and (await trails(stage))[-1:] == [left]

        await until_true(is_the_addition_left)


async def test_the_old_one_goes_when_the_new_one_is_as_tight(stage: Arena) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, trailing())
        await stage.levers.price(BTC, "98000")
        await stage.levers.price(BTC, "97500")
        await decide(service, decrease())
        assert len(await trails(stage)) == 2
        await stage.levers.price(BTC, "98100")

        async def is_alone() -> bool:
            return await trails(stage) == [Decimal("0.006")]

        await until_true(is_alone)


@pytest.mark.long
async def test_the_level_is_kept_over_a_restart(stage: Arena) -> None:
    async with stage.application() as application:
        opened = (await decide(application.service("default"), trailing())).results[0]
        await stage.levers.price(BTC, "98990")
        await stage.levers.price(BTC, "98200")
        await decide(application.service("default"), decrease())
    async with stage.application() as application:
        assert len(await trails(stage)) == 2
        await stage.levers.price(BTC, "97990")
        assert (await settled(application, opened.trade_id)).close_reason == "stop_loss"
