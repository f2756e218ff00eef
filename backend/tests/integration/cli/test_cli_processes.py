"""``tes`` as a person and a script meet it: real processes, exit codes, and messages that say what to do."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db.migrate import HEAD
from support.commands import EXAMPLE, background, line_with, tes
from support.patience import PATIENCE_S
from support.postgres import MIGRATED, PostgresServer

COMMANDS = (
    *("serve", "run", "sim", "submit", "close", "halt", "resume", "reconcile"),
    *("trades", "orders", "positions", "decisions", "events", "config", "db", "ready"),
)
HEAVY = ("aiohttp", "alembic", "apsw", "fastapi", "pydantic", "sqlalchemy", "uvicorn")


def takes_decisions(process: subprocess.Popen[str], folder: Path, **environ: str) -> None:
    """Wait until a service that was just started has had its first look at the exchange."""
    line_with(process, "API token")
    assert tes(folder, "ready", "--wait", str(PATIENCE_S), **environ).returncode == 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running paper service."""
    folder = tmp_path_factory.mktemp("service")
    with background(folder, "serve", "--paper", "--port", "0", TES_RISK_COOLDOWN_SECONDS="0") as process:
        takes_decisions(process, folder)
        yield folder
    assert process.returncode == 0
    assert not (folder / "data" / "tes.db.service.json").exists()


# --- the sample -----------------------------------------------------------------------------------------------------


