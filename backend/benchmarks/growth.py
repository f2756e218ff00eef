"""What a record costs as it grows: ``python benchmarks/growth.py [--events 10000,100000,1000000] [--database KIND]``.

The service carries out a few protected entries and closes on the venue. What one of them leaves in the database is
counted; then copies of their rows, with ids and numbers of their own, make the record as large as asked for. At each
size the service starts on it, pages of the lists are read, and the event log is replayed, as a reader's process does
it: from the beginning, and for a type that is rare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg
import structlog
import uvloop
from bracket import control, venue_process
from sqlalchemy import Table

from app.api.shown import decisions_shown, event_frame, trade_shown
from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.core.database_url import SqliteLocation, parse_database_url
from app.db.event_log import events
from app.db.metadata import metadata
from app.db.sqlite_files import open_connection
from app.domain.events import EventType
from app.models.decisions import decisions
from app.models.trades import adjustments, fills, legs, orders, trades
from app.schemas.decision import parse_decision

DECISIONS = 20
PAGES = 20
"""So many pages of each kind are read; the benchmark prints the median of their times."""
REPLAYED = 100
"""Events in a page of a replay."""
_TABLES = (decisions, trades, legs, adjustments, orders, fills, events)
_IDS = ("id", "decision_id", "trade_id")
_PAD = "substr('0000000' || n.i, length('0000000' || n.i) - 6)"
"""A copy's number in seven digits, which take the place of an id's first seven characters: what is left tells apart."""


class Record:
    """The tables of a database, without the service."""

    def __init__(self, url: str) -> None:
        self._location = parse_database_url(url)
        self._first: dict[str, int] = {}
        self._copies = 0

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last."""
        if isinstance(self._location, SqliteLocation):
            assert self._location.path is not None
            connection = open_connection(self._location.path, busy_timeout_ms=5000)
            try:
                rows: list[tuple[Any, ...]] = []
                for statement in statements:
                    rows = connection.execute(statement).fetchall()
                return rows
            finally:
                connection.close()
        with psycopg.connect(self._location.url, autocommit=True) as server:
            for statement in statements:
                cursor = server.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def bytes(self) -> int:
        """What the database takes, log of the database not included."""
        if isinstance(self._location, SqliteLocation):
            ((pages,),), ((size,),) = self.run("PRAGMA page_count"), self.run("PRAGMA page_size")
            return int(pages) * int(size)
        return int(self.run("SELECT pg_database_size(current_database())")[0][0])

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.run(f"SELECT count(*) FROM {table}")[0][0] for table in metadata.tables)

    @property
    def events(self) -> int:
        """``seq`` of the last event."""
        return int(self.run("SELECT max(seq) FROM events")[0][0])

    def grow(self, wanted: int) -> None:
        """Copy the rows of the first call until there are about ``wanted`` events; all of it must have ended."""
        if not self._first:
            self._first = {
                table.name: int(self.run(f"SELECT max({_order(table)}) FROM {table.name}")[0][0] or 0)
                for table in _TABLES
            }
        span, there = self._first[events.name], self.events
        copies = (wanted - there) // span
        if copies < 1:
            return
        begin, self._copies = self._copies + 1, self._copies + copies
        numbers = f"WITH RECURSIVE n(i) AS (SELECT {begin} UNION ALL SELECT i + 1 FROM n WHERE i < {self._copies})"
        statements = []
        for table in _TABLES:
            columns = [column.name for column in table.columns if column.name != "number"]
            values = ", ".join(_copied(name, f"{there} + (n.i - {begin}) * {span} + t.seq") for name in columns)
            order = _order(table)
            rows = f"{table.name} AS t, n WHERE t.{order} <= {self._first[table.name]} ORDER BY n.i, t.{order}"
            statements.append(f"INSERT INTO {table.name} ({', '.join(columns)}) {numbers} SELECT {values} FROM {rows}")
        head = "UPDATE counters SET value = (SELECT max(seq) FROM events) WHERE name = 'events'"
        end = "PRAGMA wal_checkpoint(TRUNCATE)" if isinstance(self._location, SqliteLocation) else "ANALYZE"
        self.run(*statements, head, end)


def _order(table: Table) -> str:
    return "number" if "number" in table.columns else "seq"


def _copied(column: str, seq: str) -> str:
    """A column's value in copy ``n.i``."""
    if column in _IDS:
        return f"CASE WHEN t.{column} IS NULL THEN NULL ELSE {_PAD} || substr(t.{column}, 8) END"
    if column == "client_order_id":
        return f"'tes.' || {_PAD} || substr(t.client_order_id, 12)"
    return seq if column == "seq" else f"t.{column}"


