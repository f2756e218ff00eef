"""Thousands of malformed requests and frames: none gets a 500, nothing changes, and the service stays well.

``TES_FUZZ_REQUESTS`` says how many (``make soak``: 10,000), ``TES_FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from support.faces import TOKEN, Face, decision, paper_face

REQUESTS = int(os.environ.get("TES_FUZZ_REQUESTS", "1000"))
SECRET = "a-webhook-secret-of-length"
AT_ONCE = 8
POSTS = ("/v1/decisions", "/v1/decisions?dry_run=true", "/v1/halt", "/v1/webhooks/tradingview")
GETS = ("/v1/decisions", "/v1/trades", "/v1/orders", "/v1/positions", "/v1/accounts", "/v1/events", "/v1/status")
EVIL: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 10**400, 1e308, -1e308, "NaN", "Infinity", "-0", "1e999999999", "1" * 5000, ""),
    *("\x00", "\ud800", "\u202e", "𝔹" * 50, [], {}, [[]], [None], {"": ""}, "' OR 1=1 --", "../../etc/passwd", "%s%n"),
)
RAW_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999999", "-" + "9" * 4000, "0x10", "01", "1.", ".5", "--1")


def fuzzed(chance: random.Random, value: Any) -> Any:
    """The value with something in it that should not be there."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(list(value))
        changed = dict(value)
        match chance.randrange(4):
            case 0:
                del changed[name]
            case 1:
                changed[f"{name}{chance.choice(['', 's', chr(0), 'é'])}x"] = changed.pop(name)
            case _:
                changed[name] = fuzzed(chance, value[name])
        return changed
    if isinstance(value, list) and value and chance.random() < 0.8:
        return [fuzzed(chance, value[0]), *value[1:]] if chance.random() < 0.8 else value * 300
    return chance.choice(EVIL)


def body(chance: random.Random) -> bytes:
    """Something that is no valid order for anything."""
    sane = json.dumps(decision(allocation_usd=-1)).encode()
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.randrange(300))
        case 1:
            return b"[" * chance.choice([33, 1000, 100_000]) + b"]" * chance.choice([0, 33])
        case 2:
            return b'{"a":' * chance.choice([33, 5000]) + b"1"
        case 3:
            at = chance.randrange(len(sane))
            return sane[:at] + chance.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00"]) + sane[at:]
        case 4:
            return re.sub(rb"-1\b", chance.choice(RAW_NUMBERS).encode(), sane)
        case 5:
            return sane[: chance.randrange(len(sane))]
        case 6:
            return b'{"reason": "' + b"x" * chance.choice([501, 300_000]) + b'"}'
        case _:
            # a field that can't be, whatever else was changed, so that no decision comes out right by chance
            return json.dumps(
                {**fuzzed_object(chance), "decisions": [fuzzed(chance, {"asset": 7, "action": "bye"})]}
            ).encode()


def fuzzed_object(chance: random.Random) -> dict[str, Any]:
    value = fuzzed(chance, decision(allocation_usd=-1))
    return value if isinstance(value, dict) else {"decisions": value}


