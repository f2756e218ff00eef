"""Plain REST calls take the fast lane, all else aiohttp: nobody outside can tell which answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aster_sim.server import VenueConfig, start_venue
from support.patience import PATIENCE_S

NEVER = {"match": {"path": "/nowhere"}, "action": {"type": "drop_before"}, "count": 0}
TIME = b"GET /fapi/v3/time HTTP/1.1\r\nHost: venue\r\n\r\n"


class Line:
    """A raw connection to the venue."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: status, headers by lower-case name, parsed body."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split(" ")[1]), headers, json.loads(body)

    async def ask(self, raw: bytes) -> tuple[int, dict[str, str], Any]:
        self.writer.write(raw)
        return await self.answer()

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read() == b""


@pytest.fixture
async def line(venue) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", venue.port)
    yield Line(reader, writer)
    writer.close()
    await writer.wait_closed()


def form(method: str, path: str, body: str, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: venue", f"Content-Length: {len(body)}", *more, "", body]
    return "\r\n".join(lines).encode()


async def test_requests_in_one_piece_are_answered_in_their_order(line):
    paths = ("ping", "time", "ticker/price?symbol=BTCUSDT", "nothing")
    line.writer.write(b"".join(TIME.replace(b"time", path.encode()) for path in paths))
    answers = [await line.answer() for _ in paths]
    assert [status for status, _, _ in answers] == [200, 200, 200, 404]
    assert answers[0][2] == {}
    assert answers[2][2]["symbol"] == "BTCUSDT"


async def test_a_request_may_come_byte_by_byte(line):
    for at in range(len(TIME)):
        line.writer.write(TIME[at : at + 1])
        await line.writer.drain()
        await asyncio.sleep(0)
    assert (await line.answer())[0] == 200


async def test_a_body_may_come_after_its_head(line):
    raw = form("POST", "/fapi/v3/order", "symbol=BTCUSDT")
    line.writer.write(raw[:-5])
    await line.writer.drain()
    await asyncio.sleep(0.01)
    line.writer.write(raw[-5:])
    status, _, body = await line.answer()
    assert (status, body["code"]) == (400, -1102)


async def test_a_connection_leaves_the_lane_with_what_is_not_simple_and_goes_on(line, venue):
    assert (await line.ask(TIME))[0] == 200
    assert (await line.ask(b"GET /sim/clock HTTP/1.1\r\nHost: venue\r\n\r\n"))[0] == 200
    assert (await line.ask(TIME))[0] == 200
    chunked = b"POST /fapi/v3/order HTTP/1.1\r\nHost: venue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await line.ask(chunked))[2]["code"] == -1102


async def test_requests_behind_one_that_left_the_lane_are_not_lost(line):
    line.writer.write(TIME + b"GET /sim/clock HTTP/1.1\r\nHost: venue\r\n\r\n" + TIME)
    bodies = [(await line.answer())[2] for _ in range(3)]
    assert [sorted(body) for body in bodies] == [["serverTime"], ["now_ms", "now_us"], ["serverTime"]]


async def test_who_asks_to_close_is_answered_and_closed(line):
    status, headers, _ = await line.ask(TIME.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (status, headers["connection"]) == (200, "close")
    assert await line.ended()


@pytest.mark.parametrize(
    "raw",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /fapi/v3/time HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /fapi/v3/time HTTP/1.1\r\nHost: venue\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_as_aiohttp_refuses_it(line, raw):
    line.writer.write(raw)
    async with asyncio.timeout(PATIENCE_S):
        assert (await line.reader.readline()).split()[1] == b"400"


async def test_stopping_hangs_up_on_who_is_connected():
    running = await start_venue(VenueConfig(prices="manual", seed=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    connection = Line(reader, writer)
    assert (await connection.ask(TIME))[0] == 200
    await running.stop()
    assert await connection.ended()
    writer.close()
    await writer.wait_closed()


async def test_both_ways_give_the_same_answers(venue, alice):
    """A planned fault, even one that never acts, keeps everybody out of the lane."""
    market = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}

    async def asked() -> list[Any]:
        answers = [
            await alice.public("ticker/bookTicker", symbol="BTCUSDT"),
            await alice.public("klines", symbol="BTCUSDT", interval="7m"),
            await alice.public("nothing"),
            await alice.call("POST", "order", {**market, "quantity": "0"}),
            await alice.call("POST", "order/test", market),
            await alice.call("GET", "balance"),
            await alice.call_v1("GET", "/fapi/v2/balance"),
            await alice.raw("POST", "/fapi/v1/listenKey"),
            await alice.raw("POST", "/fapi/v1/listenKey", headers={"X-MBX-APIKEY": alice.account.api_key}),
        ]
        return [(row.status, shown(row.body), sorted(row.headers.keys() - {"Server"})) for row in answers]

    def shown(body: Any) -> Any:
        return {**body, "lastUpdateId": 0} if isinstance(body, dict) else body

    quick = await asked()
    await alice.control("POST", "faults", NEVER)
    assert await asked() == quick
