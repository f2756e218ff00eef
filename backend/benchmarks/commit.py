"""Durable commits on SQLite and on PostgreSQL: the store against a floor each, in one run on one disk.

A floor is a bare loop of the database's own driver that writes the same row, one transaction each, with the same
durability. Above it, for each database:

- ``one after another``: one writer that awaits each commit (what an entry pays before it is sent);
- ``the same, guarded``: with a lease that each commit checks, as the service runs;
- ``fifty at once``: fifty writers, each awaiting its own commits (what group commit is for);
- ``intent``: from handing over a whole bracket's intent until it is durable, and of that the time of the event loop.

Run: ``python benchmarks/commit.py [--units N] [--json]``. Interleaved rounds, medians; ratios are what to learn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter

import psycopg
from sqlalchemy import bindparam, insert

from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.db.port import Database, Unit, Write
from app.db.sqlite_files import open_connection
from app.db.statements import SQLITE, Statement
from app.domain.events import Event, EventType
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.orders import Order
from app.domain.reports import OrderRequest, OrderType, Side
from app.domain.trades import Leg, Trade, TradeSide
from app.models import flags
from app.repositories.leases import LeaseRepository, Owner
from app.repositories.trades import TradeRepository

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.postgres import running_postgres

ROUNDS = 5
WRITERS = 50
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADD = Statement(insert(flags).values({"key": bindparam("key"), "value": bindparam("value")}))


def unit(key: str) -> Unit:
    """One row."""
    return Unit((Write(ADD, {"key": key, "value": "v"}),))


def sqlite_floor(path: Path, prefix: str, units: int) -> float:
    """Commits per second of a bare apsw loop."""
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


def postgres_floor(url: str, prefix: str, units: int) -> float:
    """Commits per second of a bare psycopg loop: one statement, one commit, one round trip."""
    with psycopg.connect(url, autocommit=True) as connection:
        execute = connection.cursor().execute
        started = perf_counter()
        for number in range(units):
            execute("INSERT INTO flags (key, value) VALUES (%s, %s)", (f"{prefix}{number}", "v"), prepare=True)
        return units / (perf_counter() - started)


async def one_after_another(database: Database, prefix: str, units: int) -> float:
    """Commits per second of one writer that waits for each."""
    started = perf_counter()
    for number in range(units):
        await database.commit(unit(f"{prefix}{number}"))
    return units / (perf_counter() - started)


async def fifty_at_once(database: Database, prefix: str, units: int) -> float:
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


async def intents(database: Database, start: int, units: int) -> tuple[float, float]:
    """Microseconds until one bracket's intent is durable, and of the event loop."""
    repository = TradeRepository(database)
    durable, loop = [], []
    for trade, events in [bracket(start + number) for number in range(units)]:
        started = perf_counter()
        landing = repository.record_intent(trade, events)
        loop.append(perf_counter() - started)
        await landing
        durable.append(perf_counter() - started)
    return statistics.median(durable) * 1e6, statistics.median(loop) * 1e6


class Contender:
    """A database with its floor and what was found."""

    def __init__(self, url: str, run_floor: Callable[[str, int], float]) -> None:
        self.run_floor = run_floor
        self.plain = make_database(url, ThreadExecutor())
        self.guarded = make_database(url, ThreadExecutor())
        self.found: dict[str, list[float]] = {}

    async def start(self) -> None:
        """Open; the guarded one takes a lease."""
        await self.plain.start()
        await self.guarded.start()
        leases = LeaseRepository(self.guarded, ["default"])
        leases.guard(await leases.take(Owner("benchmark", "here", 0), {}, ()), print)

    async def close(self) -> None:
        """Close both."""
        await self.plain.close()
        await self.guarded.close()

    async def round(self, number: int, units: int) -> None:
        """Measure everything once."""
        self._note("floor", await asyncio.to_thread(self.run_floor, f"floor-{number}-", units))
        self._note("one after another", await one_after_another(self.plain, f"one-{number}-", units))
        self._note("the same, guarded", await one_after_another(self.guarded, f"guarded-{number}-", units))
        self._note("fifty at once", await fifty_at_once(self.plain, f"fifty-{number}-", units))
        durable, loop = await intents(self.plain, number * units, min(units, 500))
        self._note("intent us", durable)
        self._note("intent loop us", loop)

    def _note(self, name: str, value: float) -> None:
        self.found.setdefault(name, []).append(value)

    def medians(self) -> dict[str, float]:
        """What was found."""
        return {name: statistics.median(values) for name, values in self.found.items()}


async def measure(units: int) -> dict[str, dict[str, float]]:
    """Medians of interleaved rounds, by database."""
    with tempfile.TemporaryDirectory() as folder, running_postgres(is_durable=True) as server:
        path = Path(folder) / "commit.db"
        url = server.new_database()
        contenders = {
            "sqlite": Contender(f"sqlite:///{path}", lambda prefix, count: sqlite_floor(path, prefix, count)),
            "postgresql": Contender(url, lambda prefix, count: postgres_floor(url, prefix, count)),
        }
        for contender in contenders.values():
            await contender.start()
        for number in range(ROUNDS):
            for contender in contenders.values():
                await contender.round(number, units)
        for contender in contenders.values():
            await contender.close()
        return {name: contender.medians() for name, contender in contenders.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="durable commits per second, against bare loops")
    parser.add_argument("--units", type=int, default=2000, help="commits per round (default 2000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.units))
    if arguments.json:
        print(json.dumps(found))
        return
    ours, theirs = found["sqlite"], found["postgresql"]
    print(f"{'commits/s':20}{'sqlite':>10}{'to floor':>10}{'postgresql':>12}{'to floor':>10}{'to sqlite':>11}")
    for name in ("floor", "one after another", "the same, guarded", "fifty at once"):
        print(
            f"{name:20}{ours[name]:>10,.0f}{ours[name] / ours['floor']:>10.2f}"
            f"{theirs[name]:>12,.0f}{theirs[name] / theirs['floor']:>10.2f}{theirs[name] / ours[name]:>11.2f}"
        )
    for name, text in (("intent us", "intent durable, us"), ("intent loop us", "of the event loop")):
        print(f"{text:20}{ours[name]:>10,.0f}{'':10}{theirs[name]:>12,.0f}{'':10}{theirs[name] / ours[name]:>11.2f}")


if __name__ == "__main__":
    main()
