"""What is built runs without the repository: wheel and sdist, in an environment of its own, from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.patience import PATIENCE_S

pytestmark = pytest.mark.long

BACKEND = Path(__file__).parents[3]
EXAMPLE = BACKEND.parent / "examples" / "decision.json"
LICENSE = (BACKEND.parent / "LICENSE").read_bytes()
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("TES_", "PYTHON"))}


def run(*words: str | Path, cwd: Path) -> str:
    """Run a program that must succeed."""
    ended = subprocess.run(
        words,
        cwd=cwd,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def built_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a source tree or an sdist, built without asking an index."""
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, built from the tree."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=BACKEND)
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module", params=["tree", "sdist"])
def wheel(request: pytest.FixtureRequest, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree and from the sdist."""
    return built_wheel(BACKEND if request.param == "tree" else sdist, tmp_path_factory.mktemp("wheel"))


def is_unwanted(name: str) -> bool:
    """Whether a file has no business in what is given away: a test, or what may hold a secret."""
    return name.endswith((".db", ".env", ".pem", ".key", ".pyc", "tes.toml")) or "tests/" in name


def test_the_sdist_holds_the_sources_and_no_tests_and_no_secret_file(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames()]
        beside = {name for name in names if not name.startswith(("src/app/", "src/aster_sim/"))}
        license_file = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/LICENSE")
        assert license_file is not None
        assert license_file.read() == LICENSE
    assert beside == {"PKG-INFO", "LICENSE", "README.md", "pyproject.toml", ".gitignore"}
    assert not [name for name in names if is_unwanted(name)]


def test_the_wheel_holds_no_tests_and_no_secret_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (license_file,) = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(license_file) == LICENSE
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"app", "aster_sim"}
    assert not [name for name in names if is_unwanted(name)]


def test_the_wheel_executes_the_sample_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment, which were installed by the same lock file."""
    place, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=tmp_path)
    python = place / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=tmp_path)
    (site,) = (place / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")  # and no .pth in it
    assert str(site) in run(python, "-c", "import app; print(app.__file__)", cwd=empty)
    assert run(place / "bin" / "tes", "--version", cwd=empty).split()[-1] == wheel.name.split("-")[1]
    sample = tmp_path / "decision.json"
    sample.write_text(json.dumps(json.loads(EXAMPLE.read_text(encoding="utf-8"))), encoding="utf-8")
    shown = run(place / "bin" / "tes", "run", "--paper", "--submit", sample, "--once", cwd=empty)
    assert "executed" in shown
    assert list(empty.iterdir()) == []
