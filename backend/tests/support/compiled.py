"""Compiles tests and source once for all processes of a run: a pytest plugin that is always on.

All workers of pytest-xdist import everything, in one order and at one time: in a fresh clone each of them would compile
what the others compile. So each compiles its share first, as pytest does (with its assertions rewritten), into the
cache where all find it.
"""

from __future__ import annotations

import compileall
import contextlib
import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

BACKEND = Path(__file__).parents[2]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Compile this worker's share of what all of them are about to import."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    paths = sorted(path for part in ("src", "tests") for path in (BACKEND / part).rglob("*.py"))
    for path in paths[number::count]:
        if path.name.startswith("test_"):
            _compile_test(path, session.config)
        else:
            compileall.compile_file(path, quiet=2)


def _compile_test(path: Path, config: pytest.Config) -> None:
    cached = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
    state = config.stash[rewrite.assertstate_key]
    if rewrite._read_pyc(path, cached) is None:
        with contextlib.suppress(OSError, SyntaxError):  # whoever imports the file will say it
            source_hash, code = rewrite._rewrite_test(path, config)
            rewrite.try_makedirs(cached.parent)
            rewrite._write_pyc(state, code, source_hash, cached)
