"""Settings of all tests, and the databases that they run on."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from app.db.migrate import upgrade
from support.postgres import KINDS, MIGRATED, PostgresServer, running_postgres

pytest_plugins = ["pytester", "support.compiled", "support.secret_watch", "support.selection"]

settings.register_profile("project", deadline=None, print_blob=True)
settings.register_profile("short", max_examples=10, deadline=None, print_blob=True)
settings.register_profile(
    "soak", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("project")

# a shell that runs its jobs in the background has them ignore Ctrl-C, and what tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real server for the whole run, with a migrated database to copy; started when a test first asks for it."""
    with running_postgres() as server:
        server.execute(f"CREATE DATABASE {MIGRATED}")
        upgrade(server.url(MIGRATED))
        yield server


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, for this test alone."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tes.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_tables()
