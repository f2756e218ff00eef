"""``TES_DATABASE_URL``: where the database is (contract, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from app.domain.errors import ConfigurationError

_HELP = "use sqlite:///data/tes.db (from the working directory) or sqlite:////var/lib/tes.db (from the root)"


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A database file; without a path it is temporary and gone when it is closed."""

    path: Path | None


def parse_database_url(url: str) -> SqliteLocation:
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
        raise ConfigurationError(f"TES_DATABASE_URL: PostgreSQL is not supported by this version yet: {_HELP}")
    if kind != "sqlite":
        raise ConfigurationError(f"TES_DATABASE_URL: {kind or 'no kind of database'} is not supported: {_HELP}")
    if not rest.startswith("/"):
        raise ConfigurationError(f"TES_DATABASE_URL: three slashes come before the path: {_HELP}")
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"TES_DATABASE_URL: options after the path are not supported: {_HELP}")
    path = unquote(rest[1:])
    if path in ("", ":memory:"):
        return SqliteLocation(None)
    return SqliteLocation(Path(path))
