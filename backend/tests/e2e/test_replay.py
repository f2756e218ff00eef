"""Recorded candles through the venue's and the service's own processes: both records end equal, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.serving import LAUNCH

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
CANDLES = [DATA / f"binance_um_{asset}_1m_20250507_20250514.csv" for asset in ("BTCUSDT", "ETHUSDT")]
EXCHANGE_INFO = DATA / "aster_exchangeInfo_v3_official_demo.json"
TIMEOUT_S = 90

pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in (*CANDLES, EXCHANGE_INFO)),
    reason="the recorded candles are not beside this clone (../shared/data)",
)


def replay(directory: Path, bars: int, *arguments: str) -> dict[str, Any]:
    """Run ``tes replay`` on the first bars, keeping all in ``directory``; its report, which must be satisfied."""
    directory.mkdir()
    files = []
    for path in CANDLES:
        short = directory / path.name
        short.write_text("".join(path.read_text().splitlines(keepends=True)[: bars + 1]))
        files += ["--candles", str(short)]
    fixed = ["--exchange-info", str(EXCHANGE_INFO), "--seed", "7", "--keep", str(directory / "kept"), "--json"]
    command = [sys.executable, "-c", LAUNCH, "replay", *files, *fixed, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_half_a_day_of_candles_ends_with_equal_records(tmp_path: Path) -> None:
    report = replay(tmp_path / "run", 720, "--decisions", "100")
    assert report["is_good"]
    assert report["findings"] == []
    assert report["venue"] == report["record"]
    assert (report["candles"], report["decisions"], report["refused"]) == (720, 100, {})
    for counts in report["assets"].values():
        assert counts["protected"] == counts["entries"] == sum(counts["exits"].values()) > 5
        assert counts["exits"].keys() >= {"take_profit", "stop_loss", "decision"}
    log = (tmp_path / "run" / "kept" / "serve.log").read_text(encoding="utf-8")
    assert {json.loads(line)["level"] for line in log.splitlines() if line.startswith("{")} == {"info"}


def test_the_same_seed_gives_the_same_trades(tmp_path: Path) -> None:
    first, second = (replay(tmp_path / name, 300, "--days", "0.1", "--decisions", "60") for name in ("first", "second"))
    assert first["assets"] == second["assets"]
    assert first["venue"] == second["venue"]
    assert first["candles"] == second["candles"] == 144
    assert first["venue"]["fills"] > 5
