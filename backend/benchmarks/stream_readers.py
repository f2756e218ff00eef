"""What readers cost a decision: ``python benchmarks/stream_readers.py [--readers N] [--greedy N] [--events N]``.

The service runs here on a record of so many events, venue and readers in processes of their own. Rounds with readers
and rounds without alternate in one run. Of the streams a tenth stops reading at once; of the others a third is live, a
third replays the log from its beginning, and a third replays a type that is rare. The greedy ask for the longest pages
of trades, decisions, orders and events, again and again. The process that reads for them shares the service's core.

Measured are the time from ``execute`` to the moment at which the entry is handed to the network, and from its fill to
both exits acknowledged. The ratios, with readers and without, are what to learn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import process_time, time_ns

import structlog
import uvloop
from bracket import Wire, control, pin, venue_process
from growth import Record, carry_out, environment, until_ready

from app.api.server import make_server
from app.bootstrap import Application, running
from app.core.collector import spare_what_stays
from app.core.configuration import load_settings
from app.schemas.decision import parse_decision

TOKEN = "benchmark"
STALLED_PART = 10
STREAMS = ("", "?after=0", "?after=0&types=Halted")
LISTS = ("trades?limit=500", "decisions?limit=500", "orders?limit=500", "events?limit=500")
GROWN_FROM = 5
"""Entries and closes whose rows the record is made of."""
SHORTEST_PAUSE_S, PAUSE_SPREAD_S, GOLDEN = 0.04, 0.06, 0.618034
"""Between a decision and its close, and again before the next: about seven decisions a second, at no fixed beat."""


async def read(port: int, readers: int, greedy: int) -> None:
    """The readers' process: connect, tell it, and read until standard input ends."""
    pin(0)  # beside the venue: real readers are on other machines, and take no time of the service's core
    os.nice(10)
    loop = asyncio.get_running_loop()
    got = [0]
    connections = []
    for number, query in enumerate(islice(cycle(STREAMS), readers)):
        is_stalled = number % STALLED_PART == 0
        made = socket.socket()
        if is_stalled:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(0)
        await loop.sock_connect(made, ("127.0.0.1", port))
        head = (
            f"GET /v1/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {TOKEN}\r\n\r\n"
        )
        await loop.sock_sendall(made, head.encode())
        connections.append(made)
        await loop.sock_recv(made, 4096)
        if not is_stalled:
            loop.add_reader(made, _take, made, got)
    pages = [0]
    asking = [asyncio.create_task(_ask(port, path, pages)) for path in islice(cycle(LISTS), greedy)]
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for task in asking:
        task.cancel()
    print(got[0], pages[0], flush=True)


def _take(made: socket.socket, got: list[int]) -> None:
    got[0] += len(made.recv(1 << 20))


async def _ask(port: int, path: str, pages: list[int]) -> None:
    """One greedy reader: the next request goes as soon as the last is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    while True:
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in answer.splitlines()[0]:
            raise SystemExit(f"{path}: {answer.splitlines()[0]}")
        await reader.readexactly(int(answer.partition("content-length: ")[2].split("\r\n")[0]))
        pages[0] += 1


@dataclass
class Times:
    """Microseconds of one kind of rounds, and the processor's time in all."""

    sent: list[float] = field(default_factory=list)
    protected: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


async def measure(application: Application, wire: Wire, number: int) -> tuple[float, float]:
    """One decision's microseconds from ``execute`` to sent, and from fill to protected; then the position is closed."""
    service = application.service("default")
    decision = {
        "decision_id": f"bench-{number}",
        "decisions": [
            {
                "asset": "BTCUSDT",
                "action": "buy",
                "allocation_usd": 1000,
                "leverage": 10,
                "tp_price": 99000,
                "sl_price": 94000,
            }
        ],
    }
    parsed = parse_decision(json.dumps(decision).encode())
    started = time_ns() // 1000
    result = await service.execute(parsed)
    (one,) = result.results
    if one.orders.entry is None or one.status.value != "protected":
        raise SystemExit(f"the decision ended {one.status.value}: {one.error}")
    entry = f"tes.{one.trade_id}.e1"
    exits = [f"tes.{one.trade_id}.{role}1" for role in "st"]
    sent = wire.sent[entry]
    protected = max(wire.answered[name] for name in exits)
    for work in (service.close_all, None):
        await application.clock.sleep(SHORTEST_PAUSE_S + PAUSE_SPREAD_S * (number * GOLDEN % 1))
        if work is not None:
            await work()
    return float(sent - started), float(protected - wire.answered[entry])


