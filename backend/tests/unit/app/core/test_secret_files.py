"""A file with a secret is for the service's user alone; what an engine or systemd mounts is its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.core.configuration import load_settings
from app.core.secret_files import exposure, read_secret
from app.domain.errors import ConfigurationError

ROOT, OURS, SOMEBODY = 0, 1234, 4321
OWN = Path("/etc/tes/key")


def status(mode: int, owner: int, kind: int = stat.S_IFREG) -> os.stat_result:
    return os.stat_result((kind | mode, 1, 1, 1, owner, owner, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("path", "mode", "owner", "is_fine"),
    [
        (OWN, 0o600, OURS, True),
        (OWN, 0o400, OURS, True),
        (OWN, 0o640, OURS, False),
        (OWN, 0o620, OURS, False),
        (OWN, 0o604, OURS, False),
        (OWN, 0o602, OURS, False),
        (OWN, 0o640, SOMEBODY, False),
        (OWN, 0o440, ROOT, True),
        (OWN, 0o640, ROOT, True),
        (OWN, 0o660, ROOT, False),
        (OWN, 0o444, ROOT, False),
        (Path("/run/secrets/key"), 0o444, ROOT, True),
        (Path("/run/secrets/key"), 0o646, ROOT, False),
        (Path("/run/secrets-of-others/key"), 0o444, ROOT, False),
        (Path("/run/credentials/tes.service/key"), 0o440, ROOT, True),
        (Path("/run/credentials/tes.service/key"), 0o400, OURS, True),
    ],
)
def test_who_else_may_read_or_change_it_decides(
    path: Path, mode: int, owner: int, is_fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: OURS)
    found = exposure(status(mode, owner), path, "TES_API_TOKEN_FILE")
    assert (found == []) is is_fine
    assert all(f"chmod 600 {path}" in text and "TES_API_TOKEN_FILE" in text for text in found)


def test_for_root_a_file_of_roots_group_is_open_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: ROOT)
    assert exposure(status(0o640, ROOT), OWN, "KEY")
    assert exposure(status(0o600, ROOT), OWN, "KEY") == []


def test_a_pipe_has_no_readers_but_its_own() -> None:
    assert exposure(status(0o666, OURS, stat.S_IFIFO), Path("/dev/fd/63"), "KEY") == []


def test_a_file_of_another_user_says_whose_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused open is made: the tests may run as root, who reads everything."""
    secret = tmp_path / "key"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigurationError, match=f"KEY_FILE names the file {secret}.*chmod 600 {secret}"):
        read_secret(secret, "KEY_FILE")


@pytest.mark.parametrize(
    ("line", "is_secret"),
    [
        ('alert_urls = "ntfy://secret-topic"', True),
        ('database_url = "postgresql://tes:hidden@db/tes"', True),
        ('database_url = "postgresql://db/tes?user=tes&password=hidden"', True),
        ('database_url = "sqlite:///data/tes.db"', False),
        ('api_token = "a-long-token"', True),
        ("risk_max_leverage = 5", False),
    ],
)
def test_a_configuration_file_with_a_secret_in_it_is_such_a_file(line: str, is_secret: bool, tmp_path: Path) -> None:
    config = tmp_path / "tes.toml"
    config.write_text(line, encoding="utf-8")
    config.chmod(0o640)
    assert bool(load_settings({}, config=config).warnings) is is_secret
    config.chmod(0o600)
    assert load_settings({}, config=config).warnings == ()
