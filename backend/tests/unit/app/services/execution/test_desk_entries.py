"""Between the approval of an entry and its sending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from story import MARK, PLENTY, START, TRADE_ID, market, quote, wish

from app.domain.errors import ErrorCode, StoreUnavailable
from app.domain.policy import AccountPolicy
from app.domain.reports import BookTicker, NeverSent, OrderRequest, Placement, RequestStamp
from app.domain.trades import Trade, TradeError, TradeStatus
from app.services.execution.desk import Desk
from app.services.execution.desk_tools import Enter
from app.services.execution.means import Means
from app.services.execution.narration import Narrator
from app.services.execution.planning import MarketView
from app.services.execution.risk import Blocks, RiskRefused
from app.services.execution.supervision import Supervisor


class Hall:
    """A desk whose database and preparations take as long, and go as wrong, as a test says."""

    def __init__(self, prepare: Callable[[], None] = lambda: None) -> None:
        self.time = START
        self.placed: list[OrderRequest] = []
        self.refused: list[RiskRefused] = []
        self.ended: list[Trade] = []
        self.failures: list[Exception] = []
        self.recorded: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
        self.given_up: list[Trade] = []
        self.objection: RiskRefused | None = None
        self.mark = MARK
        self.bug_at_send_time = False
        self.is_full = False
        clock: Any = SimpleNamespace(now=self.now, sleep=asyncio.sleep, monotonic=lambda: 0.0)
        self.background = Supervisor(clock, self.failures.append)

        async def place_order(request: OrderRequest, _stamp: object) -> Placement:
            self.placed.append(request)
            return NeverSent(reason="no connection")

        async def present(_asset: str) -> tuple[MarketView, BookTicker]:
            if self.bug_at_send_time:
                raise RuntimeError("a bug")
            return market(mark=self.mark), quote(self.mark)

        async def means(_plan: object, _key: str) -> Means:
            return PLENTY

        async def prepared(_trade_id: str, _plan: object) -> TradeError | None:
            prepare()
            return None

        def changed(trade: Trade) -> None:
            if trade.is_ended:
                self.ended.append(trade)

        tools: Any = SimpleNamespace(
            policy=AccountPolicy(account_id="default", is_paper=True),
            client=SimpleNamespace(
                place_order=place_order,
                entry_stamp=lambda: RequestStamp(value=1, dead_after=START),
                keep_room_for_entry=lambda *_: None,
            ),
            trades=SimpleNamespace(
                record_intent=lambda *_: self.recorded, record_progress=lambda *_: None, settled=self.settled
            ),
            market=SimpleNamespace(
                exit_places=lambda _: None,
                prepare=prepared,
                present=present,
                recent=lambda _: (market(mark=self.mark), quote(self.mark)),
                means=means,
                entries_ended=self.given_up.append,
                is_hedge_mode=False,
                instrument=lambda _: None,
                prices=SimpleNamespace(last_mark=lambda _: None),
            ),
            narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=self.now),
            ids=SimpleNamespace(new=lambda: TRADE_ID),
            clock=clock,
            randomness=SimpleNamespace(uniform=lambda low, high: high),
            other_exposure=lambda _: {},
            has_external_position=lambda _: False,
            realised_today=lambda: None,
            is_at_work=lambda _: True,
            is_flattened=lambda: False,
            on_change=changed,
            on_refused=lambda _wish, refusal: self.refused.append(refusal),
            gate=lambda: Blocks(unready=self.objection),
            stop_entries=lambda _: None,
            background=self.background,
        )
        self.desk = Desk("BTCUSDT", tools, None)
        self.background.keep_running(self.desk.run)

    def now(self) -> datetime:
        return self.time

    def settled(self) -> asyncio.Future[tuple[Any, ...]]:
        if self.is_full:
            raise StoreUnavailable("too many records wait for the database already")
        return self.recorded

    async def enter(self) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        durable.set_result(None)
        self.desk.enter(Enter(wish(), market(), durable))
        for _ in range(20):
            await asyncio.sleep(0)

    async def record(self) -> None:
        self.recorded.set_result(())
        for _ in range(20):
            await asyncio.sleep(0)


async def test_an_entry_whose_record_took_too_long_is_not_sent_any_more() -> None:
    """C7: refused at send time, not only at intake."""
    hall = Hall()
    await hall.enter()
    hall.time += timedelta(seconds=61)
    await hall.record()
    assert hall.placed == []
    assert [(trade.status, trade.error and trade.error.code) for trade in hall.ended] == [
        (TradeStatus.REJECTED, "stale_decision")
    ]
    await hall.background.stop()


async def test_an_entry_is_not_sent_once_entries_are_refused() -> None:
    """P3: another position may have passed its deadline meanwhile."""
    hall = Hall()
    await hall.enter()
    hall.objection = RiskRefused(code=ErrorCode.NOT_READY, message="held without protection")
    await hall.record()
    assert hall.placed == []
    assert [trade.status for trade in hall.ended] == [TradeStatus.REJECTED]
    await hall.background.stop()


async def test_an_entry_whose_price_moved_away_while_it_was_recorded_is_not_sent() -> None:
    """C7: the price is looked at when the record is durable, not only when it is begun."""
    hall = Hall()
    await hall.enter()
    hall.mark = MARK * Decimal("1.011")
    await hall.record()
    assert hall.placed == []
    assert [trade.error and trade.error.code for trade in hall.ended] == ["price_deviation"]
    await hall.background.stop()


async def test_a_bug_at_send_time_sets_the_asset_free_too() -> None:
    hall = Hall()
    hall.bug_at_send_time = True
    await hall.enter()
    await hall.record()
    assert hall.placed == []
    assert [trade.error and trade.error.code for trade in hall.ended] == [ErrorCode.INTERNAL_ERROR]
    assert hall.desk.active == ()
    assert len(hall.failures) == 1
    await hall.background.stop()


async def test_an_entry_whose_smaller_size_can_not_be_recorded_ends_on_record() -> None:
    """Z7, C2: its intent is on record, so its end must be too (found by the simulation, seed 43)."""
    hall = Hall()
    await hall.enter()
    hall.mark = MARK * Decimal("1.009")
    hall.is_full = True
    await hall.record()
    assert hall.placed == []
    assert [(trade.status, trade.error and trade.error.code) for trade in hall.ended] == [
        (TradeStatus.REJECTED, "not_ready")
    ]
    await hall.background.stop()


async def test_a_bug_before_sending_sets_the_asset_free_and_is_told() -> None:
    def break_down() -> None:
        raise RuntimeError("a bug")

    hall = Hall(break_down)
    await hall.enter()
    await hall.record()
    assert hall.placed == []
    assert [refusal.code for refusal in hall.refused] == [ErrorCode.INTERNAL_ERROR]
    assert hall.desk.active == ()
    assert [trade.id for trade in hall.given_up] == [TRADE_ID]  # or its margin would stay reserved
    assert len(hall.failures) == 1
    await hall.background.stop()
