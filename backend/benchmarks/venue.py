"""How many signed orders the simulated venue answers on one core: ``python benchmarks/venue.py [SECONDS]``.

The venue is ``tes sim`` in a process of its own, pinned to one core, with its default book and its rate limits out of
the way; the client (hand-rolled HTTP on asyncio, so that it is never the slower side) runs on another. Each order is
signed, sent, matched and answered. The floor is the same server answering a constant to the same
requests: what is above it is the venue's own work. Rounds are interleaved, and medians are told. The best
tenth of a second is told too, which is what an otherwise idle machine would do, and the processor time of an order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time_ns

import uvloop
from aiohttp import web

from app.integrations.aster.signing import V3Signer

CONNECTIONS = 16
ROUNDS = 3
WINDOW_S = 0.1
TARGET_PER_S = 2_000
KEY = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"  # published in the exchange's docs
SIGNER = "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
CHAIN_ID = 714
BALANCE = "1000000000"  # commission must not use it up, however fast the machine
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
CONSTANT = (
    b'{"orderId":10000000001,"symbol":"BTCUSDT","status":"FILLED","clientOrderId":"b.1","price":"0",'
    b'"avgPrice":"96003.20000","origQty":"0.010","executedQty":"0.010","cumQty":"0.010","cumQuote":"960.0320",'
    b'"timeInForce":"GTC","type":"MARKET","reduceOnly":false,"closePosition":false,"side":"BUY",'
    b'"positionSide":"BOTH","stopPrice":"0","workingType":"CONTRACT_PRICE","priceProtect":false,'
    b'"origType":"MARKET","updateTime":1795371723456}'
)


def pin(process: int, core: int) -> None:
    """Keep a process (0 is this one) on one core, where the system can."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(process, {CORES[core]})


async def serve_constant() -> None:
    """The floor's process: print the port, then answer a constant until killed."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=CONSTANT, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"rest_url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Server:
    """A server process."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """The processor time that it has used; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(*command: str) -> Iterator[Server]:
    """Start a server and read from its first line where it listens."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pin(process.pid, 0)
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["rest_url"]
            yield Server(int(address.rpartition(":")[2]), process.pid)
        finally:
            process.kill()


@contextlib.contextmanager
def running_venue() -> Iterator[Server]:
    """``tes sim`` as anybody starts it, with its rate limits out of the way."""
    with tempfile.TemporaryDirectory() as folder:
        accounts = Path(folder) / "accounts.json"
        accounts.write_text(json.dumps([{"name": "bench", "private_key": KEY, "balance": BALANCE}]), encoding="utf-8")
        options = ("--port", "0", "--seed", "1", "--rate-limits", "1000000", "--accounts", str(accounts), "--json")
        tes = "from app.cli.main import main; main()"
        with running(sys.executable, "-c", tes, "sim", *options) as server:
            yield server


class Requests:
    """Signed order requests, each with a nonce and a client order id of its own."""

    def __init__(self) -> None:
        self._signer = V3Signer(KEY, CHAIN_ID)
        self._nonce = 0
        self._numbers = itertools.count(1)

    def _signed(self, method: str, text: str) -> bytes:
        self._nonce = max(self._nonce + 1, time_ns() // 1000)
        message = f"{text}&nonce={self._nonce}&signer={SIGNER}"
        body = f"{message}&signature={self._signer.sign(message)}"
        return (
            f"{method} /fapi/v3/order HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def market(self) -> bytes:
        """A market order; buys and sells alternate, so that the position stays small."""
        number = next(self._numbers)
        side = "BUY" if number % 2 else "SELL"
        text = (
            f"symbol=BTCUSDT&side={side}&type=MARKET&quantity=0.010&newOrderRespType=RESULT&newClientOrderId=m{number}"
        )
        return self._signed("POST", text)

    def limit_then_cancel(self) -> bytes:
        """A resting limit order, or the cancel of the one before last."""
        number = next(self._numbers)
        if number % 2:
            text = (
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.010&price=95000.0"
                f"&newClientOrderId=l{number}"
            )
            return self._signed("POST", text)
        return self._signed("DELETE", f"symbol=BTCUSDT&origClientOrderId=l{max(1, number - 2 * CONNECTIONS - 1)}")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured; latencies in microseconds."""

    per_s: float
    best_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    refused: int
    first_refusal: str = ""


