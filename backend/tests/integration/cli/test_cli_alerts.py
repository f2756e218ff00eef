"""``tes alert test`` as a process, with channels that take the message, refuse it or hang."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import tes
from support.hooks import SECRET, web_hook


def test_each_channel_s_outcome_is_shown_without_its_address(tmp_path: Path) -> None:
    with web_hook() as whole, web_hook(500) as broken:
        urls = f"{whole.url}, {broken.url}"
        shown = tes(tmp_path, "alert", "test", TES_ALERT_URLS=urls)
        as_json = tes(tmp_path, "alert", "test", "--json", TES_ALERT_URLS=urls)
    assert (shown.returncode, as_json.returncode) == (1, 1)
    assert shown.stdout.splitlines() == [
        f"channel 1  {whole.label}  taken",
        f"channel 2  {broken.label}  failed (refused)",
    ]
    assert "not every channel took the message" in shown.stderr
    assert json.loads(as_json.stdout) == [
        {"channel": 1, "address": whole.label, "is_taken": True, "error": None},
        {"channel": 2, "address": broken.label, "is_taken": False, "error": "refused"},
    ]
    assert whole.titles == ["TES test"] * 2
    assert SECRET not in shown.stdout + shown.stderr + as_json.stdout + as_json.stderr


@pytest.mark.long
def test_when_all_take_it_the_command_is_done(tmp_path: Path) -> None:
    with web_hook() as hook:
        ended = tes(tmp_path, "alert", "test", TES_ALERT_URLS=hook.url)
    assert (ended.returncode, hook.titles) == (0, ["TES test"])


@pytest.mark.parametrize("urls", ["", f"nonsense://user:{SECRET}@host"])
def test_without_a_channel_there_is_nothing_to_test(tmp_path: Path, urls: str) -> None:
    ended = tes(tmp_path, "alert", "test", TES_ALERT_URLS=urls)
    assert ended.returncode == 2, ended.stderr
    assert "TES_ALERT_URLS" in ended.stderr
    assert SECRET not in ended.stderr
