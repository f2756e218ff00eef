"""Durable commits: the store against a floor, in one run on one disk.

The floor is a bare apsw loop that writes the same row, one transaction each, with the same durability. Above it:

- ``one after another``: one writer that awaits each commit (what an entry pays before it is sent);
- ``fifty at once``: fifty writers, each awaiting its own commits (what group commit is for);
- ``enqueue``: the time that recording a whole bracket's intent takes from the event loop.

Run: ``python benchmarks/commit.py [--units N] [--json]``. Interleaved rounds, medians; ratios are what to learn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter

from sqlalchemy import bindparam, insert

from app.db.executors import ThreadExecutor
from app.db.port import Unit, Write
from app.db.sqlite import SqliteDatabase
from app.db.sqlite_files import open_connection
from app.db.statements import SQLITE, Statement
from app.domain.events import Event, EventType
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.orders import Order
from app.domain.reports import OrderRequest, OrderType, Side
from app.domain.trades import Leg, Trade, TradeSide
from app.models import flags
from app.repositories.trades import TradeRepository

ROUNDS = 5
WRITERS = 50
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADD = Statement(insert(flags).values({"key": bindparam("key"), "value": bindparam("value")}))


def unit(key: str) -> Unit:
    """One row."""
    return Unit((Write(ADD, {"key": key, "value": "v"}),))


def floor(path: Path, prefix: str, units: int) -> float:
    """Commits per second of a bare loop."""
    connection = open_connection(path, busy_timeout_ms=1000)
    compiled = ADD.compiled(SQLITE)
    execute = connection.cursor().execute
    started = perf_counter()
    for number in range(units):
        execute("BEGIN IMMEDIATE")
        execute(compiled.text, (f"{prefix}{number}", "v"))
        execute("COMMIT")
    elapsed = perf_counter() - started
    connection.close()
    return units / elapsed


async def one_after_another(database: SqliteDatabase, prefix: str, units: int) -> float:
    """Commits per second of one writer that waits for each."""
    started = perf_counter()
    for number in range(units):
        await database.commit(unit(f"{prefix}{number}"))
    return units / (perf_counter() - started)


async def fifty_at_once(database: SqliteDatabase, prefix: str, units: int) -> float:
    """Commits per second of fifty writers that wait for each of theirs."""

    async def write(writer: int) -> None:
        for number in range(units // WRITERS):
            await database.commit(unit(f"{prefix}{writer}.{number}"))

    started = perf_counter()
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    return units / (perf_counter() - started)


def bracket(number: int) -> tuple[Trade, list[Event]]:
    """A trade with entry, take profit and stop loss, and its events."""
    trade_id = f"{number:020}"
    orders, legs = [], []
    for role, kind in (
        (OrderRole.ENTRY, OrderType.MARKET),
        (OrderRole.TAKE_PROFIT, OrderType.TAKE_PROFIT_MARKET),
        (OrderRole.STOP_LOSS, OrderType.STOP_MARKET),
    ):
        key = ClientOrderId(trade_id, role, 1)
        price = Decimal("96000.1")
        if role.is_exit:
            legs.append(Leg(role=role, order_type=kind, trigger_price=price))
        request = OrderRequest(
            symbol="BTCUSDT",
            side=Side.BUY,
            type=kind,
            client_order_id=str(key),
            quantity=Decimal("0.010"),
            stop_price=price if role.is_exit else None,
        )
        orders.append(Order(key=key, request=request))
    trade = Trade(
        id=trade_id,
        account_id="default",
        decision_id="d",
        asset="BTCUSDT",
        side=TradeSide.LONG,
        quantity=Decimal("0.010"),
        leverage=10,
        requested_leverage=10,
        reference_price=Decimal("96000.1"),
        received_at=NOW,
        created_at=NOW,
        legs=tuple(legs),
        orders=tuple(orders),
    )
    event = Event(id=trade_id, type=EventType.ORDER_PLACED, time=NOW, account_id="default", is_paper=True)
    return trade, [event]


async def enqueue_cost(database: SqliteDatabase, start: int, units: int) -> float:
    """Microseconds of the event loop for one bracket's intent."""
    repository = TradeRepository(database)
    intents = [bracket(start + number) for number in range(units)]
    costs = []
    for trade, events in intents:
        started = perf_counter()
        landing = repository.record_intent(trade, events)
        costs.append(perf_counter() - started)
        await landing
    return statistics.median(costs) * 1e6


async def measure(units: int) -> dict[str, float]:
    """Medians of interleaved rounds."""
    found: dict[str, list[float]] = {"floor": [], "one after another": [], "fifty at once": [], "enqueue": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "commit.db"
        database = SqliteDatabase(f"sqlite:///{path}", ThreadExecutor())
        await database.start()
        measures: dict[str, Callable[[SqliteDatabase, str, int], Awaitable[float]]] = {
            "one after another": one_after_another,
            "fifty at once": fifty_at_once,
        }
        for number in range(ROUNDS):
            found["floor"].append(await asyncio.to_thread(floor, path, f"floor-{number}-", units))
            for name, run in measures.items():
                found[name].append(await run(database, f"{name}-{number}-", units))
            found["enqueue"].append(await enqueue_cost(database, number * units, min(units, 500)))
        await database.close()
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="durable commits per second, against a bare apsw loop")
    parser.add_argument("--units", type=int, default=2000, help="commits per round (default 2000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.units))
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{'':20}{'commits/s':>12}{'ratio to floor':>16}")
    for name in ("floor", "one after another", "fifty at once"):
        print(f"{name:20}{found[name]:>12,.0f}{found[name] / found['floor']:>16.2f}")
    print(f"enqueue of a bracket's intent: {found['enqueue']:.0f} us of the event loop")


if __name__ == "__main__":
    main()
