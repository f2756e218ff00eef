"""Getting out when the exchange makes it hard."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

from arena import BTC, ETH, Arena, buy, decide, sell, settled, until_true

from app.schemas.result import AssetStatus

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
AT_MARKET = {"method": "POST", "path": "/order", "params": {"type": "MARKET", "side": "SELL"}}
IN_SLICES = {"method": "POST", "path": "/order", "params": {"type": "LIMIT", "side": "SELL"}}
DEPTH = {"method": "GET", "path": "/depth"}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -2022, "msg": "ReduceOnly Order is rejected."}
NO_COUNTERPARTY: dict[str, Any] = {
    "type": "error",
    "status": 400,
    "code": -4131,
    "msg": "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
}
QUICK = {"TES_PROTECTION_DEADLINE_SECONDS": "0.3", "TES_PROTECTION_BASE_DELAY_SECONDS": "0.05"}


def thin(bid: str) -> dict[str, Any]:
    """A book whose bids show three thousandths."""
    rows = {"lastUpdateId": 1, "E": 1, "T": 1, "bids": [[bid, "0.003"]], "asks": [["96100.0", "1"]]}
    return {"type": "error", "status": 200, "body": json.dumps(rows)}


async def test_without_counterparty_the_emergency_close_goes_on_in_slices_of_the_book(stage: Arena) -> None:
    """O5, P3: limits that take what is there, within the percent-price filter, until the position is flat."""
    async with stage.application(**QUICK) as application:
        levers = stage.levers
        await levers.fault(REFUSED, count=0, **STOP)
        await levers.fault(NO_COUNTERPARTY, count=0, **AT_MARKET)
        await levers.fault(thin("95990.0"), count=0, **DEPTH)
        result = (await decide(application.service("default"), buy(tp_price=None))).results[0]
        assert result.status is AssetStatus.EMERGENCY_CLOSED
        assert await levers.position(BTC) == 0
        slices = await levers.orders(symbol=BTC, type="LIMIT")
        assert [Decimal(row["origQty"]) for row in slices][:3] == [Decimal("0.003")] * 3
        assert {row["timeInForce"] for row in slices} == {"IOC"}
        trade = await settled(application, result.trade_id)
        assert trade.close_reason == "emergency"


async def test_a_close_that_fails_is_tried_over_a_restart_and_holds_entries_off(stage: Arena) -> None:
    """P3: durable, escalating, entries on the account refused until flat."""
    levers = stage.levers
    await levers.fault(REFUSED, count=0, **STOP)
    for way in (AT_MARKET, IN_SLICES):
        await levers.fault(NO_COUNTERPARTY, count=0, **way)
    async with stage.application(**QUICK) as application:
        opening = asyncio.create_task(decide(application.service("default"), buy(tp_price=None), decision_id="bare"))

        async def is_failing() -> bool:
            told = await application.events.after(0, 1_000)
            return any(one.event.data.get("code") == "close_failing" for one in told)

        await until_true(is_failing)
        opening.cancel()
    async with stage.application(**QUICK) as application:
        service = application.service("default")
        refused = (await decide(service, sell(ETH))).results[0]
        assert refused.status is AssetStatus.REJECTED
        assert refused.error is not None
        assert BTC in refused.error.message
        await levers.heal()

        async def is_flat() -> bool:
            return await levers.position(BTC) == 0

        await until_true(is_flat)
        submission = (await application.trades.of_decision("default", "bare")).items
        trade = await settled(application, submission[0].id)
        assert trade.close_reason == "emergency"
        assert (await decide(service, sell(ETH))).success
