"""People at the exchange, symbols that stop trading, an exchange that closes for a while, and our own stop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, settled, stored, until, until_true

from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.domain.errors import DecisionRefused, Unavailable
from app.domain.events import EventType
from app.schemas.decision import parse_decision

PROTECT = {"TES_RECONCILE_EXTERNAL_POSITIONS": "protect", "TES_RECONCILE_EXTERNAL_STOP_BPS": "200"}


def set_status(stage: Arena, status: str) -> Any:
    """Change what the exchange says of BTC; what it was before."""
    market = stage.levers.venue.venue.state.markets[BTC]
    before = market.instrument
    market.instrument = replace(before, status=status, raw={**before.raw, "status": status})
    return before


async def events(application: Application, kind: EventType) -> list[dict[str, Any]]:
    await application.trades.settled()
    return [dict(one.event.data) for one in await application.events.after(0, 10_000) if one.event.type is kind]


async def alerts(application: Application) -> list[str]:
    return [row["code"] for row in await events(application, EventType.ALERT_RAISED)]


async def test_what_somebody_adds_is_theirs_and_told_once(stage: Arena) -> None:
    """H1: our exits keep our quantity; the surplus is shown, and one event tells of it, not one for each look."""
    async with stage.application() as application:
        service = application.service("default")
        trade_id = (await decide(service, buy())).results[0].trade_id
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.015")
        for _ in range(3):
            await service.reconcile()
        drift = await events(application, EventType.DRIFT_FOUND)
        assert [row["kind"] for row in drift] == ["position_larger"]
        exits = await stage.levers.open_orders(BTC)
        assert {row["origQty"] for row in exits} == {"0.010"}
        assert (await stored(application, trade_id)).status == "open"
        await service.close_position(BTC)
        assert await stage.levers.position(BTC) == Decimal("0.015")


async def test_an_external_position_gets_a_stop_that_goes_with_it(stage: Arena) -> None:
    """H2 with ``protect``: 2 % from the entry, ours by its id, following the entry price; foreign orders stay."""
    async with stage.application(**PROTECT) as application:
        service = application.service("default")
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.020")
        await stage.levers.by_hand(
            symbol=BTC, side="SELL", type="LIMIT", quantity="0.020", price="99000", timeInForce="GTC",
            newClientOrderId="theirs",
        )  # fmt: skip
        entry = Decimal((await stage.levers.account())["positions"][0]["entryPrice"])

        async def stops() -> list[dict[str, Any]]:
            return [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]

        await until_true(stops)
        (stop,) = await stops()
        assert stop["closePosition"] is True
        assert stop["clientOrderId"].startswith("tes.")
        assert abs(Decimal(stop["stopPrice"]) - entry * Decimal("0.98")) <= Decimal("0.1")
        refused = await decide(service, buy())
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "position_exists"

        await stage.levers.price(BTC, "98000")
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.020")  # the entry price rises

        async def has_followed() -> bool:
            prices = [Decimal(row["stopPrice"]) for row in await stops()]
            return len(prices) == 1 and prices[0] > Decimal(stop["stopPrice"])

        await until_true(has_followed)
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.040", reduceOnly="true")

        async def only_theirs() -> bool:
            return [row["clientOrderId"] for row in await stage.levers.open_orders(BTC)] == ["theirs"]

        await until_true(only_theirs)
        await stage.fresh_prices()

        async def is_free() -> bool:
            return (await decide(service, buy())).results[0].status == "protected"

        await until_true(is_free)  # no stop of ours for somebody else is left to close what we opened


async def test_a_stop_for_an_external_position_whose_answer_is_lost_is_not_called_missing(stage: Arena) -> None:
    """H2, U1: it may rest, and here it does; the next look finds it, and nobody is told of a bare position."""
    await stage.levers.fault({"type": "drop_after"}, path="/order", method="POST", params={"type": "STOP_MARKET"})
    async with stage.application(**PROTECT) as application:
        service = application.service("default")
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.020")
        await until_true(lambda: stage.levers.open_orders(BTC))
        for _ in range(2):
            await service.reconcile()
        assert len(await stage.levers.open_orders(BTC)) == 1
        assert "external_unprotected" not in await alerts(application)


async def test_an_external_stop_survives_a_restart_and_is_not_doubled(stage: Arena) -> None:
    """H2, C1."""
    async with stage.application(**PROTECT):
        await stage.levers.by_hand(symbol=ETH, side="SELL", quantity="0.500")

        async def is_there() -> bool:
            return bool(await stage.levers.open_orders(ETH))

        await until_true(is_there)
    book = await stage.levers.open_orders(ETH)
    async with stage.application(**PROTECT) as application:
        for _ in range(3):
            await application.service("default").reconcile()
        assert await stage.levers.open_orders(ETH) == book
        await stage.levers.price(ETH, "3480")  # the stop is hit
        assert await stage.levers.position(ETH) == 0


async def test_an_external_position_beyond_its_stop_is_told_and_left_alone(stage: Arena) -> None:
    """H2: closing what belongs to somebody is not ours to decide."""
    await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.020")
    await stage.levers.price(BTC, "93000")
    async with stage.application(**PROTECT) as application:
        await application.service("default").reconcile()
        await application.service("default").reconcile()
        assert (await alerts(application)).count("external_unprotected") == 1
        assert await stage.levers.position(BTC) == Decimal("0.020")


async def test_a_symbol_that_stops_trading_takes_no_entries_and_lets_us_out(stage: Arena) -> None:
    """H3: told once; an exit is sent all the same, and tried until the exchange takes it."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        instrument = set_status(stage, "SETTLING")
        service._market.doubt_instruments()

        async def is_told() -> bool:
            return "asset_not_trading" in await alerts(application)

        await until_true(is_told)
        refused = await decide(service, buy())
        assert refused.results[0].error is not None
        assert refused.results[0].error.code == "asset_not_trading"
        assert (await decide(service, sell())).results[0].status == "protected"
        for _ in range(2):
            await service._reconciler._try()
        assert (await alerts(application)).count("asset_not_trading") == 1
        closing = asyncio.create_task(service.close_position(BTC))

        async def is_tried() -> bool:
            requests = (await stage.levers.ledger())["requests"]
            return any(row["code"] == -5024 and row["params"].get("reduceOnly") == "true" for row in requests)

        await until_true(is_tried)
        stage.levers.venue.venue.state.markets[BTC].instrument = instrument
        assert (await closing).status == "closed"


