"""What the documents promise exists and works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.core.configuration import FROM_FILE
from app.core.settings import Settings
from app.schemas.decision import parse_decision
from app.schemas.tradingview import parse_alert
from support.documents import ROOT, block
from support.patience import PATIENCE_S

TES = Path(sys.executable).with_name("tes")
TOKEN, WEBHOOK_SECRET = "token-of-the-documents", "secret-of-the-documents"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_make_target_of_the_readme_and_of_the_contract_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", block("README.md", "make run")))
    assert named | {"run", "test", "check", "bench", "soak", "clean"} <= targets


def test_the_readmes_curl_sends_a_valid_decision() -> None:
    command = block("README.md", "curl -s")
    body = re.search(r"-d '(.*)'", command, re.DOTALL)
    assert body is not None
    assert parse_decision(body[1]).decision_id == "first-one"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a paper service whose token is ``TOKEN``."""
    folder = tmp_path_factory.mktemp("paper")
    environ = {"PATH": os.environ["PATH"], "TES_API_TOKEN": TOKEN, "TES_WEBHOOK_SECRET": WEBHOOK_SECRET}
    arguments = [TES, "serve", "--paper", "--port", "0"]
    with subprocess.Popen(arguments, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = next(match[1] for line in process.stdout if (match := re.match(r"API +(http\S+)/docs", line)))
            for _ in range(200):
                if subprocess.run(["curl", "-fso", os.devnull, f"{url}/readyz"], check=False).returncode == 0:
                    break
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_readmes_curl_executes_a_decision(paper: str) -> None:
    command = block("README.md", "curl -s")
    said = subprocess.run(
        ["bash", "-euc", command.replace("http://127.0.0.1:8000", paper)],
        env={"PATH": os.environ["PATH"], "TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert json.loads(said.stdout)["status"] == "executed"


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (block("docs/client.md", "import asyncio\nimport os\n\nfrom app.client.errors"), r"^BTCUSDT: 0\.\d+ at \d+"),
        (block("docs/client.md", "import asyncio\nimport os\n\nfrom app.client.service"), r"^\d+ TradeProtected "),
    ],
    ids=["deciding", "following"],
)
def test_the_clients_examples_run(paper: str, code: str, printed: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "TES_URL": paper, "TES_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert re.search(printed, said.stdout), said.stdout + said.stderr


@pytest.mark.long
def test_the_readmes_python_executes_the_example(tmp_path: Path) -> None:
    code = block("README.md", "import asyncio")
    (tmp_path / "examples").mkdir()
    example = (ROOT / "examples" / "decision.json").read_bytes()
    (tmp_path / "examples" / "decision.json").write_bytes(example)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["status"] == "executed"


def configured(text: str, folder: Path) -> Any:
    """What ``tes config`` makes of a TOML file in an empty folder."""
    (folder / "tes.toml").write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [TES, "config", "--json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


def test_the_readmes_toml_is_a_configuration(tmp_path: Path) -> None:
    text = block("README.md", "[risk]")
    assert tomllib.loads(text)
    assert configured(text, tmp_path)["risk_max_leverage"] == 10


def test_the_accounts_toml_is_a_configuration(tmp_path: Path) -> None:
    """As it stands, but for the addresses that it leaves out and the files, which are this test's."""
    example = block("docs/configuration.md", "aster_user =")
    digits = iter("1234")
    example = re.sub("0x…", lambda _: "0x" + next(digits) * 40, example)
    for name in ("default", "swing"):
        (tmp_path / name).write_text("0x" + "11" * 32, encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    shown = configured(example.replace("/run/secrets/", ""), tmp_path)
    assert shown["aster_signer"] == "0x" + "2" * 40
    assert shown["accounts"]["swing"]["risk_max_leverage"] == 5


def test_the_example_is_a_valid_decision_on_two_protected_assets() -> None:
    decision = parse_decision((ROOT / "examples" / "decision.json").read_bytes())
    assert [item.action.value for item in decision.decisions] == ["buy", "sell"]
    assert all(item.tp_price and item.sl_price for item in decision.decisions)


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `TES_([A-Z_0-9]+)` \| (.*?) \|", text, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields if name != "accounts"}
    for name, shown in rows.items():
        field = Settings.model_fields[name.lower()]
        if shown.startswith("`"):
            default = field.get_default()
            assert shown.strip("`") == (str(default).lower() if isinstance(default, bool) else str(default)), name
    for name in FROM_FILE:
        assert f"TES_{name.upper()}" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_the_lock_files_name_no_index_and_pin_by_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / "backend" / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index-url" not in text
        pins = re.findall(r"^[A-Za-z0-9_.-]+==", text, re.MULTILINE)
        assert len(pins) > 30
        assert text.count("--hash=sha256:") >= len(pins)


def filled_alert(**values: str) -> str:
    """The page's template as TradingView would send it."""
    template = block("docs/tradingview.md", "{")
    given = {"timenow": "2026-11-22T10:15:00Z", "ticker": "BTCUSDT.P", **values}
    given |= {"strategy.order.action": "buy", "strategy.market_position": "long"}
    given |= {"strategy.prev_market_position": "flat"}
    return re.sub(r"\{\{([a-z._]+)\}\}", lambda match: given[match[1]], template)


def test_the_webhooks_template_is_an_alert() -> None:
    decision = parse_alert(filled_alert().encode()).decision()
    assert [(item.asset, item.action.value) for item in decision.decisions] == [("BTCUSDT", "buy")]


@pytest.mark.long
def test_the_webhooks_template_is_taken_by_the_service(paper: str) -> None:
    alert = filled_alert(timenow=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    alert = alert.replace("the value of TES_WEBHOOK_SECRET", WEBHOOK_SECRET)
    call = urllib.request.Request(f"{paper}/v1/webhooks/tradingview", data=alert.encode(), method="POST")
    with urllib.request.urlopen(call, timeout=PATIENCE_S) as first:
        result = json.load(first)
    assert [item["asset"] for item in result["results"]] == ["BTCUSDT"]
    with urllib.request.urlopen(call, timeout=PATIENCE_S) as again:
        assert again.headers["Idempotent-Replay"] == "true"
        assert json.load(again)["decision_id"] == result["decision_id"]


def test_the_proxies_reach_the_service_and_give_themselves_away() -> None:
    """What nginx is told to add is what access looks for; Caddy adds it unasked. Both name the address of ours."""
    nginx, caddy = block("docs/operations.md", "location / {"), block("docs/operations.md", "tes.example.org {")
    port = Settings.model_fields["port"].default
    assert f"proxy_pass http://127.0.0.1:{port};" in nginx
    assert f"reverse_proxy 127.0.0.1:{port}" in caddy
    added = {name.lower() for name in re.findall(r"proxy_set_header (\S+)", nginx)}
    assert added >= {"host", "x-forwarded-for", "upgrade", "connection"}
    (patience_s,) = re.findall(r"proxy_read_timeout (\d+)s", nginx)
    assert int(patience_s) > 120, "POST /v1/decisions waits for so long at most"
