"""Candles through the venue's and the service's own processes: both records end equal, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE_S
from support.samples import candles
from support.serving import LAUNCH

pytestmark = pytest.mark.long

OURS_TWICE, RECORDED_ONCE = (144, 28, 2), (432, 60, 1)
CASES = [
    pytest.param(*case.values, *size, id=case.id)
    for case, size in zip(candles(), (OURS_TWICE, RECORDED_ONCE), strict=False)
]


def replay(directory: Path, files: tuple[Path, ...], bars: int, decisions: int) -> dict[str, Any]:
    """Run ``tes replay`` on the first bars, keeping all in ``directory``; its report, which must be satisfied."""
    *tables, info = files
    arguments = [part for path in tables for part in ("--candles", str(path))]
    arguments += ["--exchange-info", str(info), "--days", str(bars / 1440), "--decisions", str(decisions)]
    arguments += ["--seed", "7", "--keep", str(directory), "--json"]
    command = [sys.executable, "-c", LAUNCH, "replay", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(("files", "bars", "decisions", "runs"), CASES)
def test_candles_end_with_equal_records_and_a_seed_repeats_them(
    tmp_path: Path, files: tuple[Path, ...], bars: int, decisions: int, runs: int
) -> None:
    reports = [replay(tmp_path / str(run), files, bars, decisions) for run in range(runs)]
    for report in reports:
        assert report["is_good"]
        assert report["findings"] == []
        assert report["venue"] == report["record"] == reports[0]["venue"]
        assert report["assets"] == reports[0]["assets"]
        assert (report["candles"], report["decisions"], report["refused"]) == (bars, decisions, {})
    for counts in reports[0]["assets"].values():
        assert counts["protected"] == counts["entries"] == sum(counts["exits"].values()) > 5
        assert counts["exits"].keys() >= {"take_profit", "stop_loss", "decision"}
    log = (tmp_path / "0" / "serve.log").read_text(encoding="utf-8")
    assert {json.loads(line)["level"] for line in log.splitlines() if line.startswith("{")} == {"info"}
