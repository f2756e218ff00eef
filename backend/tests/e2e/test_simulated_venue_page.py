"""The page for bot authors: every command on it is run, as it stands, in its order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.documents import blocks
from support.patience import PATIENCE_S
from support.serving import LAUNCH

pytestmark = pytest.mark.long


def script() -> str:
    """The page's blocks as one shell script; only the port is another, since 9100 may be taken here."""
    parts = ["set -eu", "trap 'kill $(jobs -p)' EXIT"]
    for number, one in enumerate(blocks("docs/simulated-venue.md")):
        if one.language == "python":
            parts.append(f"cat > bot{number}.py <<'END_OF_BLOCK'\n{one.text}END_OF_BLOCK\npython bot{number}.py")
        else:
            parts.append(one.text.replace("tes sim ", "tes sim --port 0 "))
        parts.append(f"echo; echo == block {number} done")
    return "\n".join(parts)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl, which is not on this machine")
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script()],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = re.split(r"== block \d+ done\n", done.stdout)
    assert len(blocks) == 6
    assert re.search(r"500 candles; bought 0\.01 at 9[56]\d{3}\.\d", blocks[1])
    assert "position long 0.01 with 10.0 x" in blocks[1]
    assert re.search(r"USDT 99\d\d\.\d{8}", blocks[3])
    ledger = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    story = [
        (row["side"], row["type"], row["origType"], row["status"]) for row in ledger["accounts"]["default"]["orders"]
    ]
    assert story == [
        ("BUY", "MARKET", "MARKET", "FILLED"),
        ("SELL", "MARKET", "STOP_MARKET", "FILLED"),
        ("BUY", "MARKET", "MARKET", "FILLED"),
        ("SELL", "MARKET", "MARKET", "FILLED"),
    ]


def test_the_help_names_each_door_of_the_control_api() -> None:
    """What the venue serves under /sim/ and what its help tells are the same."""
    from aster_sim.http.control import Control

    served = {path for _, path in Control(None, None)._routes}
    shown = subprocess.run(
        [sys.executable, "-c", LAUNCH, "sim", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    assert {path for path in served if path not in shown} == set()
