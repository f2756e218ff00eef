"""A trial: the named tests run against a copy of the source tree, whole or with one rule broken.

The copy belongs to an interpreter of its own, whose path begins with it: whatever a test starts with
``sys.executable`` imports the copy as well. The working tree is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
import venv
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET

from catalogue import BACKEND, SOURCE, Breakage

_PATIENCE_S = 15
_TEST_LIMIT_S = 90
_LIMIT_S = 900
_ASSERTED = ("AssertionError", "assert ", "Failed")
"""What a test raises that has seen something wrong, itself (assert) or through pytest (fail, timeout)."""


class Finding(StrEnum):
    """What a trial showed of a test."""

    PASSED = "passed"
    ASSERTED = "failed as it should"
    BROKE = "broke"
    """It ended by something else than an assertion, so it may not have come to the point."""
    MISSING = "did not run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case of a test: ``said`` is the first line of its failure."""

    finding: Finding
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the tests of a trial, by node id as they were named, and how long it took."""

    outcomes: Mapping[str, Outcome]
    seconds: float
    output: str

    def having(self, *findings: Finding) -> dict[str, Outcome]:
        """The tests with one of ``findings``."""
        return {name: outcome for name, outcome in self.outcomes.items() if outcome.finding in findings}


class Bench:
    """A copy of the source tree with its interpreter, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._source = directory / "src"
        shutil.copytree(SOURCE, self._source, ignore=shutil.ignore_patterns("__pycache__"))
        venv.EnvBuilder(symlinks=True, with_pip=False).create(directory / "venv")
        paths = {"base": str(directory / "venv"), "platbase": str(directory / "venv")}
        packages = Path(sysconfig.get_path("purelib", vars=paths))
        ours = sysconfig.get_path("purelib")
        # read line by line: the copy comes before the working tree, which the real packages' own .pth file names
        (packages / "copy.pth").write_text(f"{self._source}\nimport site; site.addsitedir({ours!r})\n")
        self._python = directory / "venv" / "bin" / "python"
        self._check_imports()

    def _check_imports(self) -> None:
        """Without any help from the environment, as a child process would."""
        look = "import app, aster_sim; print(app.__file__); print(aster_sim.__file__)"
        environment = {"PATH": os.environ["PATH"]}
        shown = subprocess.run(
            [self._python, "-c", look], env=environment, cwd=self._directory, capture_output=True, text=True, check=True
        )
        for line in shown.stdout.split():
            if not Path(line).resolve().is_relative_to(self._source.resolve()):
                raise RuntimeError(f"a trial would import {line}, not the copy")

    @property
    def python(self) -> Path:
        """The interpreter that imports the copy."""
        return self._python

    @contextmanager
    def broken(self, breakage: Breakage) -> Iterator[None]:
        """Inside, the copy has the rule broken. Raises CatalogueError when the text does not match."""
        path = self._source / breakage.file
        whole = path.read_text(encoding="utf-8")
        self._write(path, breakage.applied_to(whole))
        try:
            yield
        finally:
            self._write(path, whole)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)  # two edits in one second look alike to it

    def run(
        self,
        tests: Collection[str],
        workers: int = 0,
        patience_s: int = _PATIENCE_S,
        *,
        is_one_enough: bool = False,
    ) -> Verdict:
        """Run ``tests`` against the copy as it is now; with ``is_one_enough`` to the first failure.

        ``patience_s`` is how long they wait for what must come.
        """
        report = self._directory / "report.xml"
        report.unlink(missing_ok=True)
        started = time.monotonic()
        arguments = ["-p", "no:cacheprovider", "-q", "-o", f"timeout={_TEST_LIMIT_S}"]
        if workers:
            arguments += ["-n", str(workers)]
        if is_one_enough:
            arguments.append("-x")
        done = subprocess.run(
            [self._python, "-m", "pytest", *arguments, f"--junitxml={report}", *sorted(tests)],
            cwd=BACKEND,
            env={
                **os.environ,
                "TES_TEST_PATIENCE_S": str(patience_s),
                "PYTHONPATH": "",
                "PYTHONDONTWRITEBYTECODE": "",  # or each trial compiles all that it imports
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        cases = list(_cases(report)) if report.exists() else []
        outcomes = {name: _worst([outcome for case, outcome in cases if _is_case(case, name)]) for name in tests}
        return Verdict(outcomes=outcomes, seconds=time.monotonic() - started, output=done.stdout + done.stderr)


def _cases(report: Path) -> Iterator[tuple[str, Outcome]]:
    """Each case in pytest's report, by its node id."""
    for case in ET.parse(report).getroot().iter("testcase"):
        node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        yield node, _outcome(case)


def _outcome(case: ET.Element) -> Outcome:
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            said = (found.get("message") or "").strip().partition("\n")[0]
            is_asserted = kind == "failure" and said.startswith(_ASSERTED)
            return Outcome(Finding.ASSERTED if is_asserted else Finding.BROKE, said)
    return Outcome(Finding.PASSED)


def _is_case(case: str, name: str) -> bool:
    return case == name or case.startswith(f"{name}[")


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Of a parametrised test's cases, the one that tells most: a failure, then a breakdown, then a pass."""
    for finding in (Finding.ASSERTED, Finding.BROKE, Finding.PASSED):
        for outcome in outcomes:
            if outcome.finding is finding:
                return outcome
    return Outcome(Finding.MISSING)
