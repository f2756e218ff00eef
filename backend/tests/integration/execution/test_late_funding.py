"""Funding that is booked after the close counts, once (scenario H5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from arena import BTC, Arena, Request, buy, decide, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.events import EventType
from app.domain.trades import Trade
from app.services.execution import late_funding

HALF_A_DAY_S = 12 * 3600
NEVER = "3600"


async def closed_before_its_funding_is_booked(stage: Arena, application: Application) -> Trade:
    """A long that was held over the hour, and closed before the exchange booked what that cost."""
    await stage.levers.call("POST", "/rules", {"funding_delay_s": 1e6})
    await stage.levers.call("POST", "/funding", {"symbol": BTC, "rate": "0.001"})
    service = application.service("default")
    opened = (await decide(service, buy())).results[0]
    await stage.levers.fault({"type": "clock_skew", "seconds": HALF_A_DAY_S + until_half_past()})
    await until(lambda: stage.levers.venue.venue.funding._owed)
    await until(lambda: service.readiness().is_ready)
    await stage.levers.price(BTC, "99100")
    trade = await settled(application, opened.trade_id)
    assert trade.funding == 0
    return trade


def until_half_past() -> float:
    """Seconds to the middle of the present hour, perhaps behind us: what is booked there is none of the next hour's."""
    now = datetime.now(UTC)
    return 1800 - (now - now.replace(minute=0, second=0, microsecond=0)).total_seconds()


async def book(stage: Arena) -> Decimal:
    """Let the exchange book what is due."""
    await stage.levers.call("POST", "/rules", {"funding_delay_s": 0})

    async def rows() -> list[Decimal]:
        booked = (await stage.levers.account())["income"]
        return [Decimal(row["income"]) for row in booked if row["incomeType"] == "FUNDING_FEE"]

    await until_true(rows)
    return sum(await rows(), start=Decimal(0))


async def told(application: Application) -> Sequence[tuple[Decimal, bool]]:
    """What the events of the close say of funding, and whether they correct an earlier one."""
    events = [recorded.event for recorded in await application.events.after(0, 500)]
    closed = (event.data for event in events if event.type is EventType.TRADE_CLOSED)
    return [(Decimal(data["funding"]), data.get("is_correction", False)) for data in closed]


def looks(traffic: Sequence[Request]) -> int:
    return sum("/income" in path for _, path, _ in traffic)


async def corrected(application: Application, trade_id: str, funding: Decimal) -> None:
    async def is_there() -> bool:
        return (await stored(application, trade_id)).funding == funding

    await until_true(is_there)


async def test_funding_booked_after_the_close_counts_a_minute_later_and_once(
    stage: Arena, traffic: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """H5: a minute after the end, and again at the next reconciliation; then nothing is read any more."""
    monkeypatch.setattr(late_funding, "A_MINUTE_S", 0.5)
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS=NEVER) as application:
        trade = await closed_before_its_funding_is_booked(stage, application)
        paid = await book(stage)
        await corrected(application, trade.id, paid)
        assert await told(application) == [(Decimal(0), False), (paid, True)]
        for _ in range(3):
            await application.service("default").reconcile()
        await until(lambda: application.service("default")._reconciler.late_funding._waiting == {})
        read = looks(traffic)
        await application.service("default").reconcile()
        await asyncio.sleep(1.1)
        assert looks(traffic) == read
        assert (await stored(application, trade.id)).funding == paid < 0
        assert len(await told(application)) == 2


async def test_funding_booked_after_that_minute_counts_at_the_next_reconciliation(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H5: and it was not there yet when it was looked for before."""
    monkeypatch.setattr(late_funding, "A_MINUTE_S", 0.0)
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS=NEVER) as application:
        trade = await closed_before_its_funding_is_booked(stage, application)

        async def is_looked_for_once_more() -> bool:
            return (await stored(application, trade.id)).funding_looks == 1

        await until_true(is_looked_for_once_more)
        paid = await book(stage)
        await application.service("default").reconcile()
        await corrected(application, trade.id, paid)
        assert await told(application) == [(Decimal(0), False), (paid, True)]


async def test_funding_booked_while_we_were_down_counts_after_the_restart_and_once(stage: Arena) -> None:
    """H5, C1: how often it is still looked for is on record."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS=NEVER) as application:
        trade = await closed_before_its_funding_is_booked(stage, application)
    paid = await book(stage)
    for _ in range(2):
        async with stage.application(TES_RECONCILE_INTERVAL_SECONDS=NEVER) as application:
            await corrected(application, trade.id, paid)
            assert await told(application) == [(Decimal(0), False), (paid, True)]
