"""Database URLs: what they name, and what is said about the ones that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from app.core.configuration import load_settings
from app.core.database_url import PostgresLocation, SqliteLocation, parse_database_url
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
    ("url", "shown"),
    [
        ("postgresql://tes:hidden@db:5433/tes", "db:5433/tes"),
        ("postgresql+asyncpg://tes:hidden@db/tes", "db/tes"),
        ("postgres://tes:hid%40den@db/tes?sslmode=require", "db/tes"),
        ("postgresql://tes:hidden#?word@db/tes", "db/tes"),
        ("postgresql:///tes?host=/run/pg&password=hidden", "/run/pg/tes"),
        ("postgresql:///?hostaddr=::1&port=5433", "[::1]:5433/(default)"),
        ("postgresql://tes:hidden@[::1]:5433/with%20space", "[::1]:5433/with space"),
        ("postgresql://one:5433,two/tes?sslpassword=hidden", "one:5433,two/tes"),
        ("postgresql://", "the local server/(default)"),
    ],
)
def test_postgresql_urls_name_a_server_and_only_host_and_database_are_shown(url: str, shown: str) -> None:
    """The driver gets the whole URL; messages and representations get the place only."""
    location = parse_database_url(url)
    assert isinstance(location, PostgresLocation)
    assert location.url == f"postgresql://{url.partition('://')[2]}"
    assert location.shown == shown
    assert location.holds_secret is ("hid" in url)
    assert "hid" not in repr(location)


@pytest.mark.parametrize(
    "password", ["hid/den", "12/hid", "hid@den", "12?den/hid", "hid%den", "hid%ff", "hid den", "?hid/", "#hid/"]
)
def test_a_password_that_libpq_would_read_as_something_else_is_refused_with_the_fix(password: str) -> None:
    """Libpq takes a part of each for a host, a port or a name, and tells it to whoever reads the error."""
    with pytest.raises(ConfigurationError, match=r"database_url \(in tes\.toml\) .*/ is %2F, @ is %40") as refused:
        parse_database_url(f"postgresql://tes:{password}@db/tes", "database_url (in tes.toml)")
    assert "hid" not in str(refused.value)


_TEXTS = st.text(st.sampled_from("ab1%2F40:/@?#[],=& é"), max_size=6)
_NAMES = st.sampled_from(["host", "port", "dbname", "user", "password", "sslpassword"])
_OPTIONS = st.lists(st.tuples(_NAMES, _TEXTS), max_size=3)
_PORTS = st.sampled_from(["", ":", ":1"])


@given(user=_TEXTS, password=_TEXTS, host=_TEXTS, port=_PORTS, name=_TEXTS, options=_OPTIONS)
@example(user="a", password="b#?c", host="a", port=":1", name="b", options=[("password", "1")])
@example(user="", password="", host="a:1,b", port=":2", name="", options=[("host", "2"), ("port", "3")])
def test_what_is_accepted_means_to_libpq_what_is_shown(
    user: str, password: str, host: str, port: str, name: str, options: list[tuple[str, str]]
) -> None:
    """Whatever stands where a part belongs: the place that is shown is the one that libpq goes to."""
    text = "&".join(f"{key}={value}" for key, value in options)
    url = f"postgresql://{user}:{password}@{host}{port}/{name}?{text}"
    try:
        location = parse_database_url(url)
    except ConfigurationError:
        return
    assert isinstance(location, PostgresLocation)
    try:
        meant = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert reason.startswith("invalid URI query parameter")  # libpq alone knows their names
        return
    place = location.shown.removesuffix(f"/{meant.get('dbname') or '(default)'}")
    assert place != location.shown
    for one in (meant.get("host") or "the local server").split(","):
        assert one in place
    assert location.holds_secret is bool(meant.get("password") or meant.get("sslpassword"))


@pytest.mark.parametrize("url", ["", "data/tes.db", "mysql://x/y", "sqlite://tes.db", "sqlite:///tes.db?mode=ro"])
def test_a_url_that_names_nothing_is_refused_with_an_example(url: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ConfigurationError, match=r"TES_DATABASE_URL.*sqlite:///data/tes\.db"):
        parse_database_url(url)


def test_a_bad_url_stops_every_start_and_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="TES_DATABASE_URL is no PostgreSQL URL") as refused:
        load_settings({"TES_DATABASE_URL": "postgresql://tes:hid/den@db/tes"}, is_service=False)
    assert "hid" not in str(refused.value)
