"""``tes`` as a process, to its end or in the background."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.patience import PATIENCE_S
from support.secret_watch import WATCH
from support.warm import WarmTes

EXAMPLE = Path(__file__).parents[3] / "examples" / "decision.json"


def environment(**extra: str) -> dict[str, str]:
    """This machine's environment without settings of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    return {**own, "COLUMNS": "100", "NO_COLOR": "1", **extra}


def tes(folder: Path, *arguments: str, given: str | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with WarmTes(
        arguments,
        cwd=folder,
        env=environment(**extra),
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            stdout, stderr = process.communicate(given, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextmanager
def background(folder: Path, *arguments: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """A command that stays; ended with SIGTERM, which it must obey in time."""
    process = WarmTes(arguments, cwd=folder, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            pytest.fail(f"{arguments} did not stop on SIGTERM")


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line of output that contains ``text``."""
    assert process.stdout is not None
    for line in process.stdout:
        WATCH.hear_output(process.args, "stdout", line)
        if text in line:
            return line
    assert process.stderr is not None
    raise AssertionError(f"{text!r} never came; {process.stderr.read()}")