async def rounds(application: Application, wire: Wire, port: int, options: argparse.Namespace) -> None:
    """Alternate rounds with and without readers, and show both."""
    times = {False: Times(), True: Times()}
    number = bytes_read = pages = 0
    for turn in range(2 * options.rounds):
        of = times[is_crowded := turn % 2 == 1]
        readers = _readers(port, options) if is_crowded else None
        if readers is not None:
            await asyncio.to_thread(readers.stdout.readline)  # type: ignore[union-attr]
        await measure(application, wire, number := number + 1)
        begin = process_time()
        for _ in range(options.decisions // options.rounds):
            sent, protected = await measure(application, wire, number := number + 1)
            of.sent.append(sent)
            of.protected.append(protected)
        of.cpu_s += process_time() - begin
        if readers is not None:
            said, _ = await asyncio.to_thread(readers.communicate, "")
            bytes_read, pages = (have + int(new) for have, new in zip((bytes_read, pages), said.split(), strict=True))
    show(times[False], times[True])
    print(
        f"{options.readers} streams took {bytes_read / 1e6:,.0f} MB, {options.greedy} greedy readers {pages} pages; "
        f"the service's own process {times[False].cpu_s / len(times[False].sent) * 1000:.1f} ms of a processor for a "
        f"decision without them, {times[True].cpu_s / len(times[True].sent) * 1000:.1f} with"
    )


def show(alone: Times, crowded: Times) -> None:
    """The table: each figure without readers, with them, and the ratio."""
    print(f"{'microseconds':<28} {'without':>9} {'with':>9} {'ratio':>7}   {len(alone.sent)} decisions of each kind")
    for name, one, other in (
        ("decision to sent", alone.sent, crowded.sent),
        ("fill to protected", alone.protected, crowded.protected),
    ):
        for part, of in (("median", statistics.median), ("p90", _percentile(90)), ("p99", _percentile(99))):
            without, with_ = of(one), of(other)
            print(f"{name + ', ' + part:<28} {without:9,.0f} {with_:9,.0f} {with_ / without:7.3f}")


def _percentile(percent: int) -> Callable[[list[float]], float]:
    return lambda values: sorted(values)[len(values) * percent // 100]


def _readers(port: int, options: argparse.Namespace) -> subprocess.Popen[str]:
    arguments = ["--read", str(port), "--readers", str(options.readers), "--greedy", str(options.greedy)]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def run(options: argparse.Namespace) -> None:
    """Start everything, measure, stop."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    wire = Wire()
    wire.install()
    pin(1)
    with (
        venue_process() as venue,
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        control(venue, "/prices", {"BTCUSDT": 96_000})
        door.settimeout(0)
        url = f"sqlite:///{folder}/bench.db"
        settings, record = environment(venue, url), Record(url)
        await carry_out(settings, record, GROWN_FROM)
        record.grow(options.events)
        async with running(load_settings(settings)) as application:
            await until_ready(application)
            server = make_server(application)
            serving = asyncio.create_task(server.serve(sockets=[door]))
            spare_what_stays()
            print(f"a record of {record.events:,} events, {record.rows:,} rows, {record.bytes / 1e6:,.0f} MB")
            await rounds(application, wire, door.getsockname()[1], options)
            server.should_exit = True
            await serving


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=200, help="streams")
    parser.add_argument("--greedy", type=int, default=8, help="readers of lists")
    parser.add_argument("--events", type=int, default=20_000, help="in the log before (the goal: 1000000)")
    parser.add_argument("--decisions", type=int, default=200, help="of each kind")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    uvloop.run(read(chosen.read, chosen.readers, chosen.greedy) if chosen.read else run(chosen))