async def bad_json(face: Face, chance: random.Random) -> int | None:
    kind = chance.choice(["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
    return (await face.ask("POST", chance.choice(POSTS), headers=headers, data=body(chance))).status


async def bad_query(face: Face, chance: random.Random) -> int | None:
    name = chance.choice(["limit", "cursor", "after", "status", "asset", "account_id", "wait", "types", "dry_run"])
    value = quote(str(chance.choice((*EVIL, *RAW_NUMBERS)))[:2000].encode("utf-8", "surrogatepass"), safe="")
    return await raw_request(face, f"GET {chance.choice(GETS)}?{name}={value} HTTP/1.1".encode())


async def bad_path(face: Face, chance: random.Random) -> int | None:
    part = quote(chance.randbytes(chance.randrange(1, 60)), safe="")
    place = chance.choice(["/v1/trades/", "/v1/decisions/", "/v1/positions/", "/docs/", "/", "/v1/"])
    method = chance.choice(["GET", "PUT", "DELETE", "PATCH", "HEAD", "BREW"])
    return await raw_request(face, f"{method} {place}{part} HTTP/1.1".encode())


async def bad_token(face: Face, chance: random.Random) -> int | None:
    token = chance.choice([b"", b"Bearer", b"Bearer " + chance.randbytes(20).replace(b"\r", b"").replace(b"\n", b"")])
    return await raw_request(face, b"GET /v1/status HTTP/1.1", b"Authorization: " + token)


async def bad_http(face: Face, chance: random.Random) -> int | None:
    """No HTTP, or HTTP that lies about its length, or a head that is too large."""
    length = chance.choice([b"-1", b"x", b"99999999999999999999", b"5, 6", b"0x5"])
    text = chance.choice(
        [
            chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
            b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n{}",
            b"POST /v1/halt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]
    )
    return await exchange(face, text)


async def bad_upgrade(face: Face, chance: random.Random) -> int | None:
    lines = [
        "GET /v1/stream?after=" + chance.choice(["0", "-1", "x", "9" * 40, "%00"]) + " HTTP/1.1",
        "Host: 127.0.0.1",
    ]
    lines += [f"Authorization: Bearer {chance.choice([TOKEN, 'wrong'])}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Version: {chance.choice(['13', '8', 'x'])}"]
    lines += [f"Sec-WebSocket-Key: {chance.choice(['AAAAAAAAAAAAAAAAAAAAAA==', '', 'x', 'é'])}"]
    chance.shuffle(lines[2:])
    return await exchange(face, "\r\n".join([*lines, "", ""]).encode())


async def bad_frame(face: Face, chance: random.Random) -> int | None:
    """An open stream, and bytes that are no frames, or frames that nobody expects."""
    head = b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\n".encode() if chance.random() < 0.5 else b""
    opcode, mask = chance.randrange(256), chance.choice([b"", b"\x00" * 4])
    payload = chance.choice([b"\xff\xfe", b"{", b'{"token": NaN}', b'{"token": "\\ud800"}', b"[" * 100, b""])
    length = chance.choice([len(payload), 125, 126, 127]) | (128 if mask else 0)
    frame = bytes([opcode, length]) + mask + payload + chance.randbytes(chance.randrange(20))
    frame = chance.choice([frame, b"\x81\xff" + b"\x7f" + b"\xff" * 7 + mask, chance.randbytes(60)])
    return await exchange(face, head + b"\r\n" + frame)


async def raw_request(face: Face, line: bytes, authorization: bytes | None = None) -> int | None:
    said = authorization or f"Authorization: Bearer {TOKEN}".encode()
    return await exchange(face, line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + said + b"\r\n\r\n")


async def exchange(face: Face, text: bytes) -> int | None:
    """Send bytes; the status of the answer, None when the service just hung up or waits for more."""
    target = urlsplit(face.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(text)
            async with asyncio.timeout(0.3):
                line = await reader.readline()
                match = re.match(rb"HTTP/1\.1 (\d{3})", line)
                return int(match[1]) if match else None
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


KINDS: tuple[Callable[[Face, random.Random], Coroutine[Any, Any, int | None]], ...] = (
    *(bad_json, bad_json, bad_json, bad_query, bad_path, bad_token, bad_http, bad_upgrade, bad_frame),
)


def _tells_of_webhooks(item: dict[str, Any]) -> bool:
    return item.get("type") == "WebhookRefused" or item.get("data", {}).get("code") == "webhook_refused"


async def state(face: Face) -> list[Any]:
    """Everything that a request could have changed, but that refused webhooks are told of."""
    lists = ("/v1/decisions", "/v1/trades", "/v1/orders", "/v1/positions", "/v1/status", "/v1/events")
    documents = [(await face.get(path, limit="500")).json for path in lists]
    for document in documents:
        document.pop("last_seq", None)
        document["items"] = [item for item in document.get("items", ()) if not _tells_of_webhooks(item)]
        document.pop("as_of", None)
        for item in document.get("items", ()):
            for name in ("mark_price", "unrealised_pnl"):
                item.pop(name, None)
    return documents


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_malformed_requests_and_frames_change_nothing_and_never_get_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seed = int(os.environ.get("TES_FUZZ_SEED", random.randrange(2**32)))
    print(f"TES_FUZZ_SEED={seed}")
    async with paper_face(TES_WEBHOOK_SECRET=SECRET) as face:
        assert (await face.post("/v1/decisions", decision())).json["status"] == "executed"
        before = await state(face)
        statuses: Counter[tuple[str, int | None]] = Counter()
        numbers = iter(range(REQUESTS))

        async def attack() -> None:
            for number in numbers:
                chance = random.Random(f"{seed}-{number}")
                kind = chance.choice(KINDS)
                status = await kind(face, chance)
                statuses[kind.__name__, status] += 1
                assert status is None or status < 500 or status == 503, f"seed {seed}, number {number}: {status}"
                assert status is None or not (kind is bad_json and status < 400), f"seed {seed}, number {number}"

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(attack())
        print(sorted(statuses.items(), key=str))
        assert (await face.get("/readyz")).status == 200
        assert await state(face) == before, f"seed {seed}"
        again = (await face.post("/v1/decisions", decision("ETHUSDT"))).json
        assert again["status"] == "executed"
    assert sum(statuses.values()) == REQUESTS
    failures = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not failures, f"seed {seed}: {failures[:3]}"
