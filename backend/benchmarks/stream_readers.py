"""What stream readers cost a decision: ``python benchmarks/stream_readers.py [--readers N] [--decisions N]``.

The service runs here, venue and readers in processes of their own. Rounds with readers and rounds without alternate in
one run; a tenth of the readers stops reading at once. Measured is the time from ``execute`` to the moment at which the
entry is handed to the network; the ratio of the medians is what to learn.
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
from collections.abc import Mapping
from time import process_time, time_ns
from typing import Any

import structlog
import uvloop
from bracket import Wire, control, pin, venue_process

from app.api.server import make_server
from app.bootstrap import Application, running
from app.core.collector import spare_what_stays
from app.core.configuration import load_settings
from app.schemas.decision import parse_decision

TOKEN = "benchmark"
STALLED_PART = 10
SHORTEST_PAUSE_S, PAUSE_SPREAD_S, GOLDEN = 0.04, 0.06, 0.618034
"""Between a decision and its close, and again before the next: about seven decisions a second, at no fixed beat."""


async def read(port: int, readers: int) -> None:
    """The readers' process: connect, tell it, and read until standard input ends."""
    pin(0)  # beside the venue: real readers are on other machines, and take no time of the service's core
    os.nice(10)
    head = (
        "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    got = [0]
    connections = []
    for number in range(readers):
        made = socket.socket()
        if number % STALLED_PART == 0:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(0)
        await loop.sock_connect(made, ("127.0.0.1", port))
        await loop.sock_sendall(made, head)
        connections.append(made)
        await loop.sock_recv(made, 4096)
        if number % STALLED_PART:
            loop.add_reader(made, _take, made, got)
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(got[0], flush=True)


def _take(made: socket.socket, got: list[int]) -> None:
    got[0] += len(made.recv(1 << 20))


async def measure(application: Application, wire: Wire, number: int) -> float:
    """One decision's microseconds from ``execute`` to sent; the position is closed again."""
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
    sent = wire.sent[one.orders.entry.client_order_id]
    for work in (service.close_all, None):
        await application.clock.sleep(SHORTEST_PAUSE_S + PAUSE_SPREAD_S * (number * GOLDEN % 1))
        if work is not None:
            await work()
    return float(sent - started)


async def rounds(application: Application, wire: Wire, port: int, options: argparse.Namespace) -> None:
    """Alternate rounds with and without readers, and show both."""
    times: dict[bool, list[float]] = {False: [], True: []}
    cpu: dict[bool, float] = {False: 0.0, True: 0.0}
    number = bytes_read = 0
    for turn in range(2 * options.rounds):
        is_crowded = turn % 2 == 1
        readers = _readers(port, options.readers) if is_crowded else None
        if readers is not None:
            await asyncio.to_thread(readers.stdout.readline)  # type: ignore[union-attr]
        await measure(application, wire, number := number + 1)
        begin = process_time()
        for _ in range(options.decisions // options.rounds):
            times[is_crowded].append(await measure(application, wire, number := number + 1))
        cpu[is_crowded] += process_time() - begin
        if readers is not None:
            said, _ = await asyncio.to_thread(readers.communicate, "")
            bytes_read += int(said)
    alone, crowded = (statistics.median(times[is_crowded]) for is_crowded in (False, True))
    print(
        f"{options.readers} readers, {options.readers // STALLED_PART} of them stalled, {bytes_read / 1e6:.1f} MB read"
    )
    for name, is_crowded in (("without readers", False), ("with readers", True)):
        ordered = sorted(times[is_crowded])
        median, p90 = statistics.median(ordered), ordered[int(len(ordered) * 0.9)]
        each_ms = cpu[is_crowded] / len(ordered) * 1000
        print(f"{name:<16} sent after {median:6.0f} us, p90 {p90:6.0f} us, {each_ms:.1f} ms CPU, {len(ordered)} times")
    print(f"ratio of the medians {crowded / alone:.3f}")


def _readers(port: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, __file__, "--read", str(port), "--readers", str(count)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def environment(venue: Mapping[str, Any], folder: str) -> dict[str, str]:
    """Settings that lead to the venue."""
    keys = venue["accounts"][1]
    return {
        "TES_VENUE": "testnet",
        "TES_DATABASE_URL": f"sqlite:///{folder}/bench.db",
        "TES_API_TOKEN": TOKEN,
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_ASTER_REST_URL": f"http://127.0.0.1:{venue['port']}",
        "TES_ASTER_WS_URL": f"ws://127.0.0.1:{venue['port']}",
        "TES_ASTER_CHAIN_ID": str(venue["chain_id"]),
        "TES_ASTER_USER": keys["user"],
        "TES_ASTER_SIGNER": keys["signer"],
        "TES_ASTER_PRIVATE_KEY": keys["private_key"],
    }


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
        async with running(load_settings(environment(venue, folder))) as application:
            while not all(state.is_ready for state in application.readiness().values()):
                await application.clock.sleep(0.05)
            server = make_server(application)
            serving = asyncio.create_task(server.serve(sockets=[door]))
            spare_what_stays()
            await rounds(application, wire, door.getsockname()[1], options)
            server.should_exit = True
            await serving


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--decisions", type=int, default=200, help="of each kind")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    uvloop.run(read(chosen.read, chosen.readers) if chosen.read else run(chosen))
