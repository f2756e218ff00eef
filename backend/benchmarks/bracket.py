"""A bracket from decision to protection: ``python benchmarks/bracket.py [--brackets N] [--profile]``.

The venue runs in a process of its own on one core; the whole service (client, database, event log) runs here on
another. In one run, interleaved:

- ``decision to received``: from ``execute`` to the entry's arrival at the venue, a durable commit in between;
- ``fill to both``: from the entry's arrival at the venue, where it fills, to both exits acknowledged;
- the floor: a bare client without record, state or stream does the same three requests, and the pair alone; before the
  entry it waits for one durable commit of one row, as the service must;
- decisions a second with fifty in flight, over several accounts.

The floor sends the pair as two requests and, in turn, as one ``batchOrders``. Ratios are what to learn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import logging
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any
from urllib.parse import quote

import structlog
import uvloop

from app.bootstrap import Application, running
from app.core.collector import spare_what_stays
from app.core.configuration import load_settings
from app.db.executors import ThreadExecutor
from app.db.port import Unit
from app.db.sqlite import SqliteDatabase
from app.domain.events import Event, EventType
from app.integrations.aster.aiohttp_transport import AiohttpTransport
from app.integrations.aster.signing import V3Signer
from app.integrations.aster.transport import Response
from app.schemas.decision import parse_decision
from app.services.execution.service import ExecutionService
from aster_sim.server import AccountSpec, LimitRules, VenueConfig, start_venue

PRICES = {"BTCUSDT": 96_000, "ETHUSDT": 3_400, "SOLUSDT": 180, "BNBUSDT": 900, "XRPUSDT": 2.2, "DOGEUSDT": 0.16}
ACCOUNTS = 9
IN_FLIGHT = 50
BURSTS = 4
WARM_UP = 10
FLOOR_QUANTITY = "0.010"
COMMIT_FLOOR = "floor: a commit, then an entry received"


def pin(core: int) -> None:
    """Keep this process on one core, where the system can."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


async def serve() -> None:
    """The venue's process: print where it is and its keys, then serve until killed."""
    pin(0)
    specs = [AccountSpec(name, Decimal(10_000_000)) for name in ["floor", *(f"a{n}" for n in range(ACCOUNTS))]]
    config = VenueConfig(seed=1, prices="manual", accounts=specs, limits=LimitRules().times(1_000_000))
    venue = await start_venue(config)
    keys = [
        {"name": row.name, "user": row.user, "signer": row.signer, "private_key": row.private_key}
        for row in venue.accounts
    ]
    told = {"port": venue.port, "chain_id": venue.chain_id, "accounts": keys}
    print(json.dumps(told), flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def venue_process() -> Iterator[dict[str, Any]]:
    """A venue in its own process; where it is and its keys."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def control(venue: Mapping[str, Any], path: str, body: Any = None) -> Any:
    """Call the venue's control API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{venue['port']}/sim{path}", data=data)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@dataclass
class Wire:
    """When each order request of the service was answered, by client order id, in microseconds of the system clock."""

    sent: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)

    def install(self) -> None:
        """Listen at the transport, where nothing of ours is left between us and the network."""
        inner = AiohttpTransport.request
        wire = self

        async def request(
            self: AiohttpTransport,
            method: str,
            path: str,
            query: str,
            body: str,
            headers: Mapping[str, str],
            timeout_s: float,
        ) -> Response:
            at = body.find("newClientOrderId=")
            if at < 0:
                return await inner(self, method, path, query, body, headers, timeout_s)
            name = body[at + 17 : body.index("&", at)]
            wire.sent[name] = time_ns() // 1000
            response = await inner(self, method, path, query, body, headers, timeout_s)
            wire.answered[name] = time_ns() // 1000
            return response

        AiohttpTransport.request = request  # type: ignore[method-assign]


