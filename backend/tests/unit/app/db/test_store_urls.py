"""Database URLs: what they name, and what is said about the ones that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.urls import PostgresLocation, SqliteLocation, parse_database_url
from app.domain.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/tes.db", Path("data/tes.db")),
        ("sqlite:////var/lib/tes.db", Path("/var/lib/tes.db")),
        ("sqlite+aiosqlite:///data/tes.db", Path("data/tes.db")),
        ("sqlite:///with%20space/tes.db", Path("with space/tes.db")),
        ("sqlite:///:memory:", None),
        ("sqlite+aiosqlite:///", None),
    ],
)
def test_sqlite_urls_name_a_file(url: str, path: Path | None) -> None:
    """Three slashes are relative, four absolute; a driver suffix means nothing."""
    assert parse_database_url(url) == SqliteLocation(path)


@pytest.mark.parametrize(
    ("url", "given", "shown"),
    [
        ("postgresql://tes:secret@db:5433/tes", "postgresql://tes:secret@db:5433/tes", "db:5433/tes"),
        ("postgresql+asyncpg://tes:secret@db/tes", "postgresql://tes:secret@db/tes", "db/tes"),
        ("postgres://tes:se@cret@db/tes?sslmode=require", "postgresql://tes:se@cret@db/tes?sslmode=require", "db/tes"),
        ("postgresql:///tes?host=/run/pg&password=secret", None, "the local server/tes"),
        ("postgresql://", None, "the local server/(default)"),
    ],
)
def test_postgresql_urls_name_a_server_and_are_shown_without_the_password(
    url: str, given: str | None, shown: str
) -> None:
    """The driver gets the whole URL; messages and representations get the place only."""
    location = parse_database_url(url)
    assert isinstance(location, PostgresLocation)
    assert location.url == (given or url)
    assert location.shown == shown
    assert "cret" not in repr(location)


@pytest.mark.parametrize("url", ["", "data/tes.db", "mysql://x/y", "sqlite://tes.db", "sqlite:///tes.db?mode=ro"])
def test_a_url_that_names_nothing_is_refused_with_an_example(url: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ConfigurationError, match=r"TES_DATABASE_URL.*sqlite:///data/tes\.db"):
        parse_database_url(url)