async def test_a_mode_that_is_not_traded_keeps_entries_away_and_nobody_from_what_is_open(stage: Arena) -> None:
    """L4: somebody switched the account while we were away; the open position keeps its exits, and we go on hearing."""
    isolated = {"TES_MARGIN_TYPE": "ISOLATED"}
    async with stage.application(**isolated) as application:
        trade_id = (await decide(application.service("default"), buy())).results[0].trade_id
    stage.levers.venue.venue.state.accounts["default"].multi_assets = True
    async with running(load_settings({**stage.environment, **isolated}, config=None)) as application:
        service = application.service("default")
        # behind the first reconciliation the start has a few more steps, and says so
        await until(lambda: ["multi-assets mode" in reason for reason in service.readiness().reasons] == [True])
        (obstacle,) = service.readiness().reasons
        with pytest.raises(DecisionRefused, match="multi-assets mode"):
            await decide(service, sell())
        stop = next(row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET")
        await stage.levers.call("DELETE", "/orders", {"account": "default", "symbol": BTC, "orderId": stop["orderId"]})

        async def is_protected_again() -> bool:
            rows = [row for row in await stage.levers.open_orders(BTC) if row["type"] == "STOP_MARKET"]
            return bool(rows) and rows[0]["orderId"] != stop["orderId"]

        await until_true(is_protected_again)
        await stage.levers.price(BTC, "93900")
        assert (await settled(application, trade_id)).close_reason == "stop_loss"
        assert service.readiness().reasons == (obstacle,)


async def test_nothing_is_decided_before_the_exchange_was_read(stage: Arena) -> None:
    """C3: a start that can't read positions answers nothing but "not ready", and closes no trade for it."""
    async with stage.application() as application:
        trade_id = (await decide(application.service("default"), buy())).results[0].trade_id
    await stage.levers.fault({"type": "error", "status": 503}, count=0, method="GET", path="/positionRisk")
    async with running(load_settings({**stage.environment}, config=None)) as application:
        service = application.service("default")
        await until(lambda: "can't be read" in " ".join(service.readiness().reasons))
        with pytest.raises(DecisionRefused, match="not ready"):
            await decide(service, sell())
        with pytest.raises(Unavailable, match="first reconciliation"):
            await service.reconcile()  # whoever asks does not run ahead of the start
        assert (await stored(application, trade_id)).status == "open"
        await stage.levers.heal()
        await until(lambda: service.readiness().is_ready)
        assert (await decide(service, sell())).results[0].status == "protected"


async def test_nothing_is_decided_while_the_first_look_takes_its_time(stage: Arena) -> None:
    """C3: all that is missing is what the exchange holds for us."""
    await stage.levers.fault({"type": "delay_before", "seconds": 3}, count=0, method="GET", path="/positionRisk")
    async with running(load_settings({**stage.environment}, config=None)) as application:
        service = application.service("default")

        async def is_asked() -> bool:
            return bool((await stage.levers.call("GET", "/faults"))[0]["used"])

        await until_true(is_asked)
        await asyncio.sleep(0.3)  # whoever did not wait would be done
        with pytest.raises(DecisionRefused, match="not ready"):
            await decide(service, sell())
        await stage.levers.heal()
        await until(lambda: service.readiness().is_ready)
        assert (await decide(service, sell())).results[0].status == "protected"


async def test_after_maintenance_exits_go_first_and_entries_follow(stage: Arena) -> None:
    """H4: up, not ready, nothing lost; what protects leaves before anything is opened."""
    async with stage.application() as application:
        service = application.service("default")
        stop = {"path": "/order", "method": "POST", "params": {"type": "STOP_MARKET"}}
        await stage.levers.fault({"type": "error", "status": 503, "code": -1001}, count=0, **stop)
        bare = asyncio.create_task(decide(service, buy()))
        await until_true(lambda: stage.levers.fills())
        await stage.levers.fault({"type": "maintenance", "seconds": 2})
        await until(lambda: not service.readiness().is_ready)
        with pytest.raises(DecisionRefused, match="not ready"):
            await decide(service, sell())
        await stage.levers.heal()
        result = await bare
        assert result.results[0].status == "protected"
        await until(lambda: service.readiness().is_ready)
        assert (await decide(service, sell())).results[0].status == "protected"
        placed = [row for row in (await stage.levers.ledger())["requests"] if row["outcome"] == "executed"]
        symbols = [row["params"].get("symbol") for row in placed if row["method"] == "POST"]
        assert symbols.index(ETH) > max(index for index, symbol in enumerate(symbols) if symbol == BTC)


async def test_a_stop_waits_until_what_is_open_has_its_exits(stage: Arena) -> None:
    """C8: intake ends at once; within the grace time the position is protected, then the process goes."""
    stop = {"path": "/order", "method": "POST", "params": {"type": "STOP_MARKET"}}
    await stage.levers.fault({"type": "delay_before", "seconds": 1.5}, **stop)
    async with stage.application(TES_SHUTDOWN_GRACE_SECONDS="10") as application:
        service = application.service("default")
        await service.submit(_decision())
        await until_true(lambda: stage.levers.fills())
        stopping = asyncio.create_task(service.drain(10))
        await asyncio.sleep(0)
        with pytest.raises(DecisionRefused, match="stopping"):
            await service.submit(_decision("another"))
        stopping.cancel()
    assert {row["type"] for row in await stage.levers.open_orders(BTC)} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}