class BareClient:
    """Signed requests on kept-alive sockets, and nothing else."""

    def __init__(self, venue: Mapping[str, Any]) -> None:
        keys = venue["accounts"][0]
        self._signer = V3Signer(keys["private_key"], venue["chain_id"])
        self._who = f"user={keys['user']}&signer={keys['signer']}"
        self._port = venue["port"]
        self._nonce = 0
        self._sockets: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self) -> None:
        """Two sockets: a pair is sent together."""
        for _ in range(2):
            self._sockets.append(await asyncio.open_connection("127.0.0.1", self._port))

    async def close(self) -> None:
        """Hang up."""
        for _, writer in self._sockets:
            writer.close()
            await writer.wait_closed()

    def request(self, method: str, path: str, text: str) -> bytes:
        """Sign and format."""
        self._nonce = max(self._nonce + 1, time_ns() // 1000)
        message = f"{text}&nonce={self._nonce}&{self._who}"
        body = f"{message}&signature={self._signer.sign(message)}"
        return (
            f"{method} /fapi/v3/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    async def call(self, socket: int, data: bytes) -> None:
        """Send and read the whole answer."""
        reader, writer = self._sockets[socket]
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        if b" 200 " not in head.partition(b"\r")[0] or b'"msg"' in body:
            raise SystemExit(f"the venue refused a bare request: {body.decode()}")


@dataclass
class Floor:
    """What the bare client took, in microseconds."""

    decided: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    pair_us: list[float] = field(default_factory=list)
    batch_us: list[float] = field(default_factory=list)


def exit_fields(name: str) -> list[dict[str, str]]:
    """A stop loss and a take profit for the floor's long position."""
    common = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "reduceOnly": "true",
        "quantity": FLOOR_QUANTITY,
        "workingType": "MARK_PRICE",
        "newOrderRespType": "RESULT",
    }
    return [
        {**common, "type": "STOP_MARKET", "stopPrice": "94000", "newClientOrderId": f"s{name}"},
        {**common, "type": "TAKE_PROFIT_MARKET", "stopPrice": "99000", "newClientOrderId": f"t{name}"},
    ]


def text_of(fields: Mapping[str, str]) -> str:
    """As a form."""
    return "&".join(f"{name}={value}" for name, value in fields.items())


async def bare_bracket(
    client: BareClient, database: SqliteDatabase, floor: Floor, number: int, *, as_batch: bool
) -> None:
    """A commit and the entry, then both exits; then everything is taken back."""
    name = f"floor{number}"
    if not as_batch:
        floor.decided[f"e{name}"] = time_ns() // 1000
        now = datetime.now(UTC)
        row = Event(id=name, type=EventType.DECISION_RECEIVED, time=now, account_id="floor", is_paper=True)
        await database.commit(Unit((), (row,)))
    entry = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity={FLOOR_QUANTITY}&newOrderRespType=RESULT"
    await client.call(0, client.request("POST", "order", f"{entry}&newClientOrderId=e{name}"))
    started = perf_counter()
    exits = exit_fields(name)
    if as_batch:
        batch = quote(json.dumps(exits, separators=(",", ":")), safe="")
        await client.call(0, client.request("POST", "batchOrders", f"batchOrders={batch}"))
        floor.batch_us.append((perf_counter() - started) * 1e6)
    else:
        first, second = (client.request("POST", "order", text_of(fields)) for fields in exits)
        await asyncio.gather(client.call(0, first), client.call(1, second))
        floor.pair_us.append((perf_counter() - started) * 1e6)
        floor.entries[f"e{name}"] = time_ns() // 1000
    for fields in exits:
        gone = f"symbol=BTCUSDT&origClientOrderId={fields['newClientOrderId']}"
        await client.call(0, client.request("DELETE", "order", gone))
    out = f"symbol=BTCUSDT&side=SELL&type=MARKET&quantity={FLOOR_QUANTITY}&reduceOnly=true&newOrderRespType=RESULT"
    await client.call(0, client.request("POST", "order", out))


def wish(asset: str) -> dict[str, Any]:
    """A long bracket of 960 USD."""
    price = PRICES[asset]
    exits = {"tp_price": f"{price * 1.03:.5g}", "sl_price": f"{price * 0.97:.5g}"}
    return {"asset": asset, "action": "buy", "allocation_usd": 960, "leverage": 10, **exits}


async def bracket(service: ExecutionService, asset: str) -> tuple[str, int]:
    """One decision, to its end: the trade's id, and when it was handed in (microseconds of the system clock)."""
    body = json.dumps({"account_id": service.account_id, "decisions": [wish(asset)]})
    decision = parse_decision(body)
    handed_in = time_ns() // 1000
    result = (await service.execute(decision)).results[0]
    if result.status.value != "protected" or result.trade_id is None:
        raise SystemExit(f"a bracket was not protected, so a figure would mean nothing: {result}")
    return result.trade_id, handed_in


def settings_for(venue: Mapping[str, Any], directory: Path) -> Path:
    """A configuration file with all accounts."""
    lines = [
        'venue = "testnet"',
        f'database_url = "sqlite:///{directory / "tes.db"}"',
        'api_token = "bench-token-0123456789"',
    ]
    for keys in venue["accounts"][1:]:
        lines += [
            f"[accounts.{keys['name']}]",
            f'aster_rest_url = "http://127.0.0.1:{venue["port"]}"',
            f'aster_ws_url = "ws://127.0.0.1:{venue["port"]}"',
            f"aster_chain_id = {venue['chain_id']}",
            f'aster_user = "{keys["user"]}"',
            f'aster_signer = "{keys["signer"]}"',
            f'aster_private_key = "{keys["private_key"]}"',
            "risk_cooldown_seconds = 0",
            "risk_max_decision_age_seconds = 600",
            "reconcile_interval_seconds = 600",
        ]
    path = directory / "tes.toml"
    path.write_text("\n".join(lines))
    return path


async def until(condition: Callable[[], bool]) -> None:
    """Look often."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.002)


async def until_flat(service: ExecutionService) -> None:
    """Close everything, and wait until the account's view shows it."""
    await service.close_all()
    await until(lambda: not service.positions().items)


async def bursts(application: Application) -> list[float]:
    """Decisions a second with fifty in flight: all handed in at once, until each is protected."""
    services = list(application.services.values())
    places = [(service, asset) for service in services for asset in PRICES][:IN_FLIGHT]
    rates = []
    for number in range(BURSTS + 1):
        started = perf_counter()
        await asyncio.gather(*(bracket(service, asset) for service, asset in places))
        if number:
            rates.append(len(places) / (perf_counter() - started))
        for service in services:
            await until_flat(service)
    return rates


async def measure(venue: Mapping[str, Any], directory: Path, options: argparse.Namespace) -> None:
    """Run everything and print the table."""
    wire, floor = Wire(), Floor()
    wire.install()
    bare = BareClient(venue)
    await bare.open()
    record = SqliteDatabase(f"sqlite:///{directory / 'floor.db'}", ThreadExecutor())
    await record.start()
    settings = load_settings({}, config=settings_for(venue, directory))
    profile = cProfile.Profile()
    brackets: list[tuple[str, int]] = []
    async with running(settings) as application:
        services = application.services.values()
        await until(lambda: all(service.readiness().is_ready for service in services))
        service = application.service("a0")
        spare_what_stays()
        for number in range(WARM_UP + options.brackets):
            if options.profile and number == WARM_UP:
                profile.enable()
            brackets.append(await bracket(service, "BTCUSDT"))
            await until_flat(service)
            if not options.profile:
                await bare_bracket(bare, record, floor, number, as_batch=False)
                await bare_bracket(bare, record, floor, -1 - number, as_batch=True)
        profile.disable()
        rates = [] if options.profile else await bursts(application)
    await bare.close()
    await record.close()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    report(control(venue, "/ledger"), wire, floor, brackets[WARM_UP:], rates)


def report(
    ledger: Mapping[str, Any], wire: Wire, floor: Floor, brackets: list[tuple[str, int]], rates: list[float]
) -> None:
    """Print medians, tails and ratios."""
    received = {row["client_order_id"]: row["time_us"] for row in ledger["requests"] if row["method"] == "POST"}
    to_received = [received[f"tes.{trade}.e1"] - handed_in for trade, handed_in in brackets]
    to_sent = [wire.sent[f"tes.{trade}.e1"] - handed_in for trade, handed_in in brackets]
    both = [max(wire.answered[f"tes.{trade}.{role}1"] for role in "st") for trade, _ in brackets]
    to_both = [done - received[f"tes.{trade}.e1"] for done, (trade, _) in zip(both, brackets, strict=True)]
    after_answer = [
        max(wire.sent[f"tes.{trade}.{role}1"] for role in "st") - wire.answered[f"tes.{trade}.e1"]
        for trade, _ in brackets
    ]
    answer = [wire.answered[f"tes.{trade}.e1"] - received[f"tes.{trade}.e1"] for trade, _ in brackets]
    in_flight = [
        done - min(wire.sent[f"tes.{trade}.{role}1"] for role in "st")
        for done, (trade, _) in zip(both, brackets, strict=True)
    ]
    rows: list[tuple[str, list[float]]] = [
        ("decision to received", [float(value) for value in to_received]),
        ("  of it before the socket", [float(value) for value in to_sent]),
        ("fill to both acknowledged", [float(value) for value in to_both]),
        ("  entry received to its answer here", [float(value) for value in answer]),
        ("  its answer to both at the socket", [float(value) for value in after_answer]),
        ("  both at the socket to both acknowledged", [float(value) for value in in_flight]),
    ]
    if floor.entries:
        names = list(floor.entries)[WARM_UP:]
        rows += [
            (COMMIT_FLOOR, [float(received[name] - floor.decided[name]) for name in names]),
            ("floor: fill to both", [float(floor.entries[name] - received[name]) for name in names]),
            ("floor: a pair of bare requests", floor.pair_us[WARM_UP:]),
            ("floor: the pair as one batch", floor.batch_us[WARM_UP:]),
        ]
    medians = {name: statistics.median(values) for name, values in rows}
    print(f"a bracket on loopback, medians of {len(brackets)} interleaved rounds, microseconds")
    print(f"  {'':42} {'p50':>8} {'p99':>8}")
    for name, values in rows:
        print(f"  {name:42} {medians[name]:8,.0f} {sorted(values)[len(values) * 99 // 100]:8,.0f}")
    if floor.entries:
        first = medians["decision to received"]
        print(f"  decision to received / its floor      {first / medians[COMMIT_FLOOR]:8.2f} x")
        ours = medians["fill to both acknowledged"]
        print(f"  fill to both / floor: fill to both    {ours / medians['floor: fill to both']:8.2f} x")
        print(f"  fill to both / a pair of bare requests{ours / medians['floor: a pair of bare requests']:8.2f} x")
    if rates:
        print(f"  decisions per second, {IN_FLIGHT} in flight      {statistics.median(rates):8,.0f}")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--brackets", type=int, default=200)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    pin(-1)
    with venue_process() as venue, tempfile.TemporaryDirectory() as directory:
        control(venue, "/prices", {asset: str(price) for asset, price in PRICES.items()})
        uvloop.run(measure(venue, Path(directory), options))


if __name__ == "__main__":
    main()
