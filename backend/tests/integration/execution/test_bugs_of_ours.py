"""A step of ours breaks: its asset ends with ``internal_error`` and an alert, or goes on; nothing is lost silently."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from arena import BTC, ETH, Arena, buy, decide, none_refused, resting_stops, sell, settled, stored, until_true

from app.bootstrap import Application
from app.schemas.result import AssetStatus
from app.services.execution import adjuster as adjusting
from app.services.execution import command_runner, desk, entry_flow, facts, results
from app.services.execution.evidence import Evidence
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.recording import Recording
from app.services.execution.send_time import SendTime

ENTRY = {"method": "POST", "path": "/order", "params": {"type": "MARKET"}}
DEAF: dict[str, Any] = {"action": {"type": "drop_events"}, "count": 0, "event": "ORDER_TRADE_UPDATE"}
CLOSE = {"asset": BTC, "action": "close_position"}
ADD = {
    "asset": BTC,
    "action": "adjust_position",
    "position_adjustment": {"adjustment_type": "increase", "adjustment_amount_usd": "480"},
}
NO_TARGET = {"asset": BTC, "action": "adjust_orders", "order_adjustment": {"cancel_tp": True}}


class Bug:
    """A step that breaks the first time that it is made, or the first time that ``is_due``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, is_due: Any = None) -> None:
        step = getattr(owner, name)
        self.is_to_come = True

        @functools.wraps(step)
        def broken(*args: Any, **named: Any) -> Any:
            if self.is_to_come and (is_due is None or is_due(*args)):
                self.is_to_come = False
                raise ZeroDivisionError("a bug of ours")
            return step(*args, **named)

        monkeypatch.setattr(owner, name, broken)


async def is_alerted(application: Application) -> bool:
    events = [recorded.event for recorded in await application.events.after(0, 1000)]
    return any(event.data.get("code") == "internal_error" for event in events if event.type == "AlertRaised")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(entry_flow, "assess"), (SendTime, "objection"), (Market, "view"), (Market, "means"), (Market, "prepare")],
)
async def test_an_entry_over_which_a_step_breaks_ends_with_that(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    async with stage.application() as application:
        service = application.service("default")
        bug = Bug(monkeypatch, owner, name)
        (told,) = (await decide(service, buy())).results
        assert (told.error and told.error.code, bug.is_to_come) == ("internal_error", False)
        assert await stage.levers.orders(type="MARKET", symbol=BTC) == []
        await until_true(lambda: is_alerted(application))
        with none_refused():
            assert (await decide(service, buy())).results[0].status is AssetStatus.PROTECTED


@pytest.mark.parametrize(
    ("owner", "name", "item"),
    [
        (SendTime, "objection", ADD),
        (Market, "view", ADD),
        (adjusting, "assess_adjustment", NO_TARGET),
        (Recording, "before_acting", CLOSE),
    ],
)
async def test_a_change_over_which_a_step_breaks_ends_with_that_and_can_be_asked_for_again(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, item: dict[str, Any]
) -> None:
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        bug = Bug(monkeypatch, owner, name)
        (told,) = (await decide(service, item)).results
        assert (told.error and told.error.code, bug.is_to_come) == ("internal_error", False)
        held = await stage.levers.position(BTC)
        assert await resting_stops(stage, BTC) == [held]
        with none_refused():
            assert (await decide(service, item)).results[0].success


async def test_a_flip_whose_entry_breaks_is_told_closed_and_nothing_opened(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.application(TES_RISK_ON_EXISTING_POSITION="flip") as application:
        service = application.service("default")
        await decide(service, buy())
        bug = Bug(monkeypatch, adjusting.Adjuster, "after_its_close")
        (told,) = (await decide(service, sell(BTC))).results
        assert (told.error and told.error.code, bug.is_to_come) == ("internal_error", False)
        await until_true(lambda: is_alerted(application))


def tells_of_a_fill(_trade: object, fact: object) -> bool:
    return isinstance(fact, facts.OrderStreamed)


def is_a_reply(_trade: object, fact: object) -> bool:
    return isinstance(fact, facts.Placed)


def holds_something(trade: Any, *_: object) -> bool:
    return bool(trade.exposure)


def tells_of_a_trade(_narrator: object, before: object, after: Any) -> bool:
    return before is not None and bool(after.exposure)


@pytest.mark.parametrize(
    ("owner", "name", "is_due", "faults"),
    [
        (desk, "fold", tells_of_a_fill, []),
        (desk, "fold", is_a_reply, [DEAF]),
        (desk, "decide", holds_something, []),
        (Evidence, "resolve", None, [DEAF, {"action": {"type": "drop_after"}, **ENTRY}]),
        (Narrator, "changes", tells_of_a_trade, []),
    ],
)
async def test_a_fill_over_which_a_step_breaks_is_protected_all_the_same(
    stage: Arena, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, is_due: Any, faults: list[dict[str, Any]]
) -> None:
    async with stage.application() as application:
        for fault in faults:
            await stage.levers.fault(**fault)
        bug = Bug(monkeypatch, owner, name, is_due)
        (told,) = (await decide(application.service("default"), buy())).results
        assert (told.status, bug.is_to_come) == (AssetStatus.PROTECTED, False)
        assert len(await stage.levers.orders(type="MARKET", symbol=BTC)) == 1
        assert await resting_stops(stage, BTC) == [await stage.levers.position(BTC)]
        recorded = await settled(application, told.trade_id, "open")
        assert recorded.exposure == told.filled_quantity
        await until_true(lambda: is_alerted(application))


async def test_a_close_over_whose_accounts_a_step_breaks_ends(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage.application() as application:
        service = application.service("default")
        (opened,) = (await decide(service, buy())).results
        bug = Bug(monkeypatch, command_runner, "account_for")
        assert (await decide(service, CLOSE)).results[0].status is AssetStatus.CLOSED
        assert (await stored(application, opened.trade_id)).status == "closed"
        assert not bug.is_to_come


async def test_a_result_that_cannot_be_worded_ends_its_decision_and_no_other(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.application() as application:
        service = application.service("default")
        Bug(monkeypatch, results, "of_trade", lambda trade, _: trade.asset == BTC)
        outcome = await decide(service, buy(), sell(ETH))
        assert [(one.asset, one.status.value) for one in outcome.results] == [(BTC, "failed"), (ETH, "protected")]
        error = outcome.results[0].error
        assert error is not None
        assert error.code == "internal_error"
        assert await resting_stops(stage, BTC) == [await stage.levers.position(BTC)]
