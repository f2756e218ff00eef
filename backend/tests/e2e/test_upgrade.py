"""The set-up, upgrade and way back of docs/operations.md, as they stand there: two versions, a database in between.

The commands run in the page's order in one shell. Other than on a real machine: the folders of the system lie in the
test's folder; packages come from this environment, since there may be no index; and systemd is stood in for by a
function that starts and stops what the unit names.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aster_sim.server import RunningVenue
from support.documents import ROOT, block
from support.secret_watch import WATCH
from support.serving import account_at, control, free_port, ledger

pytestmark = pytest.mark.long

PAGE = "docs/operations.md"
UNIT = (ROOT / "deploy" / "tes.service").read_text(encoding="utf-8")
PATIENCE_S = 240
MIGRATION = """
from alembic import op

revision = "9001"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE of_the_next_version (name TEXT PRIMARY KEY) STRICT")
"""


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main")
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(["git", *who, *words], cwd=folder, env=own, capture_output=True, text=True, check=True).stdout


def upstream_with_two_versions(folder: Path) -> None:
    """A repository of what the set-up needs; its second version has a newer schema. The first one is checked out."""
    for name in ("backend/pyproject.toml", "backend/README.md", "backend/LICENSE", "backend/requirements.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "backend/src", folder / "backend/src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    git(folder, "init", "--quiet")
    keep(folder, "v1.0.0")
    git(folder, "branch", "next")
    git(folder, "checkout", "--quiet", "next")
    migrations = folder / "backend/src/app/db/migrations"
    declared = (migrations / "__init__.py").read_text(encoding="utf-8")
    (head,) = re.findall(r'HEAD = "(\d+)"', declared)
    (migrations / "__init__.py").write_text(declared.replace(f'HEAD = "{head}"', 'HEAD = "9001"'), encoding="utf-8")
    (migrations / "versions/9001_next.py").write_text(MIGRATION.format(head=head), encoding="utf-8")
    project = folder / "backend/pyproject.toml"
    old = project.read_text(encoding="utf-8")
    project.write_text(re.sub(r'^version = ".*"$', 'version = "7.0.0"', old, flags=re.MULTILINE), encoding="utf-8")
    keep(folder, "v7.0.0")
    git(folder, "checkout", "--quiet", "main")


def keep(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)


def packages_of_this_environment(folder: Path) -> Path:
    """A folder that shows them, but for our own package and for pip: those are what is installed."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"_?_?(editable__)?_?trading_execution|pip\b|.*\.pth$|__pycache__$", path.name):
            (folder / path.name).symlink_to(path)
    return folder


