"""The account at hand is a lower bound, and no two entries spend the same margin (scenario Z4)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any

from story import START

from app.domain.errors import Unavailable
from app.domain.money import ZERO
from app.domain.reports import AccountReport, MarginType, MarkPrice, PositionReport, PositionSide
from app.services.execution.margin import FRESH_S, OLDEST_CHANGE_S, OLDEST_S, Margin

BTC = "BTCUSDT"


def held(quantity: str, margin_type: MarginType = MarginType.CROSSED) -> PositionReport:
    return PositionReport(
        symbol=BTC,
        position_side=PositionSide.BOTH,
        quantity=Decimal(quantity),
        entry_price=Decimal(100),
        mark_price=Decimal(100),
        unrealised_pnl=ZERO,
        liquidation_price=ZERO,
        leverage=10,
        margin_type=margin_type,
        isolated_margin=ZERO,
        maximum_notional=ZERO,
        updated_at=START,
    )


class Exchange:
    """An account, the time, and the last mark price; a test changes them."""

    def __init__(self, *positions: PositionReport) -> None:
        self.seconds = 100.0
        self.available = Decimal(1000)
        self.mark = Decimal(100)
        self.reads = 0
        self.is_down = False
        self.gate: asyncio.Event | None = None
        stand_in: Any = self
        self.margin = Margin(stand_in, stand_in, lambda: list(positions), self.last_mark)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)

    def last_mark(self, symbol: str) -> MarkPrice:
        return MarkPrice(
            symbol=symbol,
            mark_price=self.mark,
            index_price=self.mark,
            funding_rate=ZERO,
            next_funding_at=None,
            time=START,
        )

    async def account(self, _priority: object) -> AccountReport:
        self.reads += 1
        if self.is_down:
            raise Unavailable("down")
        seen = self.available
        if self.gate is not None:
            await self.gate.wait()
        return AccountReport(
            wallet_balance=seen,
            unrealised_pnl=ZERO,
            margin_balance=seen,
            initial_margin=ZERO,
            maintenance_margin=ZERO,
            available_balance=seen,
            can_trade=True,
        )

    def available_at_hand(self, needed: int = 1) -> Decimal | None:
        account = self.margin.at_hand(Decimal(needed))
        return account.available_balance if account else None


def reserved(margin: Margin, key: str, amount: Decimal) -> Decimal:
    """What others had spoken for before."""
    margin.reserve(key, amount)
    return margin.reserved_before(key)


async def test_nothing_is_at_hand_before_the_first_read_or_when_it_is_old() -> None:
    exchange = Exchange()
    assert exchange.available_at_hand() is None
    await exchange.margin.read()
    exchange.seconds += OLDEST_S
    assert exchange.available_at_hand() == 1000
    exchange.seconds += 0.1
    assert exchange.available_at_hand() is None


async def test_an_entry_that_needs_much_of_what_is_available_waits_for_a_fresh_balance() -> None:
    exchange = Exchange()
    await exchange.margin.read()
    exchange.seconds += FRESH_S + 0.1
    assert exchange.available_at_hand(500) == 1000
    assert exchange.available_at_hand(501) is None


async def test_a_balance_that_was_just_read_is_fresh_but_refuses_nothing() -> None:
    exchange = Exchange()
    await exchange.margin.read()
    exchange.seconds += FRESH_S
    assert exchange.available_at_hand(1000) == 1000
    assert exchange.available_at_hand(1001) is None
    exchange.margin.note_change()
    assert exchange.available_at_hand(501) is None


async def test_what_somebody_else_changed_is_read_again() -> None:
    exchange = Exchange()
    await exchange.margin.read()
    exchange.margin.void()
    assert exchange.available_at_hand() is None
    await exchange.margin.read()
    assert exchange.available_at_hand() == 1000


async def test_a_read_that_was_under_way_when_somebody_changed_the_account_does_not_count() -> None:
    exchange = Exchange()
    exchange.gate = asyncio.Event()
    read = asyncio.create_task(exchange.margin.read())
    await asyncio.sleep(0)
    exchange.margin.void()
    exchange.gate.set()
    await read
    assert exchange.available_at_hand() is None


async def test_what_we_changed_serves_a_little_longer() -> None:
    exchange = Exchange()
    await exchange.margin.read()
    exchange.seconds += 1
    exchange.margin.note_change()
    exchange.seconds += OLDEST_CHANGE_S
    exchange.margin.note_change()
    assert exchange.available_at_hand() == 1000
    exchange.seconds += 0.1
    assert exchange.available_at_hand() is None
    await exchange.margin.read()
    assert exchange.available_at_hand() == 1000


async def test_what_cross_positions_have_lost_since_is_not_available() -> None:
    exchange = Exchange(held("-3"))
    await exchange.margin.read()
    exchange.mark = Decimal(120)
    account = exchange.margin.at_hand(Decimal(1))
    assert account is not None
    assert (account.available_balance, account.margin_balance) == (940, 940)
    exchange.mark = Decimal(80)
    assert exchange.available_at_hand() == 1000  # a gain counts when it has been read


async def test_isolated_positions_lose_their_own_margin_only() -> None:
    exchange = Exchange(held("3", MarginType.ISOLATED))
    await exchange.margin.read()
    exchange.mark = Decimal(80)
    assert exchange.available_at_hand() == 1000


async def test_an_entry_sees_what_earlier_ones_have_spoken_for_and_not_the_other_way_round() -> None:
    margin = Exchange().margin
    assert reserved(margin, "first", Decimal(10)) == 0
    assert reserved(margin, "second", Decimal(20)) == 10
    assert reserved(margin, "third", Decimal(40)) == 30
    assert reserved(margin, "first", Decimal(10)) == 0


async def test_what_an_entry_took_is_reserved_until_a_read_that_began_after_its_end() -> None:
    exchange = Exchange()
    exchange.margin.reserve("first", Decimal(10))
    exchange.gate = asyncio.Event()
    too_early = asyncio.create_task(exchange.margin.read())
    await asyncio.sleep(0)
    exchange.seconds += 1
    exchange.margin.entry_ended("first", took_margin=True)
    exchange.margin.entry_ended("first", took_margin=True)
    exchange.gate.set()
    await too_early
    assert reserved(exchange.margin, "second", Decimal(20)) == 10
    exchange.seconds += 1
    await exchange.margin.read()
    assert reserved(exchange.margin, "third", Decimal(40)) == 20


async def test_what_an_entry_did_not_take_is_free_at_once() -> None:
    margin = Exchange().margin
    margin.reserve("first", Decimal(10))
    margin.entry_ended("first", took_margin=False)
    margin.entry_ended("never reserved", took_margin=True)
    assert reserved(margin, "second", Decimal(20)) == 0


async def test_of_two_reads_the_one_that_began_later_counts() -> None:
    exchange = Exchange()
    exchange.gate = asyncio.Event()
    earlier = asyncio.create_task(exchange.margin.read())
    await asyncio.sleep(0)
    gate, exchange.gate = exchange.gate, None
    exchange.seconds, exchange.available = exchange.seconds + 1, Decimal(5)
    await exchange.margin.read()
    gate.set()
    assert (await earlier).available_balance == 5
    assert exchange.available_at_hand() == 5


async def test_the_account_is_read_soon_after_a_change_and_again_when_that_failed() -> None:
    exchange = Exchange()
    exchange.is_down = True
    task = asyncio.create_task(exchange.margin.keep_fresh())
    exchange.margin.note_change()
    while exchange.reads < 3:
        await asyncio.sleep(0)
    exchange.is_down = False
    while exchange.available_at_hand() is None:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert exchange.available_at_hand() == 1000
