"""A run that shows a secret anywhere fails and names the place, never the secret; a clean one passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.secrecy import leaks

Run = Callable[[str], pytest.RunResult]
TESTS = Path(__file__).parents[3]
ASKING = """
import asyncio, base64, contextlib, json, logging, os, secrets, socket, subprocess, sys, tempfile, urllib.request
from decimal import Decimal
from pathlib import Path

import aiohttp
import uvicorn
from aiohttp import web
from pydantic import SecretStr

from app.core.configuration import load_settings
from app.integrations.aster.auth import V1Credentials
from aster_sim.credentials import AccountCredentials
from support.commands import line_with
from support.secret_watch import WATCH, all_said_by

GIVEN = Path(__file__).with_name("given")
SAY = "import os, sys; print(os.environ['TES_API_TOKEN'], file=getattr(sys, sys.argv[1]))"


def noted(secret):
    with GIVEN.open("a") as file:
        file.write(secret + "\\n")
    return secret


def given():
    return SecretStr(noted(secrets.token_urlsafe(24))).get_secret_value()


def environment(name="TES_API_TOKEN", value=None):
    return {"PATH": os.environ["PATH"], name: value or noted(secrets.token_urlsafe(24))}


@contextlib.asynccontextmanager
async def server(secret):
    async def answer(_):
        return web.Response(headers={"X-Said": secret})

    async def stream(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(secret)
        await socket.close()
        return socket

    application = web.Application()
    application.add_routes([web.get("/v1/status", answer), web.get("/v1/stream", stream)])
    application.add_routes([web.post("/sim/accounts", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()

"""
LEAKING = """
def test_print():
    print(given())


def test_log():
    logging.getLogger("app").warning("it is %s", given())


def test_file(tmp_path):
    with (tmp_path / "service.log").open("wb") as file:
        file.write(b"." * (4 * 1024 * 1024 - 10))  # across two pieces that are read at once
        file.write(given().encode())


def test_database(tmp_path):
    key = noted("0x" + secrets.token_hex(32))
    AccountCredentials("a", "0x1", "0x1", key, "", "", Decimal(1))
    (tmp_path / "tes.db").write_bytes(b"SQLite" + bytes.fromhex(key[2:]))


def test_backup(tmp_path):
    keys = V1Credentials(api_key="k", api_secret=noted(secrets.token_hex(32)))
    (tmp_path / "copy.db").write_bytes(base64.b64encode(b"me:" + keys.api_secret.encode()))


def test_folder_that_goes():
    with tempfile.TemporaryDirectory(prefix="tes-") as folder:
        Path(folder, "tes.db-wal").write_text(given().upper())


async def test_answer():
    async with server(given()) as port, aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/v1/status") as response:
            await response.read()


async def test_stream():
    async with server(given()) as port, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"http://127.0.0.1:{port}/v1/stream") as socket:
            await socket.receive()


async def test_served():
    secret = given()

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": secret.encode()})

    server = uvicorn.Server(uvicorn.Config(all_said_by(answer), lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/docs"
        with await asyncio.to_thread(urllib.request.urlopen, url) as response:
            assert response.read().decode() == secret
        server.should_exit = True
        await task


async def test_raw_answer():
    async with server(given()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()


def test_command():
    subprocess.run([sys.executable, "-c", SAY, "stderr"], env=environment(), capture_output=True, check=True)


async def test_background_command():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SAY, "stdout"), env=environment(), stdout=asyncio.subprocess.PIPE
    )
    await process.communicate()


def test_line_of_a_command():
    arguments = [sys.executable, "-c", SAY, "stdout"]
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        line_with(process, "")


def test_key_file(tmp_path):
    (tmp_path / "key").write_text(noted(secrets.token_urlsafe(24)))
    subprocess.run(["cp", "key", "core"], cwd=tmp_path, env=environment("TES_API_TOKEN_FILE", "key"), check=True)


def test_configuration(tmp_path):
    (tmp_path / "tes.toml").write_text(f'[accounts.a]\\naster_api_secret = "{noted(secrets.token_urlsafe(24))}"\\n')
    subprocess.run(["cp", "tes.toml", "dump"], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, check=True)


def test_database_password():
    print((password := noted(secrets.token_urlsafe(24))))
    environ = environment("TES_DATABASE_URL", f"postgresql://tes:{password}@db/tes")
    subprocess.run(["true"], env=environ, check=True)


def test_alert_channel():
    print((password := noted(secrets.token_urlsafe(24))))
    SecretStr(f"json://user:{password}@127.0.0.1/hook")


def test_alert_channel_of_a_command():
    print((topic := noted(secrets.token_urlsafe(24))))
    subprocess.run(["true"], env=environment("TES_ALERT_URLS", f"json://127.0.0.1/hook, ntfy://{topic}"), check=True)


def test_made_token(tmp_path):
    made = noted(secrets.token_hex(24))
    subprocess.run(["echo", f"API token  {made}"], capture_output=True, check=True)
    (tmp_path / "after").write_text(made)


def test_killed(tmp_path):
    made = noted(secrets.token_hex(24))
    (tmp_path / "tes.db.service.json").write_text(f'{{"url": "http://127.0.0.1:8000", "token": "{made}"}}')
    (tmp_path / "crash").write_text(made)


def test_much():
    secret = given()
    for said in ("." * (1 << 20), secret[:9], secret[9:]):  # what comes in between is looked at and let go
        WATCH.hear("a lot", said)


def test_locked_file(tmp_path):
    (tmp_path / "locked").write_text(given())
    (tmp_path / "locked").chmod(0)


def test_place(tmp_path):
    secret = given()
    (tmp_path / secret).write_text(secret)
"""
PLACES = {
    "test_print": "captured stdout call",
    "test_log": "captured log call",
    "test_file": "test_file0/service.log",
    "test_database": "test_database0/tes.db",
    "test_backup": "test_backup0/copy.db",
    "test_folder_that_goes": "tes-*",
    "test_answer": "the answer to GET /v1/status",
    "test_stream": "the stream /v1/stream",
    "test_served": "the answer to GET /docs",
    "test_raw_answer": "the answers to raw requests",
    "test_command": "stderr of python",
    "test_background_command": "stdout of python",
    "test_line_of_a_command": "stdout of python",
    "test_key_file": "test_key_file0/core",
    "test_configuration": "test_configuration0/dump",
    "test_database_password": "captured stdout call",
    "test_alert_channel": "captured stdout call",
    "test_alert_channel_of_a_command": "captured stdout call",
    "test_made_token": "test_made_token0/after",
    "test_much": "a lot",
    "test_locked_file": "test_locked_file0/locked",
    "test_place": "in a name of a place",
}
CLEAN = """
def test_what_is_given_and_kept(tmp_path):
    secret = given()
    (tmp_path / "tes.toml").write_text(f'api_token = "{secret}"')
    (tmp_path / "key").write_text(secret)
    (tmp_path / "service.log").write_text(secret[:-3] + "...")
    subprocess.run(["true"], cwd=tmp_path, env=environment("TES_API_TOKEN_FILE", "key"), check=True)
    (tmp_path / "token").write_text(given())
    load_settings({"TES_API_TOKEN_FILE": str(tmp_path / "token")})


async def test_what_the_exchange_answers():
    async with server(given()) as port, aiohttp.ClientSession() as http:
        async with http.post(f"http://127.0.0.1:{port}/sim/accounts") as response:
            await response.read()


def test_what_the_exchange_tells(tmp_path):
    keys = json.dumps([{"private_key": given()}])
    (tmp_path / "accounts.json").write_text(keys)
    subprocess.run(["echo", "sim", "--accounts", "accounts.json", keys], cwd=tmp_path, capture_output=True, check=True)
    with (tmp_path / "venue.log").open("w") as log:
        subprocess.run(["echo", "sim", keys], stdout=log, check=True)


def test_what_is_told_to_the_operator(tmp_path):
    made, minted = noted(secrets.token_hex(24)), noted(secrets.token_hex(24))
    said = f"Dashboard  http://127.0.0.1:8000/#token={made}\\nAPI token  {made}\\ntoken  {minted}"
    subprocess.run(["echo", said], capture_output=True, check=True)
    (tmp_path / "tes.db.service.json").write_text(f'{{"url": "http://127.0.0.1:8000", "token": "{made}"}}')


def test_what_chance_finds():
    print(SecretStr("k" * 40).get_secret_value(), SecretStr("hidden-words").get_secret_value())
"""


@pytest.fixture(
    params=[
        pytest.param("", id="alone"),
        pytest.param("-p xdist.plugin -n 1", id="on a worker", marks=pytest.mark.long),
    ]
)
def run(request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run tests with the plugin, alone or on workers."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "support.secret_watch", *request.param.split()]

    def run(tests: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=ASKING + tests)
        result = pytester.runpytest_subprocess(*plugins)
        for note in pytester.path.rglob("*.service.json"):
            note.unlink()  # the run around this one would learn a token from it
        shown = {"the report": result.stdout.str().encode() + result.stderr.str().encode()}
        given = (pytester.path / "given").read_text(encoding="utf-8").split()
        assert leaks(shown, dict(zip(map(str, range(len(given))), given, strict=True))) == []
        return result

    return run


@pytest.mark.long
def test_a_run_with_a_leak_fails_and_names_the_place(run: Run) -> None:
    result = run(LEAKING)
    assert result.parseoutcomes() == {"passed": len(PLACES) + 1}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"a token told in .*test_killed0/tes.db.service.json: .*test_killed0/crash"])
    told = re.findall(r"^.+ (?:given|told) in .*::(\w+): (.*)$", result.stdout.str(), re.MULTILINE)
    for test, place in PLACES.items():
        assert [found for given_in, found in told if given_in == test and place in found], (test, told)
    assert {test for test, _ in told} == PLACES.keys()


@pytest.mark.long
def test_a_clean_run_passes(run: Run) -> None:
    result = run(CLEAN)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=5)
    assert "secrets where" not in result.stdout.str()
