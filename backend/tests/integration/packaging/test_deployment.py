"""Dockerfile, compose.yaml and the systemd unit keep their promises, as far as can be seen without an engine."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.configuration import FROM_FILE, load_settings
from app.core.secret_files import read_secret
from app.core.settings import Settings
from support.commands import background, tes
from support.patience import PATIENCE_S
from support.serving import free_port
from support.warm import TES

ROOT = Path(__file__).parents[4]
UNIT = ROOT / "deploy" / "tes.service"
OURS = ("paper", "live", "live-postgres")
KEY = "0x" + "1" * 64
ADDRESS = "0x" + "a" * 40
SECRETS = {
    "api_token": "a-token-of-the-operator-0123456789",
    "aster_user": ADDRESS,
    "aster_signer": ADDRESS,
    "aster_private_key": KEY,
    "alert_urls": "json://127.0.0.1:9",
    "database_url": "postgresql://tes:password@postgres/tes",
}
Step = tuple[str, str]


def steps_of(text: str) -> list[Step]:
    """The instructions of a Dockerfile, each on one line."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines.splitlines() if line)]


STEPS = steps_of((ROOT / "Dockerfile").read_text(encoding="utf-8"))
LAST_STAGE = STEPS[max(at for at, (word, _) in enumerate(STEPS) if word == "FROM") :]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def values(word: str, stage: list[Step]) -> list[str]:
    return [rest for each, rest in stage if each == word]


def is_ignored(path: str) -> bool:
    """What .dockerignore says of a file: the last pattern that matches it, or a folder above, decides."""
    parts = path.split("/")
    above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in line else above
        if line and not line.startswith("#") and any(fnmatch.fnmatchcase(name, pattern) for name in names):
            ignored = not line.startswith("!")
    return ignored


def seconds(text: str) -> float:
    amount, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr] — a test fails on None
    return float(amount) * {"s": 1, "m": 60}[unit]


# --- the image ------------------------------------------------------------------------------------------------------


def test_what_the_image_copies_exists_is_not_ignored_and_is_all_that_is_sent() -> None:
    copied = [source for rest in values("COPY", STEPS) if "--from" not in rest for source in rest.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    sent = {name for name in tracked.stdout.splitlines() if not is_ignored(name)}
    assert {name for name in sent if not name.startswith("backend/src/")} == {
        source for source in copied if source != "backend/src"
    }
    assert len(sent) > 200


@pytest.mark.parametrize(
    "path",
    [
        "data/tes.db",
        "secrets/api_token",
        ".env",
        "tes.toml",
        ".git/config",
        ".venv/bin/python",
        "backend/tests/conftest.py",
        "backend/src/app/__pycache__/main.pyc",
    ],
)
def test_no_secret_no_database_and_no_history_reaches_the_build(path: str) -> None:
    assert is_ignored(path)


def test_every_package_of_the_image_has_the_hash_of_the_lock_file() -> None:
    pip = [command for rest in values("RUN", STEPS) for command in rest.split("&&") if re.match(r"\s*pip ", command)]
    assert len(pip) == 4
    for command in pip:
        from_index = "--no-index" not in command
        assert not from_index or {"download", "--require-hashes", "--only-binary=:all:"} <= set(command.split())
    assert not [rest for rest in values("RUN", LAST_STAGE) if "pip" in rest]
    assert "://" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_runs_as_a_user_without_rights_and_starts_tes_without_a_shell() -> None:
    (user,) = values("USER", LAST_STAGE)
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) >= 10_000
    assert (values("ENTRYPOINT", LAST_STAGE), values("CMD", LAST_STAGE)) == (['["tes"]'], ['["serve"]'])
    (folder,) = values("WORKDIR", LAST_STAGE)
    assert values("VOLUME", LAST_STAGE) == [f"{folder}/{Path(Settings().database_url.partition('///')[2]).parent}"]
    shown = tes(Path.cwd(), "serve", "--help")
    assert shown.returncode == 0


def environment_of_the_image() -> dict[str, str]:
    pairs = (pair.split("=", 1) for rest in values("ENV", LAST_STAGE) for pair in rest.split())
    return {name: value for name, value in pairs if name.startswith("TES_")}


@pytest.mark.long
def test_the_images_health_check_tells_a_running_service_from_none(tmp_path: Path) -> None:
    """With the image's settings but for the port, and with a token, which they need."""
    (check,) = values("HEALTHCHECK", LAST_STAGE)
    words = json.loads(check.partition(" CMD ")[2])
    assert all(SERVICES[name]["healthcheck"]["test"] == ["CMD", *words] for name in OURS)
    settings = {
        **environment_of_the_image(),
        "TES_PORT": str(free_port()),
        "TES_API_TOKEN": "a-token-of-the-operator-0123456789",
    }
    assert settings["TES_HOST"] == "0.0.0.0"
    assert tes(tmp_path, *words[1:], **settings).returncode == 3
    with background(tmp_path, "serve", "--paper", **settings):
        assert tes(tmp_path, *words[1:], "--wait", "30", **settings).returncode == 0


def test_the_image_is_for_a_python_that_the_project_supports() -> None:
    images = {rest.split(" ")[0] for rest in values("FROM", STEPS)}
    assert images == {"python:3.12-slim"}
    assert "PYTHON ?= $(shell for name in python3.13 python3.12" in (ROOT / "Makefile").read_text(encoding="utf-8")