def test_run_once_shows_each_step_and_both_trades_protected(tmp_path: Path) -> None:
    ended = tes(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--once")
    assert ended.returncode == 0, ended.stderr
    for word in ("DecisionReceived", "OrderPlaced", "TradeProtected", "DecisionCompleted", "executed"):
        assert word in ended.stdout
    assert len(re.findall(r"(?:BTC|ETH)USDT +(?:buy|sell) +protected", ended.stdout)) == 2
    assert list(tmp_path.iterdir()) == []


def test_run_once_fails_when_the_sample_is_not_protected(tmp_path: Path) -> None:
    sample = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    sample["decisions"][0]["sl_price"] = 10**6
    (tmp_path / "sample.json").write_text(json.dumps(sample), encoding="utf-8")
    ended = tes(tmp_path, "run", "--paper", "--submit", "sample.json", "--once")
    assert ended.returncode == 1
    assert "stop_loss_invalid" in ended.stdout
    assert "not protected: BTCUSDT" in ended.stderr


def test_run_serves_until_ctrl_c_and_shows_where(tmp_path: Path) -> None:
    with background(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
        assert re.search(r"http://127\.0\.0\.1:\d+/#token=[0-9a-f]+", line_with(process, "Dashboard"))
        token = line_with(process, "API token").split()[-1]
        trades = json.loads(tes(tmp_path, "trades", "--json").stdout)["items"]
        assert {trade["status"] for trade in trades} == {"open"}
        session = tmp_path / "data" / "tes.db.service.json"
        assert json.loads(session.read_text(encoding="utf-8"))["token"] == token
        assert stat.S_IMODE(session.stat().st_mode) == 0o600
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.long
def test_the_sample_runs_again_where_the_one_before_is_still_open(tmp_path: Path) -> None:
    """It closes its own kind alone: what was opened otherwise stays, on paper as well."""
    other = json.dumps({"decisions": [{"asset": "SOLUSDT", "action": "buy", "allocation_usd": 200}]})
    with background(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
        line_with(process, "API token")
        assert tes(tmp_path, "submit", "-", given=other).returncode == 0
    with background(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
        line_with(process, "API token")
        trades = json.loads(tes(tmp_path, "trades", "--json").stdout)["items"]
    found = sorted((trade["asset"], trade["status"]) for trade in trades)
    assert found == [
        *(("BTCUSDT", "closed"), ("BTCUSDT", "open"), ("ETHUSDT", "closed"), ("ETHUSDT", "open")),
        ("SOLUSDT", "open"),
    ]


def test_a_restart_finds_positions_and_protection_again(tmp_path: Path) -> None:
    with background(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
        line_with(process, "API token")
    with background(tmp_path, "serve", "--port", "0") as process:
        takes_decisions(process, tmp_path)
        assert "no differences" in tes(tmp_path, "reconcile").stdout
        positions = json.loads(tes(tmp_path, "positions", "--json").stdout)["items"]
        assert {(item["asset"], item["side"]) for item in positions} == {("BTCUSDT", "long"), ("ETHUSDT", "short")}
        assert all(item["trade_id"] for item in positions)


# --- commands on a running service ----------------------------------------------------------------------------------


def submitted(folder: Path, **fields: Any) -> subprocess.CompletedProcess[str]:
    """A decision on BTCUSDT from standard input."""
    one = {"asset": "BTCUSDT", "action": "buy", "allocation_usd": 500, "sl_price": 90000, "tp_price": 110000, **fields}
    return tes(folder, "submit", "-", given=json.dumps({"decisions": [one]}))


def test_submit_follows_a_decision_to_its_end(service: Path) -> None:
    ended = submitted(service)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"BTCUSDT +buy +protected", ended.stdout)
    assert tes(service, "close", "BTCUSDT").returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_cannot_show_a_character_is_no_failure(service: Path, encoding: str) -> None:
    """The trade was executed, and the command ended with a traceback and code 1: whoever sends again trades twice."""
    body = {"decisions": [{"asset": "ETHUSDT", "action": "buy", "allocation_usd": 300, "leverage": 5}]}
    ended = tes(service, "submit", "-", given=json.dumps(body), PYTHONIOENCODING=encoding)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert re.search(r"ETHUSDT[ |]+buy[ |]+filled", ended.stdout)
    assert tes(service, "close", "ETHUSDT", PYTHONIOENCODING=encoding).returncode == 0


def test_another_engines_shape_is_read_where_it_is_named(service: Path) -> None:
    waits = json.dumps([{"symbol": "ETHUSDT", "action": "wait", "leverage": 0, "confidence": 40}])
    refused = tes(service, "submit", "-", given=waits)
    assert (refused.returncode, "--format nofx" in refused.stderr) == (1, True)
    assert tes(service, "submit", "-", "--format", "nofx", given=waits).returncode == 0
    assert tes(service, "submit", "-", "--format", "nofx", "--dry-run", given=waits).returncode == 0


def test_submit_as_json_prints_the_result_alone(service: Path) -> None:
    body = {"decision_id": "as-json", "decisions": [{"asset": "BTCUSDT", "action": "hold"}]}
    ended = tes(service, "submit", "-", "--json", given=json.dumps(body))
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["results"][0]["status"] == "skipped"


def test_a_refused_decision_exits_1_with_its_reason(service: Path) -> None:
    ended = submitted(service, sl_price=10**6)
    assert ended.returncode == 1
    assert "stop_loss_invalid" in ended.stderr


def test_a_dry_run_shows_every_check_within_80_columns_and_sends_nothing(service: Path) -> None:
    wish = {"asset": "BNBUSDT", "action": "buy", "allocation_usd": 1000, "leverage": 10}
    body = json.dumps({"decision_id": "only-a-try", "decisions": [wish | {"tp_price": 720, "sl_price": 580}]})
    ended = tes(service, "submit", "-", "--dry-run", given=body, COLUMNS="80")
    assert ended.returncode == 0, ended.stderr
    for words in (
        "nothing is sent",
        "BNBUSDT buy: would buy",
        "stop loss 580",
        "loses",
        "margin",
        "price deviation",
    ):
        assert words in ended.stdout
    assert max(len(line) for line in ended.stdout.splitlines()) <= 80
    shown = tes(service, "submit", "-", "--dry-run", "--json", given=body)
    assert json.loads(shown.stdout)["assets"][0]["verdict"] == "ok"
    assert "only-a-try" not in tes(service, "decisions", "--json").stdout
    refused = tes(service, "submit", "-", "--dry-run", given=body.replace("580", "5800"))
    assert refused.returncode == 1
    assert "not everything would be done: BNBUSDT; nothing was sent" in refused.stderr


def test_a_misspelt_field_exits_1_and_is_named(service: Path) -> None:
    ended = submitted(service, sl_prise=1)
    assert ended.returncode == 1
    assert "decisions[0].sl_prise" in ended.stderr


def test_an_asset_is_known_in_small_letters_too(service: Path) -> None:
    assert submitted(service, asset="SOLUSDT", sl_price=100, tp_price=250).returncode == 0
    assert "SOLUSDT" in tes(service, "trades", "--asset", "solusdt").stdout
    assert tes(service, "close", "solusdt").returncode == 0
    again = tes(service, "close", "solusdt")
    assert again.returncode == 1
    assert "not closed: SOLUSDT" in again.stderr


def test_a_place_beyond_the_log_is_named(service: Path) -> None:
    ended = tes(service, "events", "--after", "999999")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "a copy was restored" in ended.stderr
    assert "after_unknown" in ended.stderr


def test_what_is_no_address_is_named(tmp_path: Path) -> None:
    ended = tes(tmp_path, "trades", "--url", "127.0.0.1:8000")
    assert ended.returncode == 2
    assert "'127.0.0.1:8000' is no address of a service: give one such as http://" in ended.stderr


def test_tables_and_json_show_the_same_records(service: Path) -> None:
    assert submitted(service).returncode == 0
    for command in ("trades", "orders", "positions", "decisions"):
        table = tes(service, command)
        assert table.returncode == 0
        assert "BTCUSDT" in table.stdout
        assert max(map(len, table.stdout.splitlines())) <= 100
    (trade,) = json.loads(tes(service, "trades", "--open", "--asset", "BTCUSDT", "--json").stdout)["items"]
    assert trade["status"] == "open"
    closed = tes(service, "close", "--all", "--json")
    assert closed.returncode == 0
    assert [item["status"] for item in json.loads(closed.stdout)["items"]] == ["closed"]
    assert "no open position" in tes(service, "positions").stdout


def test_closing_nothing_is_refused_with_a_reason(service: Path) -> None:
    ended = tes(service, "close", "SOLUSDT")
    assert ended.returncode == 1
    assert "position" in ended.stdout


def test_halt_says_so_and_resume_accepts_entries_again(service: Path) -> None:
    assert "halted, lunch" in tes(service, "halt", "--reason", "lunch").stdout
    assert "HALTED: default" in tes(service, "ready").stdout
    assert "halted" in submitted(service).stderr
    assert "accepted" in tes(service, "resume").stdout


def test_events_are_followed_and_listed(service: Path) -> None:
    with background(service, "events", "--follow", "--json", "--after", "0") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["seq"] for _ in range(2)] == [1, 2]
    listed = json.loads(tes(service, "events", "--after", "0", "--limit", "2", "--json").stdout)
    assert [event["seq"] for event in listed["items"]] == [1, 2]
    assert "ReconciliationCompleted" in tes(service, "events", "--after", "0").stdout


def test_a_wrong_token_exits_1_and_says_where_the_right_one_is(service: Path) -> None:
    ended = tes(service, "trades", "--token", "wrong")
    assert ended.returncode == 1
    assert "TES_TOKEN" in ended.stderr


def test_the_database_is_copied_while_the_service_runs(service: Path) -> None:
    ended = tes(service, "db", "backup", "copy.db")
    assert ended.returncode == 0, ended.stderr
    assert (service / "copy.db").stat().st_size > 0
    told = json.loads(tes(service, "db", "backup", "another.db", "--json").stdout)
    assert told == {"file": "another.db", "bytes": (service / "another.db").stat().st_size}
    again = tes(service, "db", "backup", "copy.db")
    assert again.returncode == 2
    assert "exists already" in again.stderr


# --- what can't work is said in one sentence ------------------------------------------------------------------------


def one_sentence(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed with ``code`` and a single line that names things; nothing else came out."""
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith("tes: ")
    assert ended.stderr.count("\n") == 1
    for word in words:
        assert word in ended.stderr


def test_no_service_exits_3_and_says_how_to_start_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    one_sentence(tes(tmp_path, "trades", TES_URL=f"http://127.0.0.1:{port}"), 3, "'tes serve'", "--url")


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        one_sentence(tes(tmp_path, "serve", "--port", port), 1, port, "--port")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "tes.db").write_text("this is no database", encoding="utf-8")
    one_sentence(tes(tmp_path, "serve", "--port", "0", TES_DATABASE_URL="sqlite:///tes.db"), 1, "tes.db")
    assert (tmp_path / "tes.db").read_text(encoding="utf-8") == "this is no database"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"TES_RISK_MAX_LEVERAGE": "30"}, ["TES_RISK_MAX_LEVERAGE", "25"]),
        ({"TES_RISK_MAX_LEVRAGE": "3"}, ["TES_RISK_MAX_LEVRAGE", "TES_RISK_MAX_LEVERAGE"]),
        ({"TES_VENUE": "testnet"}, ["TES_ASTER_PRIVATE_KEY"]),
        ({"TES_VENUE": "live"}, ["TES_API_TOKEN"]),
        ({"TES_HOST": "0.0.0.0"}, ["TES_HOST", "TES_API_TOKEN"]),
        ({"TES_DATABASE_URL": "mysql://x/y"}, ["TES_DATABASE_URL", "sqlite"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_bad_configuration_exits_2(tmp_path: Path, extra: dict[str, str], words: list[str]) -> None:
    one_sentence(tes(tmp_path, "serve", TES_PORT="0", **extra), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "nowhere.json"], ["nowhere.json"]),
        (["close"], ["--all"]),
        (["close", "BTCUSDT", "--all"], ["--all"]),
        (["serve", "--paper", "--live"], ["--paper", "--live"]),
        (["serve", "--config", "nowhere.toml"], ["nowhere.toml"]),
        (["sim", "--accounts", "nowhere.json"], ["nowhere.json"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_exits_2(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    one_sentence(tes(tmp_path, *arguments), 2, *words)


# --- the rest -------------------------------------------------------------------------------------------------------


def test_config_masks_every_secret(tmp_path: Path) -> None:
    secret = "0x" + "7" * 64
    ended = tes(tmp_path, "config", "--json", TES_ASTER_PRIVATE_KEY=secret, TES_API_TOKEN="hidden")
    assert ended.returncode == 0
    assert secret not in ended.stdout
    assert "hidden" not in ended.stdout
    assert json.loads(ended.stdout)["risk_max_leverage"] == 25
    assert "TES_RISK_MAX_LEVERAGE" in tes(tmp_path, "config").stdout


def test_a_secret_that_others_can_read_is_told_at_the_start_and_by_config(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-token-in-a-file", encoding="utf-8")
    secret.chmod(0o644)
    shown = tes(tmp_path, "config", "--json", TES_API_TOKEN_FILE=str(secret))
    assert json.loads(shown.stdout)["port"] == 8000
    started = tes(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--once", TES_API_TOKEN_FILE=str(secret))
    assert (shown.returncode, started.returncode) == (0, 0)
    for said in (shown.stderr, started.stderr):
        assert f"chmod 600 {secret}" in said.replace("\n", "")
        assert "a-token-in-a-file" not in said


def test_a_secret_that_nobody_can_read_stops_the_start(tmp_path: Path) -> None:
    """A missing file stands for one that can't be read: the tests may run as root, which reads everything."""
    one_sentence(tes(tmp_path, "serve", TES_API_TOKEN_FILE="nowhere"), 2, "TES_API_TOKEN_FILE", "nowhere")


def test_ready_waits_for_a_service_that_starts_and_needs_no_token(tmp_path: Path) -> None:
    one_sentence(tes(tmp_path, "ready", TES_PORT="1"), 3, "can't be reached")
    chosen = {"TES_API_TOKEN": "chosen-by-the-operator"}
    with background(tmp_path, "serve", "--paper", "--port", "0", **chosen):
        assert tes(tmp_path, "ready", "--wait", "30", TES_PORT="1").stdout == "ready: default\n"
        document = json.loads(tes(tmp_path, "ready", "--json", TES_TOKEN="a-wrong-one").stdout)
    assert document == {"status": "ready", "accounts": ["default"], "halted": []}


def test_ready_says_why_a_service_is_not(tmp_path: Path) -> None:
    """One whose exchange does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        keys = {"TES_ASTER_AUTH": "v1", "TES_ASTER_API_KEY": "k" * 32, "TES_ASTER_API_SECRET": "s" * 32}
        there = {
            "TES_VENUE": "testnet",
            "TES_ASTER_REST_URL": url,
            "TES_ASTER_WS_URL": url.replace("http", "ws"),
            **keys,
        }
        with background(tmp_path, "serve", "--port", "0", **there) as process:
            line_with(process, "API token")
            one_sentence(tes(tmp_path, "ready"), 1, "default:", "not_ready")


def test_db_upgrade_creates_the_database(tmp_path: Path) -> None:
    assert tes(tmp_path, "db", "upgrade").returncode == 0
    assert stat.S_IMODE((tmp_path / "data" / "tes.db").stat().st_mode) == 0o600
    assert json.loads(tes(tmp_path, "db", "upgrade", "--json").stdout) == {"version": HEAD}


@pytest.mark.long
def test_db_commands_work_on_a_server_and_show_no_password(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database().replace("postgres@", "postgres:hidden@")
    for _ in range(2):
        upgraded = tes(tmp_path, "db", "upgrade", TES_DATABASE_URL=url.replace("postgresql:", "postgresql+asyncpg:"))
        assert upgraded.returncode == 0, upgraded.stderr
    copied = tes(tmp_path, "db", "backup", "copy.sql", TES_DATABASE_URL=url)
    assert copied.returncode == 0, copied.stderr
    assert "CREATE TABLE trades" in (tmp_path / "copy.sql").read_text(encoding="utf-8")
    gone = tes(tmp_path, "db", "upgrade", TES_DATABASE_URL="postgresql://tes:hidden@127.0.0.1:1/tes")
    one_sentence(gone, 1, "127.0.0.1:1/tes", "check that the server runs")
    assert "hidden" not in upgraded.stdout + copied.stdout + gone.stderr


@pytest.mark.long
def test_run_leaves_its_note_and_its_venue_in_the_data_folder_when_the_database_is_on_a_server(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.new_database(MIGRATED)
    submit = ("run", "--paper", "--submit", str(EXAMPLE), "--port", "0")
    with background(tmp_path, *submit, TES_DATABASE_URL=url) as process:
        line_with(process, "API token")
        trades = json.loads(tes(tmp_path, "trades", "--json", TES_DATABASE_URL=url).stdout)["items"]
        assert {trade["status"] for trade in trades} == {"open"}
    with background(tmp_path, "serve", "--port", "0", TES_DATABASE_URL=url) as process:
        takes_decisions(process, tmp_path, TES_DATABASE_URL=url)
        assert "no differences" in tes(tmp_path, "reconcile", TES_DATABASE_URL=url).stdout


def test_sim_prints_addresses_and_credentials_as_one_line(tmp_path: Path) -> None:
    with background(tmp_path, "sim", "--port", "0", "--json", "--seed", "7") as process:
        document = json.loads(line_with(process, "{"))
        assert set(document) == {"rest_url", "ws_url", "control_url", "chain_id", "accounts"}
        (account,) = document["accounts"]
        assert set(account) == {"name", "user", "signer", "private_key", "api_key", "api_secret", "balance"}
        assert tes(tmp_path, "sim", "--port", document["rest_url"].rsplit(":", 1)[1]).returncode == 1
        # a client that meets something else than the service says so
        one_sentence(tes(tmp_path, "trades", "--url", document["rest_url"]), 1, "404")
    assert process.returncode == 0


def test_the_service_trades_on_a_sim_of_its_own_like_on_any_exchange(tmp_path: Path) -> None:
    with background(tmp_path, "sim", "--port", "0", "--json") as venue:
        there = json.loads(line_with(venue, "{"))
        keys = there["accounts"][0]
        settings = {
            "TES_ASTER_REST_URL": there["rest_url"],
            "TES_ASTER_WS_URL": there["ws_url"],
            "TES_ASTER_CHAIN_ID": str(there["chain_id"]),
            "TES_ASTER_USER": keys["user"],
            "TES_ASTER_SIGNER": keys["signer"],
            "TES_ASTER_PRIVATE_KEY": keys["private_key"],
        }
        ended = tes(tmp_path, "run", "--testnet", "--submit", str(EXAMPLE), "--once", **settings)
    assert ended.returncode == 0, ended.stderr
    assert "paper" not in ended.stdout


def test_help_and_version_are_quick_and_complete(tmp_path: Path) -> None:
    shown = tes(tmp_path, "--help").stdout
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", shown)
    assert re.match(r"tes \d+\.\d+", tes(tmp_path, "--version").stdout)


def test_starting_imports_nothing_heavy() -> None:
    code = f"import sys, app.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