def environment(venue: Mapping[str, Any], url: str) -> dict[str, str]:
    """Settings that lead to the venue."""
    keys = venue["accounts"][1]
    return {
        "TES_VENUE": "testnet",
        "TES_DATABASE_URL": url,
        "TES_API_TOKEN": "benchmark",
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_ASTER_REST_URL": f"http://127.0.0.1:{venue['port']}",
        "TES_ASTER_WS_URL": f"ws://127.0.0.1:{venue['port']}",
        "TES_ASTER_CHAIN_ID": str(venue["chain_id"]),
        "TES_ASTER_USER": keys["user"],
        "TES_ASTER_SIGNER": keys["signer"],
        "TES_ASTER_PRIVATE_KEY": keys["private_key"],
    }


async def until_ready(application: Application) -> None:
    """Wait until decisions are taken."""
    while not all(state.is_ready for state in application.readiness().values()):
        await application.clock.sleep(0.005)


async def carry_out(settings: Mapping[str, str], record: Record, count: int) -> None:
    """So many protected entries, each closed again by a decision."""
    entry = {"asset": "BTCUSDT", "action": "buy", "allocation_usd": 1000, "leverage": 10}
    entry |= {"tp_price": 99000, "sl_price": 94000}
    async with running(load_settings(settings)) as application:
        await until_ready(application)
        service = application.service("default")
        for _ in range(count):
            for one in (entry, {"asset": "BTCUSDT", "action": "close_position"}):
                result = await service.execute(parse_decision(json.dumps({"decisions": [one]})))
                if not result.success:
                    raise SystemExit(f"a decision was not carried out, so a figure would mean nothing: {result}")
        while record.run("SELECT count(*) FROM trades WHERE status <> 'closed'")[0][0]:
            await application.clock.sleep(0.05)


async def timed(times: int, act: Callable[[], Awaitable[object]]) -> float:
    """The median of what it takes, in milliseconds."""
    taken = []
    for _ in range(times):
        started = perf_counter()
        await act()
        taken.append((perf_counter() - started) * 1000)
    return statistics.median(taken)


async def look(settings: Mapping[str, str], count: int) -> str:
    """Start on the record and read it; one line of the table."""
    started = perf_counter()
    async with running(load_settings(settings)) as application:
        await until_ready(application)
        start_ms = (perf_counter() - started) * 1000
        log = application.events
        show = decisions_shown(is_paper=False)
        await application.trades.page(trade_shown, limit=1)  # the readers' process is started
        trades_ms = await timed(PAGES, lambda: application.trades.page(trade_shown, limit=50))
        decisions_ms = await timed(PAGES, lambda: application.decisions.page(show, limit=50))
        rare = frozenset({EventType.HALTED})
        rare_ms = await timed(PAGES, lambda: log.shown_after(0, REPLAYED, rare, event_frame))
        seq, pages = 0, min(200, max(1, count // REPLAYED))
        started = perf_counter()
        for _ in range(pages):
            seq = (await log.shown_after(seq, REPLAYED, None, event_frame)).last_seq
        per_second = seq / (perf_counter() - started)
    return f"{count:>10,} {start_ms:9.0f} {trades_ms:11.1f} {decisions_ms:14.1f} {rare_ms:11.1f} {per_second:13,.0f}"


@contextmanager
def database(kind: str, folder: str) -> Iterator[str]:
    """A new database's URL."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/growth.db"
        return
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from support.postgres import running_postgres

    with running_postgres(is_durable=True) as server:
        yield server.new_database()


async def measure(kind: str, sizes: list[int]) -> None:
    """One kind of database, all sizes."""
    with venue_process() as venue, tempfile.TemporaryDirectory() as folder, database(kind, folder) as url:
        control(venue, "/prices", {"BTCUSDT": 96_000})
        settings = environment(venue, url)
        record = Record(url)
        async with running(load_settings(settings)) as application:
            await until_ready(application)
        before = record.bytes, record.rows, record.events
        await carry_out(settings, record, DECISIONS)
        after = record.bytes, record.rows, record.events
        rows, told = ((now - then) / DECISIONS / 2 for now, then in zip(after[1:], before[1:], strict=True))
        print(f"{kind}: a decision (half are entries with two exits) leaves {rows:.1f} rows, {told:.1f} of them events")
        print("    events  start ms   50 trades   50 decisions   rare type  replayed / s   (medians, ms)")
        for size in sizes:
            record.grow(size)
            print(await look(settings, record.events), flush=True)
        each = record.bytes / record.events
        print(f"bytes: {each * told:,.0f} for a decision, {each:,.0f} for an event and what belongs to it")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", default="10000,100000", help="sizes of the log, rising (the goal: up to 1000000)")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    chosen = parser.parse_args()
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    for kind in ("sqlite", "postgresql") if chosen.database == "both" else (chosen.database,):
        uvloop.run(measure(kind, [int(size) for size in chosen.events.split(",")]))


if __name__ == "__main__":
    main()
