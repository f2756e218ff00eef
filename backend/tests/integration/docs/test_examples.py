"""Every example of the documents is executed; this file has those that no other test is about, and looks for gaps."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from app.cli.main import app
from app.core.settings import Settings
from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue
from support.commands import EXAMPLE, background, environment, line_with, tes
from support.documents import ROOT, STOOD_IN_FOR, block, blocks, pages
from support.patience import PATIENCE_S
from support.secret_watch import WATCH
from support.serving import account_at, free_port
from support.warm import TES

TESTS = Path(__file__).parents[2]
PROTECTED = r"(?:BTC|ETH)USDT +(?:buy|sell) +protected"
SHELLS = ("bash", "sh")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


# --- gaps -------------------------------------------------------------------------------------------------------------


def taken_by_tests() -> Iterator[tuple[str, str]]:
    """Page and opening of each ``block(…)`` in the tests; the opening of ``blocks(…)`` fits everything."""
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            ast.unparse(one.targets[0]): ast.unparse(one.value) for one in tree.body if isinstance(one, ast.Assign)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("block", "blocks"):
                words = [named.get(text, text) for text in map(ast.unparse, node.args)]
                if all(word.startswith(("'", '"')) for word in words):
                    page, *opening = map(ast.literal_eval, words)
                    yield page, opening[0] if opening else ""


@pytest.mark.long
def test_no_block_of_a_document_is_without_a_test_that_executes_it() -> None:
    taken = set(taken_by_tests())
    for page in pages():
        for one in blocks(page):
            assert one.language, f"{page}: a block without a language, so that nobody knows how to try it:\n{one.text}"
            executed = any(page == known and one.text.startswith(opening) for known, opening in taken)
            assert executed, f"{page}: no test takes this block with block(…) of support/documents.py:\n{one.text}"


def test_every_program_in_the_documents_runs_here_or_is_known_to_be_stood_in_for() -> None:
    used = set()
    for one in (one for page in pages() for one in blocks(page) if one.language in SHELLS):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|\\\n", " … ", one.text)  # what stands in quotes is no command
        for command in re.split(r"\n| && ", bare):
            used |= {word for word in command.split()[:1] if re.fullmatch(r"[a-z]\w*", word)}
    found = 'for word; do ! type "$word" > /dev/null 2>&1 || echo "$word"; done'
    told = subprocess.run(["bash", "-c", found, "bash", *used], capture_output=True, text=True, check=True)
    assert used - {"tes", *told.stdout.split()} <= STOOD_IN_FOR.keys()
    assert STOOD_IN_FOR.keys() <= used, "no document names it any more"


# --- commands in prose, in messages and in comments -------------------------------------------------------------------


def named_commands() -> Iterator[tuple[str, str]]:
    """Each command of ours that a text names, with where."""
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for found in re.findall(r"`tes ([^`]+)`", text):
            yield page, " ".join(found.split())
        for one in blocks(page):
            if one.language in SHELLS:
                for line in one.text.replace("\\\n", " ").splitlines():
                    for found in re.findall(r"(?:^ *|/bin/|/bin\"?/|live |paper )tes\"? ([a-z-][^#&|;<>]*)", line):
                        yield page, found.strip()
    for path in (ROOT / "backend" / "src").rglob("*.py"):
        for found in re.findall(r"'tes ([^'\n{]+)'", path.read_text(encoding="utf-8")):
            yield path.name, found


def parse(words: list[str]) -> None:
    """Hold words against the real command line: commands, options and the values that have a fixed form.

    Raises:
        Exception: the command line would refuse them.
    """
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands") or not words or words[0].startswith("-"), f"no command {words[0]}"
    context = command.context_class(command, info_name="tes")
    given, left, _ = command.make_parser(context).parse_args(words)
    assert hasattr(command, "commands") or not left, left
    for parameter in command.params:
        if given.get(parameter.name) is not None and parameter.callback is None:  # a callback would act
            parameter.process_value(context, given[parameter.name])


@pytest.mark.long
@pytest.mark.parametrize(("place", "text"), sorted(set(named_commands())))
def test_every_command_that_a_text_names_is_taken_by_the_command_line(place: str, text: str) -> None:
    parse(shlex.split(text))


@pytest.mark.parametrize("wrong", ["positions --opne", "db restore FILE", "token NAME --scope write", "resume NOW"])
def test_a_command_that_the_command_line_does_not_have_is_seen(wrong: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such option|no command|not one of|unexpected|NOW"):
        parse(shlex.split(wrong))


# --- README -----------------------------------------------------------------------------------------------------------


def recipe(*words: str) -> str:
    """The last line of what make would do."""
    told = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()[-1]


@pytest.mark.long
def test_the_two_commands_do_what_is_said(tmp_path: Path) -> None:
    """``make run`` as its recipe, once, from another folder; ``make test`` is what runs this test."""
    assert block("README.md", "make run").count("make ") == 2
    program, *words = shlex.split(recipe("run", "ARGS=--once"))
    assert program == ".venv/bin/tes"
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "examples")
    ended = tes(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert "executed" in ended.stdout
    assert "-m pytest" in recipe("test")


@pytest.mark.long
def test_the_command_line_is_found_after_the_export(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(TES).parent)
    found = subprocess.run(
        ["bash", "-euc", block("README.md", "export PATH=") + "command -v tes; tes --version"],
        cwd=tmp_path,
        env=environment(PATH="/usr/bin:/bin"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[0] == str(tmp_path / ".venv" / "bin" / "tes")


@pytest.mark.long
def test_a_first_decision_goes_as_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "examples")
    for _ in ("the first time", "the second time"):
        _go_through_a_first_decision(tmp_path)


def _go_through_a_first_decision(tmp_path: Path) -> None:
    """``make run``, and every command behind it in its order."""
    said: dict[str, str] = {}
    _, *started = shlex.split(recipe("run"))
    with background(tmp_path, *started, "--port", "0") as process:
        line_with(process, "API token")
        for line in block("README.md", "tes positions").splitlines():
            _, *words = shlex.split(line, comments=True)
            if "--follow" in words:
                with background(tmp_path, *words) as following:
                    said["events"] = line_with(following, "TradeProtected")
                    following.send_signal(signal.SIGINT)
                    assert following.wait(PATIENCE_S) == 130
            else:
                ended = tes(tmp_path, *words)
                assert ended.returncode == 0, (line, ended.stderr)
                said[" ".join(words[:2])] = ended.stdout
        assert json.loads(tes(tmp_path, "positions", "--json").stdout)["items"] == []
    assert "nothing is sent" in said["submit --dry-run"]
    assert len(re.findall(PROTECTED, said["submit examples/decision.json"])) == 2
    for list_name in ("positions", "trades"):
        assert {"BTCUSDT", "ETHUSDT"} <= set(re.findall(r"[A-Z]+USDT", said[list_name]))
    assert said["close --all"].count("closed") >= 2
    assert "news at eight" in said["halt --reason"]


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    running = await start_venue(VenueConfig(seed=5, accounts=[AccountSpec("default", Decimal(100_000))]))
    yield running
    await running.stop()


@pytest.mark.long
@pytest.mark.parametrize("money", ["testnet", "live"])
async def test_going_live_is_as_it_is_told(venue: RunningVenue, money: str, tmp_path: Path) -> None:
    """On the testnet as it stands; with real money, what the step after it changes. The exchange is a simulated one."""
    keys, key = venue.accounts[0], tmp_path / "aster-key"
    WATCH.except_file(key)
    key.touch(mode=0o600)
    key.write_text(keys.private_key, encoding="utf-8")
    placeholders = iter((keys.user, keys.signer))
    script = re.sub("0x…", lambda _: next(placeholders), block("README.md", "export TES_ASTER_USER"))
    script = script.replace("/run/secrets/aster-key", str(key)).replace("--testnet", f"--{money}")
    assert script.count(f"tes serve --{money}\n") == 1
    place = {name: text for name, text in account_at(venue).items() if "URL" in name or "CHAIN" in name}
    given = environment(**place, TES_PORT=str(free_port()), PATH=f"{Path(TES).parent}:/usr/bin:/bin")
    if money == "live":
        given |= {"TES_API_TOKEN": "a-token-of-your-own-0123456789-0123"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script.replace("tes serve", "exec tes serve")),
        cwd=tmp_path,
        env=given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        shown = await asyncio.wait_for(process.stdout.readuntil(b"API token"), PATIENCE_S)
        assert re.search(rf"OK +settings +venue {money}", shown.decode())
        assert re.search(r"OK +agent default", shown.decode())
        own = {"TES_PORT": given["TES_PORT"], "TES_API_TOKEN": given.get("TES_API_TOKEN", "")}
        ended = await asyncio.to_thread(lambda: tes(tmp_path, "submit", str(EXAMPLE), **own))
        assert ended.returncode == 0, ended.stderr
        assert len(re.findall(PROTECTED, ended.stdout)) == 2
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


@pytest.mark.long
def test_the_packages_own_page_is_true(tmp_path: Path) -> None:
    serving, helping = block("backend/README.md", "tes serve").splitlines()
    with background(tmp_path, *shlex.split(serving, comments=True)[1:], TES_PORT="0") as process:
        line_with(process, "API token")
    shown = tes(tmp_path, *shlex.split(helping, comments=True)[1:])
    assert shown.returncode == 0
    assert "submit" in shown.stdout


# --- containers -------------------------------------------------------------------------------------------------------


class Compose:
    """What compose would be told by a script, each command as its words."""

    def __init__(self, folder: Path, script: str) -> None:
        stand_in = 'docker() { printf "%q " "$@"; echo; }; git() { [ "$1" = pull ]; }; day=2026-01-31;'
        said = subprocess.run(
            ["bash", "-euc", f"{stand_in}\n{script}"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        self.words = [shlex.split(line) for line in said.stdout.splitlines()]

    def commands(self) -> Iterator[tuple[str, str | None, list[str]]]:
        """Each subcommand, the service it is about, and what follows."""
        for program, *words in self.words:
            if program != "compose":
                assert (program, words[0]) == ("image", "tag")
                continue
            subcommand, *rest = words
            while rest[0].startswith("--"):
                if rest.pop(0) == "--entrypoint":
                    rest.insert(1, f"--entrypoint={rest.pop(0)}")
            service, *behind = rest
            yield subcommand, service.partition(":")[0], behind


@pytest.mark.parametrize(
    "script",
    [
        block("docs/operations.md", "install -d -m 700 secrets"),
        block("docs/operations.md", "export COMPOSE_PROFILES=live"),
        block("docs/operations.md", "docker compose stop live"),
    ],
    ids=["set-up", "upgrade", "back"],
)
def test_what_containers_are_told_fits_compose_file_and_command_line(script: str, tmp_path: Path) -> None:
    seen = set()
    for subcommand, service, behind in Compose(tmp_path, script).commands():
        assert service in COMPOSE["services"]
        seen.add(subcommand)
        if subcommand == "exec":
            assert behind.pop(0) == "tes"
        if subcommand in ("exec", "run") and not behind[0].startswith("--entrypoint"):
            parse(behind)
    assert seen <= {"up", "exec", "run", "stop", "build", "cp"}
    assert seen >= {"up", "exec"}


def test_the_secret_of_a_container_is_in_a_closed_folder_and_open_to_its_user(tmp_path: Path) -> None:
    Compose(tmp_path, block("docs/operations.md", "install -d -m 700 secrets"))
    secret = tmp_path / "secrets" / "api_token"
    assert (secret.parent.stat().st_mode & 0o777, secret.stat().st_mode & 0o777) == (0o700, 0o444)
    assert re.fullmatch(r"[0-9a-f]{48}\n", secret.read_text(encoding="utf-8"))


def test_the_way_back_of_a_container_puts_the_copy_in_the_databases_place(tmp_path: Path) -> None:
    back = Compose(tmp_path, block("docs/operations.md", "docker compose stop live"))
    (_, script) = next(behind[0:3:2] for _, _, behind in back.commands() if behind[:1] == ["--entrypoint=sh"])
    (tmp_path / "data").mkdir()
    for name in ("tes.db", "tes.db-wal", "before-2026-01-31.db"):
        (tmp_path / "data" / name).write_text(name, encoding="utf-8")
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
    assert (tmp_path / "data" / "tes.db").read_text(encoding="utf-8") == "before-2026-01-31.db"
    assert not (tmp_path / "data" / "tes.db-wal").exists()
    assert sorted(path.name for path in (tmp_path / "data" / "after-2026-01-31").iterdir()) == ["tes.db", "tes.db-wal"]


# --- metrics and logs -------------------------------------------------------------------------------------------------


def test_prometheus_is_told_of_our_rules_and_our_port() -> None:
    told = yaml.safe_load(block("docs/metrics.md", "# prometheus.yml"))
    (rules,) = told["rule_files"]
    assert (ROOT / "deploy" / rules).exists()
    (job,) = told["scrape_configs"]
    assert f'job="{job["job_name"]}"' in (ROOT / "deploy" / rules).read_text(encoding="utf-8")
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"{Settings().host}:{Settings().port}"
    assert "credentials_file" in job["authorization"]


def test_a_proxy_is_told_to_say_for_whom_it_asks() -> None:
    """What tells a stranger behind a proxy from a program on this machine, and what the event stream needs."""
    settings = block("docs/operations.md", "location / {")
    assert f"proxy_pass http://{Settings().host}:{Settings().port};" in settings
    for header in (
        "Host $host",
        "X-Forwarded-For $remote_addr",
        "Upgrade $http_upgrade",
        "Connection $http_connection",
    ):
        assert f"proxy_set_header {header};" in settings
    assert f"reverse_proxy {Settings().host}:{Settings().port}\n" in block("docs/operations.md", "tes.example.org {")


@pytest.mark.long
def test_a_line_of_the_log_is_as_shown(tmp_path: Path) -> None:
    shown = json.loads(block("docs/metrics.md", '{"seq"'))
    ended = tes(
        *(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--once"), TES_LOG_FORMAT="json", TES_LOG_LEVEL="INFO"
    )
    lines = [json.loads(line) for line in (ended.stdout + ended.stderr).splitlines() if line.startswith("{")]
    real = next(line for line in lines if line["event"] == shown["event"] and line["role"] == shown["role"])
    assert shown.keys() <= real.keys()
    for name, value in shown.items():
        assert type(real[name]) is type(value), name
    assert real["client_order_id"] == f"tes.{real['trade_id']}.e1"
    assert shown["client_order_id"] == f"tes.{shown['trade_id']}.e1"
    assert len(real["time"]) == len(shown["time"]) + 3, "the real one has microseconds"


def test_help_of_the_whole_command_line_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined] — it is a group
        assert re.search(rf"\b{name}\b", shown), name
