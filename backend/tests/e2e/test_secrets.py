"""No secret that a service was given is anywhere that it writes or answers, whatever goes wrong (``SECURITY.md``)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any

import aiohttp
import pytest

from app.core.tokens import Scope, record_of
from aster_sim.credentials import AccountCredentials
from support.hooks import SECRET as SECRET_OF_HOOK
from support.hooks import Hook, web_hook
from support.patience import PATIENCE_S
from support.postgres import PostgresServer
from support.secrecy import leaks
from support.serving import BUY, LAUNCH, account_at, control, free_port, is_ready, ledger, service, until

pytestmark = pytest.mark.long

HOLDS_SECRETS = {"tes.toml", "aster-key"}
"""The files that the operator wrote them into."""
PATHS = ("/v1/decisions", "/v1/trades", "/v1/orders", "/v1/positions", "/v1/accounts", "/v1/events?limit=500")
PUBLIC = ("/v1/status", "/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/docs", "/")
LAUNCH_BROKEN = """
from app.cli import main, serve
async def fail(application, *_): raise RuntimeError(f"a bug, and {application!r}")
serve._serve_http = fail
main.main()
"""


@dataclass
class Exchange:
    """``tes sim`` as a process: where it is, and its accounts."""

    process: asyncio.subprocess.Process
    rest_url: str
    ws_url: str
    control_url: str
    chain_id: int
    accounts: list[AccountCredentials]


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[Hook]:
    """A web hook that answers so."""
    with web_hook(status) as hook:
        yield hook


@asynccontextmanager
async def exchange(folder: Path) -> AsyncIterator[Exchange]:
    """A venue with the accounts ``default`` and ``other``, whose keys it makes itself."""
    (folder / "accounts.json").write_text('[{"name": "default"}, {"name": "other"}]', encoding="utf-8")
    arguments = ("sim", "--port", "0", "--prices", "manual", "--json", "--accounts", "accounts.json")
    with (folder / "venue.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LAUNCH, *arguments),
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        accounts = [AccountCredentials(**row) for row in told.pop("accounts")]
        yield Exchange(process, accounts=accounts, **told)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(folder: Path, *arguments: str, launch: str = LAUNCH, **environment: str) -> bytes:
    """What a command prints, in both streams."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", launch, *arguments),
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    return said


