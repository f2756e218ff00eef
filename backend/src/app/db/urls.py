"""``TES_DATABASE_URL``: where the database is (contract, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from app.domain.errors import ConfigurationError

_HELP = (
    "use sqlite:///data/tes.db (from the working directory), sqlite:////var/lib/tes.db (from the root) "
    "or postgresql://USER:PASSWORD@HOST/DATABASE"
)


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A database file; without a path it is temporary and gone when it is closed."""

    path: Path | None


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A database on a server. ``url`` may hold a password; ``shown`` never does."""

    url: str = field(repr=False)
    shown: str


DatabaseLocation: TypeAlias = SqliteLocation | PostgresLocation


def parse_database_url(url: str) -> DatabaseLocation:
    """Read a database URL. Driver suffixes (``+aiosqlite``, ``+asyncpg``) mean nothing.

    Raises:
        ConfigurationError: not a URL of a database that this version knows. The message never repeats the URL, which
            may hold a password.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        raise ConfigurationError(f"TES_DATABASE_URL is not a URL: {_HELP}")
    kind = scheme.partition("+")[0].lower()
    if kind in ("postgresql", "postgres"):
        return _postgres(f"postgresql://{rest}")
    if kind != "sqlite":
        raise ConfigurationError(f"TES_DATABASE_URL: {kind or 'no kind of database'} is not supported: {_HELP}")
    return _sqlite(rest)


def _sqlite(rest: str) -> SqliteLocation:
    if not rest.startswith("/"):
        raise ConfigurationError(f"TES_DATABASE_URL: three slashes come before the path: {_HELP}")
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"TES_DATABASE_URL: options after the path are not supported: {_HELP}")
    path = unquote(rest[1:])
    if path in ("", ":memory:"):
        return SqliteLocation(None)
    return SqliteLocation(Path(path))


def _postgres(url: str) -> PostgresLocation:
    """The options of libpq after ``?`` are the operator's to use (``sslmode``, ``host=/folder/of/the/socket``)."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        shown = f"{host or 'the local server'}/{parts.path.lstrip('/') or '(default)'}"
    except ValueError:
        raise ConfigurationError(f"TES_DATABASE_URL is malformed: {_HELP}") from None
    return PostgresLocation(url, shown)