async def test_a_stop_waits_for_an_addition_on_its_way(stage: Arena) -> None:
    """C8: what is being added to a protected position is as much under way as an entry."""
    async with stage.application(TES_SHUTDOWN_GRACE_SECONDS="10") as application:
        service = application.service("default")
        await decide(service, buy())
        sent_before = len(await stage.levers.requests("POST", "/order", type="MARKET"))
        slow = {"path": "/order", "method": "POST", "params": {"type": "MARKET"}}
        await stage.levers.fault({"type": "delay_before", "seconds": 1.5}, **slow)
        more = {"adjustment_type": "increase", "adjustment_percentage": 100}
        wish = {"asset": BTC, "action": "adjust_position", "position_adjustment": more}
        await service.submit(_decision("more", wish))

        async def is_sent() -> bool:
            return any(fault["used"] for fault in await stage.levers.call("GET", "/faults"))

        await until_true(is_sent)
        await service.drain(10)
        assert len(await stage.levers.requests("POST", "/order", type="MARKET")) == sent_before + 1
        assert await stage.levers.position(BTC) == Decimal("0.020")
        assert {row["origQty"] for row in await stage.levers.open_orders(BTC)} == {"0.020"}


async def test_a_stop_without_grace_is_as_safe(stage: Arena) -> None:
    """C8, C1: the next start finds what was in flight."""
    stop = {"path": "/order", "method": "POST", "params": {"type": "STOP_MARKET"}}
    await stage.levers.fault({"type": "delay_before", "seconds": 1.5}, **stop)
    async with stage.application() as application:
        await application.service("default").submit(_decision())
        await until_true(lambda: stage.levers.fills())
    async with stage.application() as application:
        (trade,) = (await application.trades.open_trades("default")).items
        await settled(application, trade.id, "open")
        assert len(await stage.levers.open_orders(BTC)) == 2


def _decision(decision_id: str = "the-one", item: dict[str, Any] | None = None) -> Any:
    return parse_decision(json.dumps({"decision_id": decision_id, "decisions": [item or buy()]}))