class Machine:
    """Where the page's commands run: the places of a system under a folder, and one shell after the other."""

    def __init__(self, folder: Path) -> None:
        self.root, self.clone = folder / "root", folder / "clone"
        for place in ("opt", "etc/systemd/system", "var/lib/tes"):
            (self.root / place).mkdir(parents=True)
        packages = packages_of_this_environment(folder / "packages")
        own = {name: value for name, value in os.environ.items() if not name.startswith(("TES_", "PYTHON", "GIT_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**own, "PATH": path, "TES_PORT": str(free_port()), "PIP_NO_INDEX": "1"}
        self.state = folder / "variables"
        self.state.touch()
        self.prelude = f"""
            set -euo pipefail
            python3() {{
              command python3 "$@"
              [ "$2" != venv ] || echo {packages} > "$(echo "$3"/lib/python3*/site-packages)/packages.pth"
            }}
            make() {{ [ "$*" = .venv/.run ]; }}
            systemctl() {{
              case "$*" in
                "daemon-reload") ;;
                "start tes" | "enable --now tes")
                  (cd {self.root}/var/lib/tes && exec {self._started()}) >> {folder}/service.log 2>&1 &
                  echo $! > {folder}/pid ;;
                "stop tes")
                  pid=$(cat {folder}/pid)
                  kill -TERM "$pid" 2> /dev/null || return 0
                  while ps -o stat= -p "$pid" | grep -q '^[^Z]'; do sleep 0.1; done ;;
                *) echo "systemctl $*: not known here"; exit 9 ;;
              esac
            }}
            journalctl() {{ [ "$*" = "--unit tes --follow" ]; }}
            . {self.state}
            """

    def _started(self) -> str:
        """What the unit starts, with its environment; the credentials are where LoadCredential takes them from."""
        given = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", UNIT, re.MULTILINE))
        lines = " ".join(re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE))
        lines = re.sub(r"%d/(\w+)", lambda name: given[name[1]], lines)
        (command,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
        return self.here(f"env {lines} {command}")

    def here(self, text: str) -> str:
        """A text whose folders are those of this machine."""
        return re.sub(r"(?<![\w/.])/(opt|etc|var)/", rf"{self.root}/\1/", text)

    async def does(self, commands: str) -> str:
        """What commands print; variables and exports stay for the next ones, as in one shell."""
        script = f"{self.prelude}\n{self.here(commands).replace('.venv/bin/python', sys.executable)}\n"
        script += f"declare -px $(compgen -v | grep -xE 'TES_.*|version|old') > {self.state}\n"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.clone,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 0, f"{script}\n{said.decode()}"
        return said.decode()

    async def submits(self, asset: str) -> None:
        stop, target = {"SOLUSDT": (100, 220), "BNBUSDT": (400, 900)}[asset]
        exits = {"sl_price": stop, "tp_price": target}
        one = {"asset": asset, "action": "buy", "allocation_usd": 500, "leverage": 5, **exits}
        body = json.dumps({"decisions": [one]})
        await self.does(f"cd /var/lib/tes; /opt/tes/bin/tes submit - --config /etc/tes/tes.toml <<< '{body}'")

    async def positions(self) -> dict[str, Any]:
        """By asset, as the service knows them."""
        asked = "cd /var/lib/tes; /opt/tes/bin/tes positions --json --config /etc/tes/tes.toml"
        return {item["asset"]: item for item in json.loads(await self.does(asked))["items"]}


async def stops_on_the_book(venue: RunningVenue) -> list[str]:
    async with aiohttp.ClientSession() as http:
        orders = (await ledger(http, venue))["accounts"]["default"]["orders"]
    return sorted(row["symbol"] for row in orders if row["type"] == "STOP_MARKET" and row["status"] == "NEW")


@pytest.mark.timeout(1800)
async def test_set_up_upgrade_and_way_back_are_as_the_page_says(venue: RunningVenue, tmp_path: Path) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    upstream_with_two_versions(upstream)
    git(tmp_path, "clone", "--quiet", str(upstream), "clone")
    machine = Machine(tmp_path)
    async with aiohttp.ClientSession() as http:
        await control(http, venue, "/prices", {"SOLUSDT": "150", "BNBUSDT": "600"})

    await machine.does(block(PAGE, "make .venv/.run"))
    assert (machine.root / "opt/tes").readlink() == machine.root / "opt/tes-v1.0.0"

    machine.environment |= {name: text for name, text in account_at(venue).items() if "URL" in name or "CHAIN" in name}
    set_up = block(PAGE, "install -d -m 755 /etc/tes")
    keys = venue.accounts[0]
    placeholders = iter((keys.user, keys.signer))
    set_up = re.sub("0x…", lambda _: next(placeholders), set_up)
    (secrets := machine.root.parent / "values").write_text(keys.private_key, encoding="utf-8")
    for place in (secrets, machine.root / "etc/tes/api_token", machine.root / "etc/tes/aster_private_key"):
        WATCH.except_file(place)
    put = f"; echo a-token-of-the-operator-0123456789 > /etc/tes/api_token; cp {secrets} /etc/tes/aster_private_key"
    assert set_up.count("# then put one value into each") == 1
    shown = await machine.does(set_up.replace("# then put one value into each", put))
    assert "ready: default" in shown
    assert (machine.root / "etc/tes/api_token").stat().st_mode & 0o777 == 0o600
    try:
        await machine.submits("SOLUSDT")

        git(upstream, "merge", "--quiet", "next")
        shown = await machine.does(block(PAGE, "git pull"))
        assert re.search(r"WARN +database +schema \d+, this program wants\s+9001", shown)
        shown = await machine.does(block(PAGE, "cd /var/lib/tes\nold="))
        assert "the schema has version 9001" in shown
        assert "SOLUSDT" in shown.partition("ready: default")[2]
        assert "tes 7.0.0" in await machine.does("/opt/tes/bin/tes --version")
        await machine.submits("BNBUSDT")

        with pytest.raises(AssertionError, match=r"version 9001, this program knows up to"):
            await machine.does('cd /var/lib/tes; "$old/bin/tes" db upgrade --config /etc/tes/tes.toml')
        shown = await machine.does(block(PAGE, "systemctl stop tes"))
        assert "ready: default" in shown
        assert "tes 7.0.0" not in await machine.does("/opt/tes/bin/tes --version")
        held = await machine.positions()
        assert held["SOLUSDT"]["trade_id"], "what the copy knows"
        assert held["BNBUSDT"]["trade_id"] is None, "what was opened since is external"
        assert await stops_on_the_book(venue) == ["BNBUSDT", "SOLUSDT"]
    finally:
        await machine.does("systemctl stop tes")
