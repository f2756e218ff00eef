"""Killed at any instant (scenario C1): everything acknowledged is there, and nothing half."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.postgres import MIGRATED, PostgresServer

WRITER = Path(__file__).with_name("crash_writer.py")


def acknowledged_before_kill(url: str, acknowledgements: int, delay_s: float) -> list[str]:
    """Run the writer, kill it some time after so many acknowledgements, and return all of them."""
    process = subprocess.Popen([sys.executable, str(WRITER), url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if len(lines) > acknowledgements:
            break
    killer = threading.Timer(delay_s, process.kill)
    killer.start()
    lines.extend(process.stdout)
    killer.join()
    process.wait()
    process.stdout.close()
    assert lines[0] == "ready\n"
    return [line for line in lines[1:] if line.endswith("\n")]


KILLS = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOMENTS = given(acknowledgements=st.integers(0, 300), delay_s=st.floats(0, 0.02))
ROWS = "SELECT key FROM flags"
LOG = "SELECT seq, id, trade_id FROM events ORDER BY seq"
COUNTER = "SELECT value FROM counters WHERE name = 'events'"
OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def check(lines: list[str], rows: set[str], log: list[tuple[Any, ...]], counter: Any) -> None:
    """Rows and events of each acknowledged unit are there, each unit is whole, and ``seq`` has no gap."""
    assert [row[0] for row in log] == list(range(1, len(log) + 1))
    assert counter == len(log)
    by_seq = {seq: event_id for seq, event_id, _ in log}
    for line in lines:
        key, seq = line.split()
        assert key in rows
        assert by_seq[int(seq)] == f"{key}-1"
    assert sorted(event_id for _, event_id, _ in log) == sorted(f"{key}-{n}" for key in rows for n in range(2))


@pytest.mark.long
@KILLS
@MOMENTS
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, acknowledgements: int, delay_s: float) -> None:
    """On SQLite: the file is whole as well."""
    path = tmp_path / "killed.db"
    for file in tmp_path.glob("killed.db*"):
        file.unlink()
    lines = acknowledged_before_kill(f"sqlite:///{path}", acknowledgements, delay_s)
    assert len(lines) >= acknowledgements

    with contextlib.closing(apsw.Connection(str(path))) as connection:
        rows = {row[0] for row in connection.execute(ROWS)}
        check(lines, rows, connection.execute(LOG).fetchall(), connection.execute(COUNTER).get)
        assert connection.pragma("integrity_check") == "ok"


@pytest.mark.long
@KILLS
@MOMENTS
def test_what_was_acknowledged_survives_a_kill_on_postgresql(
    postgres: PostgresServer, acknowledgements: int, delay_s: float
) -> None:
    """A group that was on its way is there whole or not at all, once the server has noticed that we are gone."""
    url = postgres.new_database(MIGRATED)
    lines = acknowledged_before_kill(url, acknowledgements, delay_s)
    assert len(lines) >= acknowledgements

    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(OTHERS).fetchall():
            time.sleep(0.01)
        rows = {row[0] for row in connection.execute(ROWS)}
        counter = connection.execute(COUNTER).fetchone()
        check(lines, rows, connection.execute(LOG).fetchall(), counter and counter[0])