async def one_round(server: Server, make: Callable[[], bytes], seconds: float) -> Round:
    """Keep every connection busy for some seconds."""
    latencies: list[float] = []
    windows: Counter[int] = Counter()
    refused, first_refusal = 0, ""
    end = perf_counter() + seconds

    async def connection() -> None:
        nonlocal refused, first_refusal
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while perf_counter() < end:
            request = make()
            started = perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            latencies.append(perf_counter() - started)
            windows[int(perf_counter() / WINDOW_S)] += 1
            if not head.startswith(b"HTTP/1.1 200"):
                refused += 1
                first_refusal = first_refusal or body.decode()
        writer.close()
        await writer.wait_closed()

    cpu = server.cpu_s()
    started = perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    elapsed = perf_counter() - started
    latencies.sort()
    return Round(
        len(latencies) / elapsed,
        max(windows.values()) / WINDOW_S,
        latencies[len(latencies) // 2] * 1e6,
        latencies[len(latencies) * 99 // 100] * 1e6,
        (server.cpu_s() - cpu) / len(latencies) * 1e6,
        refused,
        first_refusal,
    )


def median(rounds: list[Round]) -> Round:
    """The medians of some rounds."""
    return Round(
        statistics.median(row.per_s for row in rounds),
        max(row.best_per_s for row in rounds),
        statistics.median(row.p50_us for row in rounds),
        statistics.median(row.p99_us for row in rounds),
        statistics.median(row.cpu_us for row in rounds),
        sum(row.refused for row in rounds),
        next((row.first_refusal for row in rounds if row.refused), ""),
    )


async def measure(seconds: float) -> dict[str, Round]:
    """All kinds, interleaved."""
    requests = Requests()
    found: dict[str, list[Round]] = {"floor": [], "market": [], "limit+cancel": []}
    with running_venue() as venue, running(sys.executable, __file__, "--serve-constant") as floor:
        for _ in range(ROUNDS):
            found["floor"].append(await one_round(floor, requests.market, seconds))
            found["market"].append(await one_round(venue, requests.market, seconds))
            found["limit+cancel"].append(await one_round(venue, requests.limit_then_cancel, seconds))
    return {name: median(rounds) for name, rounds in found.items()}


def main(seconds: float) -> None:
    """Print the table; fail when an order was refused, or when the target was never reached."""
    pin(0, -1)
    found = uvloop.run(measure(seconds))
    print(f"signed order round trips over loopback, {CONNECTIONS} connections, server on one core, {ROUNDS} rounds")
    print(f"  {'':14} {'per second':>12} {'best window':>12} {'p50 us':>10} {'p99 us':>10} {'cpu us':>10}")
    for name, row in found.items():
        print(
            f"  {name:14} {row.per_s:12,.0f} {row.best_per_s:12,.0f} {row.p50_us:10,.0f} {row.p99_us:10,.0f}"
            f" {row.cpu_us:10,.0f}"
        )
    market, floor = found["market"], found["floor"]
    print(f"  floor / market {floor.per_s / market.per_s:11.2f} x")
    print(json.dumps({name: round(row.per_s) for name, row in found.items()}))
    if market.refused:
        raise SystemExit(
            f"{market.refused} market orders were refused, so a rate would mean nothing; the first: {market.first_refusal}"
        )
    reached = "reached" if market.per_s >= TARGET_PER_S else "missed; the floor beside it tells how busy the machine is"
    print(f"  target of {TARGET_PER_S:,} per second: {reached}")
    if market.best_per_s < TARGET_PER_S:
        raise SystemExit("not even the best tenth of a second reached the target")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve-constant"]:
        uvloop.run(serve_constant())
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
