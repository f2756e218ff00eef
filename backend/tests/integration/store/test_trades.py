"""Trades on record: intent and progress in whole units, read back as the same values."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.db.port import Database, Unit
from app.domain.commissions import Commission, commissions_of
from app.domain.errors import ErrorCode, InvariantBroken, Refusal, StoreConflict
from app.domain.events import Event, EventType
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.orders import Order, OrderState
from app.domain.reports import (
    FillReport,
    OrderRequest,
    OrderType,
    PositionSide,
    RequestStamp,
    Side,
    TimeInForce,
    WorkingType,
)
from app.domain.trades import CloseReason, Leg, Trade, TradeError, TradeSide, TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from app.repositories.trades import TradeRepository

MakeEvent = Callable[..., Event]
NOW = datetime(2026, 11, 22, 10, 15, 0, 123456, tzinfo=UTC)
STAMP = RequestStamp(value=1_764_000_000_000_001, dead_after=NOW + timedelta(seconds=65))


def planned(trade_id: str, role: OrderRole, attempt: int = 1, symbol: str = "BTCUSDT", **wish: Any) -> Order:
    key = ClientOrderId(trade_id, role, attempt)
    side = Side.SELL if role.is_exit else Side.BUY
    wish.setdefault("type", OrderType.MARKET)
    return Order(key=key, request=OrderRequest(symbol=symbol, side=side, client_order_id=str(key), **wish))


def trade(trade_id: str = "0" * 20, asset: str = "BTCUSDT", **facts: Any) -> Trade:
    orders = (
        planned(trade_id, OrderRole.ENTRY, symbol=asset, quantity=Decimal("0.010")),
        planned(
            trade_id,
            OrderRole.STOP_LOSS,
            symbol=asset,
            type=OrderType.STOP,
            stop_price=Decimal("94000.0"),
            price=Decimal("93530.0"),
            close_position=True,
            working_type=WorkingType.MARK_PRICE,
            price_protect=False,
            time_in_force=TimeInForce.GTC,
            position_side=PositionSide.LONG,
        ),
    )
    facts = {
        "account_id": "default",
        "decision_id": "d-1",
        "side": TradeSide.LONG,
        "quantity": Decimal("0.010"),
        "leverage": 10,
        "requested_leverage": 50,
        "reference_price": Decimal("96000.10"),
        "received_at": NOW,
        "created_at": NOW,
        "legs": (
            Leg(role=OrderRole.STOP_LOSS, order_type=OrderType.STOP, trigger_price=Decimal("94000.0")),
            Leg(role=OrderRole.TAKE_PROFIT, order_type=OrderType.LIMIT, trigger_price=Decimal("99000.0")),
        ),
        "orders": orders,
        "context": {"exit_plan": "über 99k", "confidence": "78", "rationale": None},
    } | facts
    return Trade(id=trade_id, asset=asset, **facts)


def fill(number: int, **facts: Any) -> FillReport:
    values: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "exchange_trade_id": number,
        "order_id": 123,
        "client_order_id": None,
        "side": Side.BUY,
        "position_side": PositionSide.BOTH,
        "price": Decimal("96012.40"),
        "quantity": Decimal("0.004"),
        "commission": Decimal("0.15361984"),
        "commission_asset": "USDT",
        "realised_pnl": Decimal("-0.00000001"),
        "is_maker": False,
        "time": NOW,
    }
    return FillReport(**values | facts)


def lived(before: Trade) -> Trade:
    """A long life: every kind of part has changed, appeared or gone."""
    entry = replace(
        before.entry,
        state=OrderState.FILLED,
        exchange_order_id=2**53 + 1,
        executed_quantity=Decimal("0.010"),
        average_price=Decimal("96012.4"),
        stamp=STAMP,
        submitted_at=NOW,
        acknowledged_at=NOW + timedelta(microseconds=1),
        finished_at=NOW + timedelta(milliseconds=2),
        transmissions=2,
        refusal=Refusal.MARGIN,
        refusal_code=-2019,
        refusal_message="Margin is insufficient.",
        needs_query=True,
    )
    leg = before.legs[0]
    return replace(
        before.with_order(entry).with_order(planned(before.id, OrderRole.CLOSE, 3, reduce_only=True)),
        status=TradeStatus.CLOSED,
        legs=(replace(leg, attempts=4, retry_at=NOW, limit_price=Decimal("93530.00"), quantity_step=Decimal("0.01")),),
        fills=(fill(7), fill(5, is_maker=True)),
        externally_reduced=Decimal("0.001"),
        entry_sent_at=NOW,
        first_fill_at=NOW + timedelta(seconds=1),
        filled_at=NOW + timedelta(seconds=2),
        protected_at=NOW + timedelta(seconds=3),
        closed_at=NOW + timedelta(seconds=4),
        deadline_at=NOW + timedelta(seconds=11),
        close_reason=CloseReason.LIQUIDATION,
        close_attempts=2,
        close_retry_at=NOW,
        protection_failed=True,
        is_accounted=True,
        funding=Decimal("-0.12"),
        funding_looks=3,
        error=TradeError(code=ErrorCode.PROTECTION_FAILED, message="no", exchange_code=-2021, retry_after_s=1.5),
    )


async def accept(database: Database) -> None:
    """The decision that the trades belong to is on record."""
    await DecisionRepository(database).accept(trade().decision_id, "default", "fingerprint", {}, NOW, ())


async def test_an_intent_is_read_back_as_it_was(database: Database, make_event: MakeEvent) -> None:
    """The trade and all its planned orders are one unit with its events."""
    repository = TradeRepository(database)
    await accept(database)
    await repository.record_intent(trade(), [make_event(EventType.ORDER_PLACED)])
    assert await repository.get("0" * 20) == trade()
    assert await EventRepository(database).last_seq() == 1
    assert await repository.get("1" * 20) is None


async def test_a_known_trade_is_no_new_intent(database: Database, make_event: MakeEvent) -> None:
    """Nothing of the second one is kept, its event neither."""
    repository = TradeRepository(database)
    await accept(database)
    await repository.record_intent(trade(), ())
    with pytest.raises(StoreConflict):
        await repository.record_intent(trade(leverage=3), [make_event()])
    assert await repository.get("0" * 20) == trade()
    assert await EventRepository(database).last_seq() == 0


async def test_an_intent_without_its_decision_is_no_intent(database: Database, make_event: MakeEvent) -> None:
    """The database has just refused the decision: sent again, it would have two trades (the simulation's seed 8333)."""
    repository = TradeRepository(database)
    with pytest.raises(StoreConflict):
        await repository.record_intent(trade(), [make_event()])
    assert await repository.get("0" * 20) is None
    assert await EventRepository(database).last_seq() == 0


async def test_every_change_of_a_trade_is_recorded(database: Database) -> None:
    """Changed, new and vanished parts, each field of each."""
    repository = TradeRepository(database)
    await repository.record_progress(None, trade(), ())
    await repository.record_progress(trade(), lived(trade()), ())
    found = await repository.get("0" * 20)
    assert found == lived(trade())
    assert found is not None
    assert [str(part.quantity) for part in found.fills] == ["0.004", "0.004"]


async def test_trades_whose_funding_is_still_looked_for_are_found_again(database: Database) -> None:
    """H5: the account's own, once they are closed."""
    repository = TradeRepository(database)
    closed = replace(lived(trade()), status=TradeStatus.CLOSED, funding_looks=2)
    others = (
        replace(closed, status=TradeStatus.OPEN),
        replace(closed, funding_looks=0),
        replace(closed, account_id="second"),
    )
    await repository.record_progress(None, closed, ())
    for number, other in enumerate(others, start=1):
        parts = {"legs": (), "orders": (), "fills": (), "adjustments": ()}
        await repository.record_progress(None, replace(other, id=str(number) * 20, **parts), ())
    assert await repository.awaiting_funding(closed.account_id) == [closed]


async def test_a_trade_can_be_recorded_whole(database: Database) -> None:
    """One that was found on the exchange has no state before."""
    repository = TradeRepository(database)
    await repository.record_progress(None, lived(trade()), ())
    assert await repository.get("0" * 20) == lived(trade())


async def test_a_fill_is_completed_but_never_counted_twice(database: Database) -> None:
    """The stream's fill gains its fee from REST; a venue that starts anew may give its id to another trade's (W4)."""
    repository = TradeRepository(database)
    first = trade(fills=(fill(7, commission=Decimal(0)),))
    await repository.record_progress(None, first, ())
    await repository.record_progress(first, replace(first, fills=(fill(7),)), ())
    found = await repository.get(first.id)
    assert found is not None
    assert commissions_of(found.fills) == (Commission("USDT", Decimal("0.15361984")),)
    assert len(found.fills) == 1
    await repository.record_progress(None, trade("1" * 20, fills=(fill(7),)), ())
    other = await repository.get("1" * 20)
    assert other is not None
    assert other.fills == found.fills


class Recorder:
    """Takes units and keeps them."""

    def __init__(self) -> None:
        self.units: list[Unit] = []

    def enqueue(self, unit: Unit) -> None:
        self.units.append(unit)


def test_progress_writes_only_what_differs() -> None:
    """Between a fill and its protection nothing is written twice."""
    recorder = Recorder()
    repository = TradeRepository(recorder)  # type: ignore[arg-type]
    before = trade()
    after = replace(before.with_order(replace(before.entry, state=OrderState.SUBMITTING)), status=TradeStatus.ENTERING)
    repository.record_progress(before, after, ())
    repository.record_progress(after, replace(after, fills=(fill(7),)), ())
    repository.record_progress(after, after, ())
    written = [[set(write.parameters) for write in unit.writes] for unit in recorder.units]
    assert written[0] == [{"key_id", "status"}, {"key_client_order_id", "key_trade_id", "state"}]
    assert [len(writes) for writes in written] == [2, 1, 0]
    assert all(unit.must_land for unit in recorder.units)


@pytest.mark.parametrize(
    "after",
    [trade("1" * 20), trade(account_id="second"), replace(trade(), orders=trade().orders[:1])],
    ids=["another trade", "another account", "an order is gone"],
)
def test_a_trade_never_becomes_another_one_or_loses_an_order(after: Trade) -> None:
    """Such a difference is a bug of ours; it is refused before it is written."""
    with pytest.raises(InvariantBroken):
        TradeRepository(Recorder()).record_progress(trade(), after, ())  # type: ignore[arg-type]


async def test_progress_of_an_unrecorded_trade_is_a_conflict(database: Database, make_event: MakeEvent) -> None:
    """Its events are not kept, and health says that a record was lost."""
    repository = TradeRepository(database)
    with pytest.raises(StoreConflict):
        await repository.record_progress(trade(), lived(trade()), [make_event()])
    assert await EventRepository(database).last_seq() == 0
    assert not database.health.is_healthy


async def test_open_trades_are_those_of_the_account_that_have_not_ended(database: Database) -> None:
    """What recovery has to look after, whole and oldest first."""
    repository = TradeRepository(database)
    for number, status in enumerate(TradeStatus):
        await repository.record_progress(None, trade(f"{number:020}", status=status), ())
    await repository.record_progress(None, trade("z" * 20, account_id="second"), ())
    found = list((await repository.open_trades("default")).items)
    assert [item.status for item in found] == ["pending", "entering", "protecting", "open", "closing"]
    assert found[3] == trade("3".zfill(20), status=TradeStatus.OPEN)


async def test_pages_filter_and_follow(database: Database) -> None:
    """By status, by several, by asset; newest first; parts belong to their trade."""
    repository = TradeRepository(database)
    for number in range(6):
        asset = "ETHUSDT" if number % 2 else "BTCUSDT"
        status = TradeStatus.OPEN if number < 4 else TradeStatus.CLOSED
        await repository.record_progress(None, trade(f"{number:020}", asset, status=status), ())

    async def ids(**filters: Any) -> list[list[int]]:
        pages, cursor = [], None
        while True:
            page = await repository.page(pickle.dumps, **filters, limit=2, cursor=cursor)
            items = [pickle.loads(shown) for shown in page.items]
            pages.append([int(item.id) for item in items])
            assert all(order.key.trade_id == item.id for item in items for order in item.orders)
            assert all(len(item.orders) == 2 and len(item.legs) == 2 for item in items)
            if (cursor := page.next_cursor) is None:
                return pages

    assert await ids() == [[5, 4], [3, 2], [1, 0]]
    assert await ids(status=TradeStatus.OPEN) == [[3, 2], [1, 0]]
    assert await ids(status={TradeStatus.OPEN, TradeStatus.CLOSED}, asset="ETHUSDT") == [[5, 3], [1]]
    assert await ids(asset="SOLUSDT") == [[]]


async def test_orders_are_listed_by_when_they_were_recorded(database: Database) -> None:
    """A later attempt of an old trade is newer than a new trade's first."""
    repository = TradeRepository(database)
    old, new = trade("0" * 20), trade("1" * 20, "ETHUSDT")
    await repository.record_progress(None, old, ())
    await repository.record_progress(None, new, ())
    second = planned(old.id, OrderRole.STOP_LOSS, 2)
    await repository.record_progress(old, old.with_order(replace(second, state=OrderState.NEW)), ())

    async def orders(**filters: Any) -> tuple[list[Order], str | None]:
        page = await repository.orders_page(pickle.dumps, **filters)
        return [pickle.loads(shown) for shown in page.items], page.next_cursor

    first_page, cursor = await orders(limit=2)
    assert [order.client_order_id for order in first_page] == [
        second.client_order_id,
        new.orders[1].client_order_id,
    ]
    rest, _ = await orders(limit=10, cursor=cursor)
    assert rest == [new.orders[0], old.orders[1], old.orders[0]]
    assert [order.state for order in (await orders(status=OrderState.NEW))[0]] == [OrderState.NEW]
    assert len((await orders(asset="ETHUSDT"))[0]) == 2


async def test_last_activity_is_the_later_of_executed_entry_and_exit(database: Database) -> None:
    """The cooldown counts from it; an entry that was never executed does not count (contract, section 9)."""
    repository = TradeRepository(database)

    def at(seconds: int) -> datetime:
        return NOW + timedelta(seconds=seconds)

    facts: list[dict[str, Any]] = [
        {"asset": "BTCUSDT", "first_fill_at": at(1), "filled_at": at(2), "closed_at": at(9)},
        {"asset": "BTCUSDT", "first_fill_at": at(5), "filled_at": at(6)},
        {"asset": "ETHUSDT", "first_fill_at": at(1), "filled_at": at(20), "closed_at": at(9)},
        {"asset": "SOLUSDT", "closed_at": at(30)},
        {"asset": "XRPUSDT", "first_fill_at": at(40), "account_id": "second"},
    ]
    for number, fact in enumerate(facts):
        await repository.record_progress(None, trade(f"{number:020}", **fact), ())
    assert await repository.last_activity("default") == {"BTCUSDT": at(9), "ETHUSDT": at(20)}


async def test_events_can_be_recorded_alone(database: Database, make_event: MakeEvent) -> None:
    """Such as the loss of the stream."""
    event = make_event(EventType.STREAM_LOST)
    (recorded,) = await TradeRepository(database).record_events([event])
    assert (recorded.seq, recorded.event) == (1, event)


async def test_records_of_many_trades_land_in_the_order_they_were_given(database: Database) -> None:
    """Nobody awaits progress: the next state may follow at once."""
    repository = TradeRepository(database)
    intents = [trade(f"{number:020}") for number in range(50)]
    landings = []
    for intent in intents:
        repository.record_progress(None, intent, ())
        repository.record_progress(intent, entering := replace(intent, status=TradeStatus.ENTERING), ())
        landings.append(repository.record_progress(entering, replace(entering, status=TradeStatus.FAILED), ()))
    await asyncio.gather(*landings)
    assert len((await repository.latest(frozenset({TradeStatus.FAILED}), 100)).items) == 50
    assert database.health.is_healthy