# --- compose --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_but_its_volume_and_has_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user") != "root"
    assert "privileged" not in service
    assert any(place.startswith("/tmp:") for place in service["tmpfs"])
    for volume in service["volumes"]:
        assert volume.split(":")[0] in COMPOSE["volumes"], "a named volume, no folder of the host"
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == "unless-stopped"


def test_paper_is_what_starts_by_default_and_money_only_when_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("profiles")] == ["paper"]
    assert SERVICES["paper"]["environment"]["TES_VENUE"] == "paper"
    assert {SERVICES[name]["environment"]["TES_VENUE"] for name in OURS[1:]} == {"live"}
    (written,) = (volume.rpartition(":")[2] for volume in SERVICES["paper"]["volumes"])
    assert values("VOLUME", LAST_STAGE) == [written]


@pytest.mark.parametrize("name", OURS)
def test_a_stop_is_given_the_time_that_positions_need(name: str) -> None:
    assert "TES_SHUTDOWN_GRACE_SECONDS" not in SERVICES[name]["environment"]
    default = Settings().shutdown_grace_seconds + Settings().protection_deadline_seconds
    assert seconds(SERVICES[name]["stop_grace_period"]) > 2 * default


def given_in(folder: Path, environment: dict[str, str], place: str) -> dict[str, str]:
    """An environment whose secret files lie in ``folder`` instead of ``place``."""
    for name, value in SECRETS.items():
        (folder / name).write_text(f"{value}\n", encoding="utf-8")
        (folder / name).chmod(0o600)
    return {name: value.replace(place, str(folder)) for name, value in environment.items()}


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_container_are_complete_and_its_secrets_are_files(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    environment = {**environment_of_the_image(), **service["environment"]}
    settings = load_settings(given_in(tmp_path, environment, "/run/secrets"))
    assert settings.venue.value == service["environment"]["TES_VENUE"]
    assert settings.warnings == ()
    mounted = {Path(value).name for value in environment.values() if value.startswith("/run/secrets/")}
    assert mounted == set(service["secrets"])
    assert mounted <= COMPOSE["secrets"].keys()
    plainly = {key.removeprefix("TES_").lower() for key in environment}
    assert not plainly & FROM_FILE, "a secret comes from a file"
    if name != "paper":
        assert settings.risk_require_stop_loss
        assert settings.risk_max_daily_loss is not None


def test_secret_files_lie_where_git_and_the_build_do_not_look() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "secrets/" in ignored


def test_the_database_has_no_port_and_its_password_is_a_file() -> None:
    server = SERVICES["postgres"]
    assert "ports" not in server
    assert server["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert SERVICES["live-postgres"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


# --- systemd --------------------------------------------------------------------------------------------------------


def unit_values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def systemd_analyze() -> str:
    """The program that judges units."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on this machine: the unit was not judged by it")
    return found


def analyzed(program: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.long
def test_systemd_finds_nothing_wrong_in_the_unit(systemd_analyze: str, tmp_path: Path) -> None:
    """With the program where it is on this machine."""
    unit = tmp_path / "tes.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/tes/bin/tes", TES), encoding="utf-8")
    judged = analyzed(systemd_analyze, "verify", str(unit), cwd=tmp_path)
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


@pytest.mark.long
def test_systemd_calls_the_units_exposure_low(systemd_analyze: str, tmp_path: Path) -> None:
    judged = analyzed(systemd_analyze, "security", "--offline=true", "--threshold=20", str(UNIT), cwd=tmp_path)
    if "unrecognized option" in judged.stderr:
        pytest.skip("this systemd can't judge the security of a unit that is not installed")
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_unit_is_a_live_service_with_its_secrets_from_credentials(tmp_path: Path) -> None:
    credentials = {entry.split(":")[0] for entry in unit_values("LoadCredential")}
    pairs = (pair.split("=", 1) for line in unit_values("Environment") for pair in line.split())
    environment = {name: value for name, value in pairs if name.startswith("TES_")}
    assert {value.removeprefix("%d/") for value in environment.values() if value.startswith("%d/")} == credentials
    config = tmp_path / "tes.toml"
    config.write_text(f'venue = "live"\naster_user = "{ADDRESS}"\naster_signer = "{ADDRESS}"\n', encoding="utf-8")
    settings = load_settings(given_in(tmp_path, environment, "%d"), config=config)
    assert settings.warnings == ()
    assert settings.account_settings()["default"].private_key is not None
    (started,) = unit_values("ExecStart")
    assert started.split()[1:] == ["serve", "--config", "/etc/tes/tes.toml"]
    assert unit_values("TimeoutStopSec") == ["60"]
    assert Settings().shutdown_grace_seconds * 2 < 60
    assert read_secret(tmp_path / "api_token", "TES_API_TOKEN_FILE") == (SECRETS["api_token"], [])


@pytest.mark.long
def test_a_wrong_setting_is_not_tried_again_and_again(tmp_path: Path) -> None:
    """``Restart=on-failure`` would; the exit code that the unit excepts is the one that the service ends with."""
    (code,) = unit_values("RestartPreventExitStatus")
    assert tes(tmp_path, "serve", TES_RISK_MAX_LEVERAGE="30").returncode == int(code)
