"""``TES_DATABASE_URL``: where the database is (contract, section 3), and what of that may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from app.domain.errors import ConfigurationError

_HELP = (
    "use sqlite:///data/tes.db (from the working directory), sqlite:////var/lib/tes.db (from the root) "
    "or postgresql://USER:PASSWORD@HOST/DATABASE"
)
_ESCAPES = (
    "use postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, with special characters of user, password and "
    "values written as % and two digits: / is %2F, @ is %40, % is %25, a space is %20"
)
_POSTGRES = re.compile(
    r"(?:(?P<user>[^@/:]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?#@]*)(?:/(?P<name>[^?#@]*))?(?:\?(?P<options>[^@]*))?"
)
"""As libpq reads it, which lets ``?`` and ``#`` be part of a password. It would also read a password with ``/`` as a
port and a database's name, and one with ``@`` as a host, and then tell of those; here they don't match."""
_HOST = re.compile(r"(?:\[(?P<address>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d*))?")
_PORTS = re.compile(r"[\d,]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})|%00|\s")
_SECRET = re.compile(r"(?:password|secret|_key)$")
"""Options of libpq whose values are secrets: ``password``, ``sslpassword``, ``oauth_client_secret``,
``scram_client_key``, ``scram_server_key``."""


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A database file; without a path it is temporary and gone when it is closed."""

    path: Path | None

    @property
    def shown(self) -> str:
        """What messages call it."""
        return ":memory:" if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A database on a server. ``url`` may hold secrets; ``shown`` is host and database name, and never does."""

    url: str = field(repr=False)
    shown: str
    holds_secret: bool


DatabaseLocation: TypeAlias = SqliteLocation | PostgresLocation


def parse_database_url(url: str, label: str = "TES_DATABASE_URL") -> DatabaseLocation:
    """Read a database URL. Driver suffixes (``+aiosqlite``, ``+asyncpg``) mean nothing.

    Args:
        url: as the operator wrote it.
        label: how the operator spelt the key.

    Raises:
        ConfigurationError: not a URL of a database that this version knows. The message never repeats the URL, which
            may hold a password.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        raise ConfigurationError(f"{label} is not a URL: {_HELP}")
    kind = scheme.partition("+")[0].lower()
    if kind in ("postgresql", "postgres"):
        location = _postgres(rest)
        if location is None:
            raise ConfigurationError(f"{label} is no PostgreSQL URL: {_ESCAPES}")
        return location
    if kind != "sqlite":
        raise ConfigurationError(f"{label}: such a database is not supported: {_HELP}")
    return _sqlite(rest, label)


def _sqlite(rest: str, label: str) -> SqliteLocation:
    if not rest.startswith("/"):
        raise ConfigurationError(f"{label}: three slashes come before the path: {_HELP}")
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"{label}: options after the path are not supported: {_HELP}")
    path = unquote(rest[1:])
    if path in ("", ":memory:"):
        return SqliteLocation(None)
    return SqliteLocation(Path(path))


def _postgres(rest: str) -> PostgresLocation | None:
    """The options of libpq after ``?`` are the operator's to use (``sslmode``, ``host=/folder/of/the/socket``)."""
    parts = _POSTGRES.fullmatch(rest)
    if parts is None or _BAD_ESCAPE.search(rest):
        return None
    hosts = [_HOST.fullmatch(one) for one in parts["hosts"].split(",")]
    options = [one.partition("=") for one in parts["options"].split("&")] if parts["options"] else []
    if None in hosts or not all(name and separator and "=" not in value for name, separator, value in options):
        return None
    try:
        values = {
            "host": ",".join(_text(one["address"] or one["host"]) for one in hosts if one),
            "port": ",".join(one["port"] or "" for one in hosts if one),
            "dbname": _text(parts["name"] or ""),
            "password": _text(parts["password"] or ""),
            "user": _text(parts["user"] or ""),
            **{_text(name): _text(value) for name, _, value in options},
        }
    except UnicodeDecodeError:
        return None
    if not _PORTS.fullmatch(values["port"]):
        return None
    holds_secret = any(value != "" and _SECRET.search(name) is not None for name, value in values.items())
    return PostgresLocation(f"postgresql://{rest}", _shown(values), holds_secret)


def _text(part: str) -> str:
    return unquote(part, errors="strict")


def _shown(values: dict[str, str]) -> str:
    hosts = (values["host"] or values.get("hostaddr", "")).split(",")
    ports = values["port"].split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)  # one for all of them
    places = [_place(host or "the local server", port) for host, port in zip(hosts, ports, strict=True)]
    return f"{','.join(places)}/{values['dbname'] or '(default)'}"


def _place(host: str, port: str) -> str:
    return (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
