"""``tes doctor`` finds what is wrong, says the fix, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue
from support.commands import EXAMPLE, background, line_with, tes
from support.serving import account_at


def findings(folder: Path, code: int, *arguments: str, **extra: str) -> dict[str, tuple[str, str]]:
    """Verdict and message by check; each that is not OK has a fix."""
    ended = tes(folder, "doctor", "--json", *arguments, **extra)
    assert ended.returncode == code, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert all(one["fix"] for one in found if one["verdict"] != "OK")
    return {one["check"]: (one["verdict"], one["message"]) for one in found}


def test_a_fresh_paper_machine_is_fit_and_stays_untouched(tmp_path: Path) -> None:
    found = findings(tmp_path, 0, TES_PORT="0")
    assert {verdict for verdict, _ in found.values()} <= {"OK", "WARN"}
    assert {"settings", "port", "database", "disk", "exchange"} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_the_findings_fit_80_columns_and_name_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = tes(tmp_path, "doctor", COLUMNS="80", TES_PORT=port)
    assert shown.returncode == 1
    assert "FAIL" in shown.stdout
    assert "Fix:" in shown.stdout
    assert "not fit to trade: port" in shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_bad_setting_and_a_bad_database_are_found(tmp_path: Path) -> None:
    assert "TES_RISK_MAX_LEVERAGE" in findings(tmp_path, 1, TES_RISK_MAX_LEVERAGE="30")["settings"][1]
    (tmp_path / "tes.db").write_text("this is no database", encoding="utf-8")
    verdict, message = findings(tmp_path, 1, TES_PORT="0", TES_DATABASE_URL="sqlite:///tes.db")["database"]
    assert (verdict, "no SQLite database" in message) == ("FAIL", True)


def test_an_up_to_date_database_that_nobody_trades_is_told(tmp_path: Path) -> None:
    assert tes(tmp_path, "db", "upgrade").returncode == 0
    found = findings(tmp_path, 0, TES_PORT="0")
    assert found["database"][0] == "OK"
    assert found["lease"] == ("OK", "nobody trades these accounts now")


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    running = await start_venue(VenueConfig(seed=5, accounts=[AccountSpec("default", Decimal(100_000))]))
    yield running
    await running.stop()


def at(venue: RunningVenue, **extra: str) -> dict[str, str]:
    """Settings of an account on a simulated exchange."""
    return {**account_at(venue), "TES_PORT": "0", **extra}


async def test_an_account_at_an_exchange_is_looked_at(venue: RunningVenue, tmp_path: Path) -> None:
    found = await asyncio.to_thread(lambda: findings(tmp_path, 0, **at(venue)))
    for check in ("exchange", "clock", "key", "agent", "mode", "positions", "leverage", "rate limit"):
        assert found[f"{check} default"][0] == "OK", check
    assert found["alerts"][0] == "WARN"


async def test_an_agent_that_the_exchange_refuses_is_found_and_its_key_is_not_shown(
    venue: RunningVenue, tmp_path: Path
) -> None:
    user = "0x" + os.urandom(20).hex()
    found = await asyncio.to_thread(lambda: findings(tmp_path, 1, **at(venue, TES_ASTER_USER=user)))
    assert found["key default"][0] == "FAIL"
    assert venue.accounts[0].private_key not in repr(found)


@pytest.mark.parametrize(
    ("days", "verdict", "code"), [(-1, "FAIL", 1), (3, "WARN", 0), (60, "OK", 0)], ids=["expired", "soon", "far"]
)
async def test_an_agent_that_expires_is_told_in_time(
    venue: RunningVenue, tmp_path: Path, days: int, verdict: str, code: int
) -> None:
    (agent,) = venue._runtime.auth.agents_of("default")
    agent.expires_ms = venue.venue.state.now_ms() + days * 86_400_000
    found = await asyncio.to_thread(lambda: findings(tmp_path, code, **at(venue)))
    assert found["agent default"][0] == verdict


async def test_a_position_held_otherwise_than_we_would_is_told(venue: RunningVenue, tmp_path: Path) -> None:
    opened = await asyncio.to_thread(
        lambda: tes(tmp_path, "run", "--testnet", "--submit", str(EXAMPLE), "--once", **at(venue))
    )
    assert opened.returncode == 0, opened.stderr
    limits = {"TES_RISK_MAX_LEVERAGE": "2", "TES_MARGIN_TYPE": "ISOLATED"}
    ended = await asyncio.to_thread(lambda: tes(tmp_path, "doctor", "--json", **at(venue, **limits)))
    told = [one for one in json.loads(ended.stdout) if one["check"] == "leverage default"]
    assert [one["verdict"] for one in told] == ["WARN"] * 4
    assert "above TES_RISK_MAX_LEVERAGE=2" in told[0]["message"]
    assert "TES_MARGIN_TYPE=ISOLATED" in told[1]["message"]


async def test_what_is_open_on_paper_is_not_taken_to_an_exchange(venue: RunningVenue, tmp_path: Path) -> None:
    def paper() -> None:
        with background(tmp_path, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
            line_with(process, "API token")

    await asyncio.to_thread(paper)
    assert "record" not in await asyncio.to_thread(lambda: findings(tmp_path, 0, TES_PORT="0"))
    found = await asyncio.to_thread(lambda: findings(tmp_path, 1, **at(venue)))
    assert found["record"][0] == "FAIL"
    assert "2 open trade(s) (BTCUSDT, ETHUSDT) of the paper venue" in found["record"][1]


async def test_two_accounts_with_one_agent_are_found(venue: RunningVenue, tmp_path: Path) -> None:
    """L3: they would collide in nonces."""
    keys = venue.accounts[0]
    config = tmp_path / "tes.toml"
    config.write_text(
        f'[accounts.second]\naster_user = "0x{"2" * 40}"\naster_signer = "{keys.signer}"\n'
        f'aster_private_key = "{keys.private_key}"\naster_rest_url = "{venue.rest_url}"\n'
        f'aster_ws_url = "{venue.ws_url}"\n',
        encoding="utf-8",
    )
    config.chmod(0o600)
    found = await asyncio.to_thread(lambda: findings(tmp_path, 1, "--config", str(config), **at(venue)))
    verdict, message = found["settings"]
    assert verdict == "FAIL"
    assert "accounts.second.aster_signer is that of account default" in message


def test_an_exchange_that_does_not_answer_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    credentials = {"TES_ASTER_AUTH": "v1", "TES_ASTER_API_KEY": "k" * 32, "TES_ASTER_API_SECRET": "s" * 32}
    found = findings(tmp_path, 1, TES_VENUE="testnet", TES_PORT="0", TES_ASTER_REST_URL=url, **credentials)
    assert found["exchange default"][0] == "FAIL"
