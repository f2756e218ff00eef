"""``tes`` on a terminal of 80 columns: tables that fit, tables that stay, and the shell's tab."""

from __future__ import annotations

import itertools
import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from app.cli.main import app
from support.commands import EXAMPLE, PATIENCE_S, background, environment, line_with, tes
from support.warm import TES


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a paper service with two positions."""
    folder = tmp_path_factory.mktemp("trading")
    with background(folder, "run", "--paper", "--submit", str(EXAMPLE), "--port", "0") as process:
        line_with(process, "API token")
        yield folder


@pytest.mark.parametrize("command", ["trades", "orders", "positions", "decisions", "events", "config", "reconcile"])
def test_everything_fits_80_columns(trading: Path, command: str) -> None:
    shown = tes(trading, command, COLUMNS="80")
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "…" not in shown.stdout or command == "decisions", "only a decision's own id gives way"


def test_a_halts_reason_does_not_act_on_the_terminal(trading: Path) -> None:
    """Whoever may halt chooses it, and the operator's terminal shows it."""
    said = [tes(trading, "halt", "--reason", "\x1b[2J\x9b31m[red]all is well\r")]
    said += [tes(trading, *command.split()) for command in ("events --limit 500", "ready", "ready --json")]
    tes(trading, "resume")
    for one in said:
        assert not set("\x1b\x9b\r") & set(one.stdout + one.stderr)
    assert "[red]all is well" in said[0].stdout


HELPED = [
    *("", "serve", "run", "ready", "sim", "submit", "close", "halt", "resume", "reconcile", "trades", "orders"),
    *("positions", "decisions", "events", "config", "doctor", "token", "replay", "alert", "alert test", "db"),
    *("db upgrade", "db backup"),
]


@pytest.mark.parametrize("command", HELPED)
def test_help_fits_80_columns_fills_its_lines_and_gives_flags_no_value(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80"}).output
    lines = [line.strip() for line in shown.splitlines()]
    assert max(map(len, shown.splitlines())) <= 80
    assert "<bool>" not in shown
    prose = lines[: next(at for at, line in enumerate(lines) if line.startswith("╭"))]
    for line, below in itertools.pairwise(prose):
        assert not below or not line or len(line) + 1 + len(below.split()[0]) > 78, f"{line!r} could hold more"


def test_every_command_is_helped() -> None:
    known: dict[str, Any] = {"": get_command(app)}
    for name, command in known[""].commands.items():
        known[name] = command
        known |= {f"{name} {below}": one for below, one in getattr(command, "commands", {}).items()}
    assert set(known) == set(HELPED)


@contextmanager
def on_a_terminal(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command on a pseudo terminal, with the end that a person looks at."""
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [TES, *arguments],
        cwd=folder,
        env=environment(COLUMNS="80", TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield process, person
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(person)


def seen_until(person: int, *words: str) -> str:
    """What the terminal has shown when all of ``words`` have come."""
    seen = b""
    while not all(word.encode() in seen for word in words):
        ready, _, _ = select.select([person], [], [], PATIENCE_S)
        assert ready, seen.decode(errors="replace")
        seen += os.read(person, 4096)
    return seen.decode(errors="replace")


def test_a_table_is_followed_on_a_terminal_until_ctrl_c(trading: Path) -> None:
    with on_a_terminal(trading, "positions", "--follow") as (process, person):
        seen_until(person, "BTCUSDT", "ETHUSDT", "Ctrl-C ends")
        seen_until(person, "BTCUSDT", "Ctrl-C ends")  # again: it is kept up to date
        process.send_signal(signal.SIGINT)
        seen_until(person, "\x1b[?25h")  # the cursor is back
        assert process.wait(PATIENCE_S) == 130


def test_a_followed_list_as_json_is_a_line_for_each_change(trading: Path) -> None:
    with background(trading, "trades", "--open", "--follow", "--json") as process:
        assert process.stdout is not None
        assert len(json.loads(process.stdout.readline())["items"]) == 2
        assert tes(trading, "close", "ETHUSDT").returncode == 0
        while len(left := json.loads(process.stdout.readline())["items"]) > 1:
            pass
        assert [trade["asset"] for trade in left] == ["BTCUSDT"]


def completed(folder: Path, asked: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What the shell gets when the tab key was pressed."""
    return subprocess.run([TES], cwd=folder, env=asked, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "offered"), [("tes do", ["doctor"]), ("tes db ", ["upgrade", "backup"]), ("tes close B", ["BTCUSDT"])]
)
def test_tab_completes_commands_and_open_assets(trading: Path, words: str, offered: list[str]) -> None:
    asked = environment(_TES_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    ended = completed(trading, asked)
    assert ended.stdout.split() == offered


@pytest.mark.long
def test_tab_offers_nothing_where_no_service_answers(tmp_path: Path) -> None:
    asked = environment(_TES_COMPLETE="complete_bash", COMP_WORDS="tes close B", COMP_CWORD="2", TES_PORT="1")
    ended = completed(tmp_path, asked)
    assert (ended.stdout.split(), ended.stderr) == ([], "")
