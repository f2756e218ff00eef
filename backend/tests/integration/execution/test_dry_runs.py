"""A dry run says ok exactly when the real decision would pass in the same state (contract, section 9)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell

from app.schemas.decision import parse_decision
from app.schemas.result import AssetStatus
from app.services.execution.service import ExecutionService

OLD = {"timestamp": "2026-01-01T00:00:00Z"}
Step = Callable[[Arena, ExecutionService], Awaitable[object]]


def adjust(**change: Any) -> dict[str, Any]:
    return {"asset": BTC, "action": "adjust_position", "position_adjustment": change}


def orders(**change: Any) -> dict[str, Any]:
    return {"asset": BTC, "action": "adjust_orders", "order_adjustment": change}


CLOSE = {"asset": BTC, "action": "close_position"}


async def nothing(_stage: Arena, _service: ExecutionService) -> None:
    """Begin with an empty account."""


async def a_long(_stage: Arena, service: ExecutionService) -> None:
    assert (await decide(service, buy(leverage=20))).success


async def halted(_stage: Arena, service: ExecutionService) -> None:
    await service.halt("lunch")


async def halted_long(stage: Arena, service: ExecutionService) -> None:
    await a_long(stage, service)
    await halted(stage, service)


async def a_naked_eth(stage: Arena, service: ExecutionService) -> None:
    """ETH is past its deadline without a stop, so that no entry is sent; BTC is held."""
    await a_long(stage, service)
    stop = {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET", "symbol": ETH}}
    no = {"type": "error", "status": 400, "code": -2010, "msg": "No."}
    await stage.levers.fault(no, count=0, **stop)
    await decide(service, sell(ETH))


async def without_brackets(_stage: Arena, service: ExecutionService) -> None:
    """The exchange told of no leverage brackets when they were read."""
    service._market.terms._brackets = {}


async def no_price(stage: Arena, service: ExecutionService) -> None:
    """BTC has no mark price yet, as a symbol that was just listed."""
    service._market.prices._marks.clear()
    service._market.prices.on_mark = lambda _: None  # type: ignore[method-assign]
    body = {"symbol": BTC, "markPrice": "0.00000000", "indexPrice": "0", "time": 1, "lastFundingRate": ""}
    none = {"type": "error", "status": 200, "body": json.dumps(body), "content_type": "application/json"}
    await stage.levers.fault(none, count=0, path="/premiumIndex")


async def no_price_of_a_long(stage: Arena, service: ExecutionService) -> None:
    await a_long(stage, service)
    await no_price(stage, service)


ISOLATED = {"TES_MARGIN_TYPE": "ISOLATED"}
ADD, FLIP = {"TES_RISK_ON_EXISTING_POSITION": "add"}, {"TES_RISK_ON_EXISTING_POSITION": "flip"}
ALERT = {"TES_PROTECTION_ON_FAILURE": "alert", "TES_PROTECTION_DEADLINE_SECONDS": "1"}
LATE = {"leverage": 25, "sl_price": 91_000}

LESS = {"adjustment_type": "decrease"}
MORE = adjust(adjustment_type="increase", adjustment_percentage=50)
FLIPPED = sell(BTC, tp_price=93_000, sl_price=98_000)
BARE = {"tp_price": None, "sl_price": None}

STATES = [
    pytest.param(
        nothing,
        {},
        [
            (buy(sl_price=2), {}, "stop_loss_invalid"),
            (buy(allocation_usd=0.01), {}, "quantity_below_minimum"),
            (buy(allocation_usd=999_000), {}, "insufficient_margin"),
            (buy(), OLD, "stale_decision"),
            (CLOSE, {}, "position_absent"),
            (MORE, {}, "position_absent"),
            (buy(), {}, None),
        ],
        id="nothing held",
    ),
    pytest.param(nothing, ISOLATED, [(buy(**LATE), {}, "stop_loss_invalid")], id="isolated"),
    pytest.param(
        without_brackets, {}, [(buy(), {}, "exchange_unavailable"), (buy(**BARE), {}, None)], id="without brackets"
    ),
    pytest.param(no_price, {}, [(buy(), {}, "asset_not_trading")], id="no price"),
    pytest.param(
        a_long,
        {},
        [
            (buy(), {}, "position_exists"),
            (orders(new_sl_price=2), {}, "stop_loss_invalid"),
            (orders(new_tp_price=99), {}, "take_profit_invalid"),
            (orders(new_sl_price=93_000), OLD, "stale_decision"),
            (adjust(**LESS, adjustment_amount_usd=1), {}, "quantity_below_minimum"),
            (MORE | adjust(adjustment_type="increase", adjustment_amount_usd=1), {}, "quantity_below_minimum"),
            (adjust(new_sl_price=93_000), {}, None),
            (MORE, {}, None),
            (CLOSE, {}, None),
        ],
        id="long",
    ),
    pytest.param(a_long, ADD, [(FLIPPED, {}, "position_exists"), (buy(leverage=20), {}, None)], id="long, add"),
    pytest.param(
        a_long,
        FLIP | ISOLATED,
        [
            (orders(new_sl_price=91_000), {}, "stop_loss_invalid"),
            (FLIPPED | {"leverage": 25, "sl_price": 101_000}, {}, "stop_loss_invalid"),
            (FLIPPED, {}, None),
        ],
        id="long, flip",
    ),
    pytest.param(
        a_long,
        {"TES_RISK_COOLDOWN_SECONDS": "60", "TES_RISK_REQUIRE_STOP_LOSS": "true"},
        [(MORE, {}, "cooldown_active"), (orders(cancel_sl=True), {}, "stop_loss_required"), (CLOSE, {}, None)],
        id="long, cooldown",
    ),
    pytest.param(halted_long, {}, [(buy(ETH), {}, "halted"), (MORE, {}, "halted"), (CLOSE, {}, None)], id="halted"),
    pytest.param(
        a_naked_eth,
        ALERT,
        [(MORE, {}, "not_ready"), (adjust(new_sl_price=95_000), {}, None), (CLOSE, {}, None)],
        id="another is naked",
    ),
    pytest.param(
        no_price_of_a_long,
        {},
        [
            (orders(new_sl_price=93_000), {}, "asset_not_trading"),
            (adjust(**LESS, adjustment_percentage=50), {}, None),
            (CLOSE, {}, None),
        ],
        id="long, no price",
    ),
]


@pytest.mark.parametrize(("begin", "settings", "asked"), STATES)
async def test_a_dry_run_answers_as_the_decision_does(
    stage: Arena,
    begin: Step,
    settings: dict[str, str],
    asked: list[tuple[dict[str, Any], dict[str, str], str | None]],
) -> None:
    """Issue 19, point 17: it called ``ok`` what was refused, and ``refused`` what worked."""
    async with stage.application(**settings) as application:
        service = application.service("default")
        await begin(stage, service)
        for item, fields, code in asked:
            tried = parse_decision(json.dumps({"decisions": [item], **fields}))
            (dry,) = (await service.explain(tried)).assets
            refused = [check.code for check in dry.checks if check.verdict == "refused"]
            assert (dry.verdict, next(iter(refused), None)) == ("ok" if code is None else "refused", code), dry.checks
            real = (await decide(service, item, **fields)).results[0]
            assert (real.error.code if real.error else None) == code, item
            assert (real.status is AssetStatus.REJECTED, real.success) == (code is not None, code is None)


@pytest.mark.parametrize(
    ("settings", "items", "verdicts"),
    [
        ({"TES_RISK_MAX_OPEN_POSITIONS": "1"}, [CLOSE, sell(ETH)], ["ok", "ok"]),
        ({"TES_RISK_MAX_OPEN_POSITIONS": "2"}, [buy("SOLUSDT", **BARE), sell(ETH)], ["ok", "refused"]),
        ({"TES_RISK_MAX_TOTAL_NOTIONAL": "1600"}, [adjust(**LESS, adjustment_percentage=50), sell(ETH)], ["ok", "ok"]),
    ],
    ids=["close frees a place", "entry takes a place", "decrease frees notional"],
)
async def test_a_dry_run_judges_each_part_after_those_before_it(
    stage: Arena, settings: dict[str, str], items: list[dict[str, Any]], verdicts: list[str]
) -> None:
    """Issue 19, point 17: it refused the entry behind the close that makes room for it."""
    async with stage.application(**settings) as application:
        service = application.service("default")
        await a_long(stage, service)
        explained = await service.explain(parse_decision(json.dumps({"decisions": items})))
        assert [one.verdict for one in explained.assets] == verdicts, explained.assets[-1].checks
        assert "before it in this decision" in explained.assets[-1].notes[0]
        real = (await decide(service, *items)).results
        assert [one.success for one in real] == [verdict == "ok" for verdict in verdicts]
