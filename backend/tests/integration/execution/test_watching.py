"""What Prometheus is told of an account, on a real service in good and in bad times."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, until

from app.api.metrics import Metrics
from app.bootstrap import Application
from app.schemas.decision import parse_decision
from support.measured import Samples, samples, value

STOP = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}}
REFUSED: dict[str, Any] = {"type": "error", "status": 400, "code": -2022, "msg": "ReduceOnly Order is rejected."}
STAGES = ("received_to_sent", "sent_to_filled", "filled_to_protected")


@asynccontextmanager
async def watched(stage: Arena, **settings: str) -> AsyncIterator[tuple[Application, Callable[[], Samples]]]:
    """The application, and its metrics as they are now."""
    async with stage.application(**settings) as application:
        metrics = Metrics(application, lambda: 0)
        following = asyncio.create_task(metrics.follow())
        try:
            yield application, lambda: samples(metrics.render(with_money=True))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_an_account_in_order_says_so_and_how_long_an_entry_took(stage: Arena) -> None:
    async with watched(stage) as (application, look):
        result = (await decide(application.service("default"), buy())).results[0]
        await until(lambda: value(look(), "tes_decisions_total", status="executed") == 1)
        await until(lambda: value(look(), "tes_stream_up", stream="market") == 1)
        seen = look()
        for name in ("ready", "positions"):
            assert value(seen, f"tes_{name}") == 1
        for name in (
            *("halted", "unprotected_positions", "positions_past_deadline", "positions_without_exits"),
            *("external_positions", "unknown_orders", "oldest_unknown_order_seconds", "silence_seconds"),
        ):
            assert value(seen, f"tes_{name}") == 0, name
        assert value(seen, "tes_stream_up", stream="user") == 1
        assert 0 < (value(seen, "tes_request_weight_used") or 0) < (value(seen, "tes_request_weight_limit") or 0)
        assert (
            3
            <= (value(seen, "tes_orders_used", window="1m") or 0)
            < (value(seen, "tes_orders_limit", window="1m") or 0)
        )
        assert abs(value(seen, "tes_clock_offset_seconds") or 99) < 30
        assert value(seen, "tes_wallet_balance") is not None
        assert (value(seen, "tes_position_notional", asset=BTC, side="long") or 0) > 900
        assert value(seen, "tes_database_up", account="") == 1
        assert (value(seen, "tes_database_commit_seconds_count", account="") or 0) > 0
        assert result.timings_ms is not None
        for stage_name in STAGES:
            assert value(seen, f"tes_{stage_name}_seconds_count") == 1
            took_ms = getattr(result.timings_ms, stage_name)
            assert abs((value(seen, f"tes_{stage_name}_seconds_sum") or 0) - took_ms / 1000) < 1e-6


async def test_a_position_without_its_stop_is_counted_until_it_has_it(stage: Arena) -> None:
    settings = {"TES_PROTECTION_DEADLINE_SECONDS": "0.3", "TES_PROTECTION_ON_FAILURE": "alert"}
    async with watched(stage, TES_PROTECTION_BASE_DELAY_SECONDS="0.05", **settings) as (application, look):
        await stage.levers.fault(REFUSED, count=0, **STOP)
        result = (await decide(application.service("default"), buy())).results[0]
        assert result.status == "unprotected"
        told = {"code": "protection_failed", "severity": "critical"}
        await until(lambda: value(look(), "tes_alerts_raised_total", **told) == 1)
        assert value(look(), "tes_unprotected_positions") == value(look(), "tes_positions_past_deadline") == 1
        await stage.levers.heal()
        await until(lambda: value(look(), "tes_unprotected_positions") == 0)
        assert value(look(), "tes_positions_past_deadline") == 0
        await until(lambda: value(look(), "tes_filled_to_protected_seconds_count") == 1)
        assert (value(look(), "tes_filled_to_protected_seconds_sum") or 0) > 0.3


@pytest.mark.long
async def test_a_corrected_result_is_measured_once_for_each_asset(stage: Arena) -> None:
    """The asset that went well is told a second time, with the one that was corrected."""
    settings = {"TES_PROTECTION_DEADLINE_SECONDS": "0.3", "TES_PROTECTION_ON_FAILURE": "alert"}
    async with watched(stage, TES_PROTECTION_BASE_DELAY_SECONDS="0.05", **settings) as (application, look):
        await stage.levers.fault(
            REFUSED, count=0, method="POST", path="/order", params={**STOP["params"], "symbol": BTC}
        )
        await decide(application.service("default"), buy(), sell())
        await until(lambda: value(look(), "tes_filled_to_protected_seconds_count") == 1)
        await stage.levers.heal()
        await until(lambda: value(look(), "tes_filled_to_protected_seconds_count") == 2)
        assert value(look(), "tes_received_to_sent_seconds_count") == 2


@pytest.mark.long
async def test_what_nobody_asked_to_protect_and_what_is_not_ours_are_told_apart(stage: Arena) -> None:
    async with watched(stage) as (application, look):
        await decide(application.service("default"), buy(tp_price=None, sl_price=None))
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.5")
        await until(lambda: value(look(), "tes_external_positions") == 1)
        seen = look()
        assert value(seen, "tes_positions") == 2
        assert value(seen, "tes_positions_without_exits") == 1
        assert value(seen, "tes_unprotected_positions") == 0
        await until(lambda: (value(look(), "tes_reconciliation_differences") or 0) > 0)
        assert (value(look(), "tes_reconciliation_age_seconds") or 0) < 30


async def test_a_halt_a_lost_stream_and_a_closed_trade_show(stage: Arena) -> None:
    async with watched(stage) as (application, look):
        service = application.service("default")
        await decide(service, buy())
        await service.halt("the operator wants a look", flatten=True)
        await until(lambda: value(look(), "tes_trades_closed_total", reason="halt") == 1)
        assert value(look(), "tes_halted") == 1
        assert value(look(), "tes_position_notional", asset=BTC, side="long") is None
        await stage.levers.fault({"type": "restart", "seconds": 1})
        await until(lambda: value(look(), "tes_stream_up", stream="user") == 0)
        await until(lambda: value(look(), "tes_stream_up", stream="user") == 1)


async def test_what_never_happened_stands_at_zero(stage: Arena) -> None:
    """A series that begins at one has not risen: a rule would miss the first emergency of all."""
    async with watched(stage) as (_, look):
        assert value(look(), "tes_events_total", type="EmergencyClose") == 0
        assert value(look(), "tes_trades_closed_total", reason="liquidation") == 0


async def test_no_label_holds_an_id(stage: Arena) -> None:
    async with watched(stage) as (application, look):
        decision = parse_decision(json.dumps({"decision_id": "my-own-id", "decisions": [buy()]}))
        result = (await application.service("default").execute(decision)).results[0]
        await until(lambda: value(look(), "tes_decisions_total", status="executed") == 1)
        labels = {text for _, pairs in look() for _, text in pairs}
        assert not any(text.startswith(("my-own-id", "tes.", str(result.trade_id))) for text in labels)
