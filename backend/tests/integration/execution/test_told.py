"""What results and records tell is what happened (contract, sections 5 and 9)."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from arena import BTC, Arena, buy, decide, stored, until_true

from app.schemas.records import trade_document

CLOSE = {"asset": BTC, "action": "close_position"}
HALF = {"adjustment_type": "decrease", "adjustment_percentage": 50}


async def test_a_close_tells_the_figures_of_the_way_out(stage: Arena) -> None:
    """Contract, section 9: price, size, slippage, commission and times of the close, not of the entry."""
    async with stage.application() as application:
        service = application.service("default")
        opened = (await decide(service, buy())).results[0]
        await decide(service, {"asset": BTC, "action": "adjust_position", "position_adjustment": HALF})
        await stage.move(BTC, "97000")
        closed = (await decide(service, CLOSE)).results[0]
        *_, ended = await stage.levers.fills()
        price, paid = Decimal(ended["price"]), Decimal(ended["commission"])
        assert (closed.fill_price, closed.commission, closed.commission_asset) == (price, paid, "USDT")
        assert closed.fill_price != opened.fill_price
        assert (closed.requested_quantity, closed.filled_quantity) == (Decimal(ended["qty"]), Decimal(ended["qty"]))
        assert closed.slippage_bps == ((1 - price / 97_000) * 10_000).quantize(Decimal("0.01"))
        times = closed.timings_ms
        assert times.filled_to_protected is None
        assert times.received_to_sent is not None
        assert times.sent_to_filled is not None
        assert times != opened.timings_ms


async def test_a_close_that_the_target_overtook_tells_the_targets_price(stage: Arena) -> None:
    """Contract, section 9, and O3: what ended the trade was not the close."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        lost = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
        await stage.levers.fault({"type": "delay_before", "seconds": 0.5}, **lost)
        closing = asyncio.create_task(decide(service, CLOSE))
        await until_true(lambda: stage.levers.requests("POST", "/order", type="MARKET", side="SELL"))
        await stage.levers.price(BTC, "99100")
        closed = (await closing).results[0]
        fills = await stage.levers.fills()
        assert (closed.status, closed.fill_price) == ("closed", Decimal(fills[-1]["price"]))
        assert closed.filled_quantity == Decimal(fills[-1]["qty"])


async def test_what_was_never_protected_is_not_told_as_protected(stage: Arena) -> None:
    """Contract, section 5: an entry and an addition that asked for no exits, until a later decision brings one."""
    bare = {"sl_price": None, "tp_price": None}
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="add") as application:
        service = application.service("default")
        for _ in range(2):
            result = (await decide(service, buy(**bare))).results[0]
            assert result.status == "filled"
            assert result.timings_ms.sent_to_filled is not None
            assert result.timings_ms.filled_to_protected is None
        trade = await stored(application, result.trade_id)
        assert trade_document(trade).protected_at is None
        exits = {"adjust_sl": True, "new_sl_price": 94_000}
        await decide(service, {"asset": BTC, "action": "adjust_orders", "order_adjustment": exits})
        trade = await stored(application, result.trade_id)
        protected_at = trade_document(trade).protected_at
        assert protected_at is not None
        assert trade.filled_at is not None
        assert protected_at > trade.adjustments[-1].received_at > trade.filled_at