async def call(http: aiohttp.ClientSession, method: str, url: str, token: str, body: Any = None) -> bytes:
    """An answer with its headers."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    async with http.request(method, url, headers={"Authorization": f"Bearer {token}"}, data=data) as answer:
        return repr(dict(answer.headers)).encode() + await answer.read()


async def stream(http: aiohttp.ClientSession, url: str, message: object, last: bytes = b"") -> bytes:
    """What the stream says to a first message, until it hangs up, or pauses once it has said the ``last``."""
    said = b""
    async with http.ws_connect(f"{url}/v1/stream?after=0") as socket:
        await socket.send_json(message)
        while True:
            try:
                came = await socket.receive(timeout=1 if last and last in said else PATIENCE_S)
            except TimeoutError:
                return said
            said += f"{came.data} {came.extra}\n".encode()
            if came.type is not aiohttp.WSMsgType.TEXT:
                return said


async def misuse(http: aiohttp.ClientSession, url: str, given: dict[str, str]) -> bytes:
    """Secrets where they don't belong: in addresses, in wrong fields, in broken texts, as a wrong scope's."""
    token, reader, webhook = given["token"], given["reader's token"], given["webhook secret"]
    alert = {"secret": webhook, "time": datetime.now(UTC).isoformat(), "ticker": "BTCUSDT", "action": "close"}
    hook = f"{url}/v1/webhooks/tradingview"
    answers = [
        await call(http, "POST", hook, "", alert),
        await call(http, "POST", hook, "", {**alert, "sekret": 1}),
        await call(http, "POST", hook, "", json.dumps(alert).encode()[:-1]),
        await call(http, "POST", f"{url}/v1/decisions", token, b'{"decisions": [{"asset"'),
        await call(http, "POST", f"{url}/v1/decisions", token, {"decisions": [{"asset": "BTCUSDT", "action": token}]}),
        await call(http, "GET", f"{url}/v1/status?token={token}", "wrong"),
        await call(http, "POST", f"{url}/v1/resume", reader),
        await call(http, "GET", f"{url}/v1/events?after={token}", token),
        await call(http, "POST", f"{url}/v1/halt", token, {"raison": token}),
        await call(http, "GET", f"{url}/v1/trades?status={reader}&cursor={reader}", token),
        await stream(http, url, {"token": token[:-1]}),
        await stream(http, url, {"tokin": token}),
    ]
    return b"\n".join(answers)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but what the operator wrote there."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in HOLDS_SECRETS)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.timeout(900)
async def test_no_secret_is_in_logs_answers_events_database_backup_or_crash_output(
    tmp_path: Path, database_url: str, request: pytest.FixtureRequest
) -> None:
    given = {name: token_urlsafe(24) for name in ("token", "reader's token", "webhook secret", "database password")}
    password = given["alert channel's password"] = token_hex(20)
    database_url = database_url.replace("postgres@", f"postgres:{given['database password']}@")
    silent = f"json://user:{password}@127.0.0.1:{free_port()}/{password}"
    found: dict[str, bytes] = {}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with exchange(tmp_path) as venue, aiohttp.ClientSession() as http, answering(500) as hook:
        default, other = venue.accounts
        given |= {"private key": default.private_key, "API key": other.api_key, "API secret": other.api_secret}
        (tmp_path / "aster-key").write_text(default.private_key, encoding="utf-8")
        (tmp_path / "tes.toml").write_text(
            '[accounts.other]\naster_auth = "v1"\n'
            f'aster_api_key = "{other.api_key}"\naster_api_secret = "{other.api_secret}"\n',
            encoding="utf-8",
        )
        for name in HOLDS_SECRETS:
            (tmp_path / name).chmod(0o600)
        environment = {
            **account_at(venue),
            "TES_DATABASE_URL": database_url,
            "TES_API_TOKEN": given["token"],
            "TES_API_TOKENS": record_of("reader", Scope.READ, given["reader's token"]).line(),
            "TES_WEBHOOK_SECRET": given["webhook secret"],
            "TES_ALERT_URLS": f"{silent},{hook.url.replace(SECRET_OF_HOOK, password)}",
            "TES_LOG_LEVEL": "DEBUG",
        }
        crash = {**environment, "PYTHONFAULTHANDLER": "1"}
        by_file = {name: value for name, value in environment.items() if name != "TES_ASTER_PRIVATE_KEY"}
        by_file["TES_ASTER_PRIVATE_KEY_FILE"] = "aster-key"
        await control(http, venue, "/prices", {"BTCUSDT": "96000", "ETHUSDT": "3400"})

        async with service(venue, database_url, tmp_path, port, **environment) as process:
            await until(lambda: is_ready(http, url), "readiness")
            for account in ("default", "other"):
                decision = {"account_id": account, **BUY}
                found[account] = await call(http, "POST", f"{url}/v1/decisions?wait=20", given["token"], decision)
                assert b'"executed"' in found[account], found[account]
            found["answers to misuse"] = await misuse(http, url, given)
            found["the stream"] = await stream(http, url, {"token": given["reader's token"]}, b"TradeProtected")
            assert b"TradeProtected" in found["the stream"]
            # an exchange that refuses the key raises an alert, and one channel is not there, the other fails
            action = {"type": "error", "status": 401, "code": -2015, "msg": "no such key"}
            await control(http, venue, "/faults", [{"match": {"path": "/order"}, "action": action, "count": 4}])
            found["refused key"] = await call(http, "POST", f"{url}/v1/positions/close", given["token"])
            for path in (*PATHS, *PUBLIC):
                found[path] = await call(http, "GET", f"{url}{path}", given["token"])
            copy = "copy.db" if database_url.startswith("sqlite") else "copy.dump"
            commands = [("db", "backup", copy), ("config",), ("config", "--json"), ("doctor",), ("doctor", "--json")]
            commands += [("alert", "test"), ("trades", "--json", "--url", url), ("events", "--json", "--url", url)]
            for words in commands:
                found[f"tes {' '.join(words)}"] = await run(tmp_path, *words, **by_file)
            wrong = {**by_file, "TES_TOKEN": given["token"][:-1]}
            found["tes with a wrong token"] = await run(tmp_path, "trades", "--url", url, **wrong)
            posting = asyncio.create_task(call(http, "POST", f"{url}/v1/positions/close", given["token"]))
            await until(lambda: ledger(http, venue), "the ledger")
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(posting, return_exceptions=True)
        async with service(venue, database_url, tmp_path, port, **crash) as process:
            await until(lambda: is_ready(http, url), "readiness after a kill")
            venue.process.kill()
            decision = {"decisions": [{"asset": "ETHUSDT", "action": "buy", "allocation_usd": 100}]}
            found["no exchange"] = await call(http, "POST", f"{url}/v1/decisions?wait=2", given["token"], decision)
            found["status without exchange"] = await call(http, "GET", f"{url}/v1/status", given["token"])
            process.send_signal(signal.SIGABRT)
            await process.wait()
        found |= {f"{name} after the crash": content for name, content in files(tmp_path).items()}
        found["a bug"] = await run(tmp_path, "serve", launch=LAUNCH_BROKEN, **environment)
        assert b"RuntimeError: a bug, and Application(" in found["a bug"], found["a bug"]
        found["doctor without exchange"] = await run(tmp_path, "doctor", **by_file)
        nobody = f"postgresql://u:{given['database password']}@127.0.0.1:{free_port()}/none"
        found["no database"] = await run(tmp_path, "serve", **{**environment, "TES_DATABASE_URL": nobody})
        nonsense = {**environment, "TES_ALERT_URLS": f"nonsense://{password}"}
        found["a bad channel"] = await run(tmp_path, "serve", **nonsense)
    assert hook.messages
    found |= files(tmp_path)
    assert b"Fatal Python error" in found["service.log"]
    assert {"service.log", "venue.log", copy} <= found.keys()
    if database_url.startswith("sqlite"):
        assert {"tes.db after the crash", "tes.db-wal after the crash"} <= found.keys()
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        found |= {f"PostgreSQL's {name}": content for name, content in files(server.folder / "data").items()}
    assert leaks(found, given) == []
    planted = {**found, "a planted leak": b"key=" + given["private key"].upper().encode()}
    assert leaks(planted, given) == ["private key in a planted leak"]
