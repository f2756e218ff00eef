"""Database URLs: what they name, and what is said about the ones that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.urls import parse_database_url
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
    assert parse_database_url(url).path == path


@pytest.mark.parametrize("url", ["postgresql://tes:secret@db/tes", "postgresql+asyncpg://tes:secret@db/tes"])
def test_postgresql_is_refused_for_now_without_showing_the_password(url: str) -> None:
    """One sentence says so and names the key."""
    with pytest.raises(ConfigurationError, match="TES_DATABASE_URL: PostgreSQL is not supported") as raised:
        parse_database_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "data/tes.db", "mysql://x/y", "sqlite://tes.db", "sqlite:///tes.db?mode=ro"])
def test_a_url_that_names_nothing_is_refused_with_an_example(url: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ConfigurationError, match=r"TES_DATABASE_URL.*sqlite:///data/tes\.db"):
        parse_database_url(url)
