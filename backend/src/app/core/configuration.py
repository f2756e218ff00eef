"""Where settings come from: command line, then environment, then TOML file, then defaults.

Each problem becomes one sentence that names the key as the operator spelt it, and the fix. A key that nobody knows
stops the start: a misspelt limit must never leave the default in force unnoticed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.consistency import require_consistency
from app.core.database_url import PostgresLocation, parse_database_url
from app.core.secret_files import exposure, read_secret
from app.core.settings import CREDENTIALS, AccountKeys, Settings, VenueKind
from app.domain.errors import ConfigurationError

PREFIX = "TES_"
DEFAULT_FILE = Path("tes.toml")
SECRETS = frozenset(
    {"api_token", "api_tokens", "webhook_secret", "token", "aster_private_key", "aster_api_key", "aster_api_secret"}
)
"""Keys whose values are never shown."""
FROM_FILE = SECRETS | {"alert_urls", "database_url", "aster_user", "aster_signer"}
"""Keys that can be given as ``KEY_FILE``, the path of a file whose content is the value."""
_FILE = "_file"
_M = TypeVar("_M", bound=BaseModel)


@dataclass(slots=True)
class _Given:
    """Values as they came, and how the operator spelt each key."""

    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    exposed: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, label: str) -> None:
        if name in self.labels:
            raise ConfigurationError(f"{self.labels[name]} and {label} set the same thing: remove one of them")
        self.values[name] = value
        self.labels[name] = label

    def over(self, other: _Given) -> _Given:
        return _Given({**other.values, **self.values}, {**other.labels, **self.labels}, [*self.exposed, *other.exposed])


def load_settings(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    is_service: bool = True,
) -> Settings:
    """Read and check the whole configuration.

    Args:
        environ: the environment; only ``TES_*`` matters, and an empty value counts as absent.
        config: a TOML file that must exist; without one, ``tes.toml`` is read where present.
        overrides: flat keys from the command line; None values are ignored.
        is_service: whether a service is to run with them, which needs credentials and tokens.

    Raises:
        ConfigurationError: one sentence that names the key and the fix.
    """
    flat, tables = _from_toml(config)
    given = _from_environment(environ).over(flat)
    for name, value in (overrides or {}).items():
        if value is not None:
            given.values[name], given.labels[name] = value, f"--{name.replace('_', '-')}"
    accounts = {account_id: _checked(AccountKeys, _inherit(given, table)) for account_id, table in tables.items()}
    settings = _checked(Settings, given).model_copy(update={"accounts": accounts})
    parse_database_url(settings.database_url, given.labels.get("database_url", "TES_DATABASE_URL"))
    exposed = (*given.exposed, *(text for table in tables.values() for text in table.exposed))
    if is_service:
        require_consistency(settings)
        if exposed and settings.venue is VenueKind.LIVE:
            raise ConfigurationError(exposed[0])
    return settings.with_warnings(exposed)


def _inherit(flat: _Given, table: _Given) -> _Given:
    """Rules and addresses of the flat keys hold for every account; credentials are each account's own."""
    shared = [name for name in flat.values if name in AccountKeys.model_fields and name not in CREDENTIALS]
    base = _Given({name: flat.values[name] for name in shared}, {name: flat.labels[name] for name in shared})
    return table.over(base)


def _from_environment(environ: Mapping[str, str]) -> _Given:
    given = _Given()
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or not environ[variable].strip():
            continue
        name = variable.removeprefix(PREFIX).lower()
        _accept(given, Settings, name, environ[variable].strip(), variable, PREFIX)
    return given


def _from_toml(config: Path | None) -> tuple[_Given, dict[str, _Given]]:
    path = config or DEFAULT_FILE
    if config is None and not path.exists():
        return _Given(), {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigurationError(
            f"--config {path} can't be read ({error.strerror}): give a readable TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not a TOML file: {error}") from None
    tables = document.pop("accounts", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigurationError(f"accounts in {path} must be tables: write [accounts.NAME]")
    flat = _Given()
    _flatten(flat, Settings, _with_token_lines(document, path), path, "", "")
    accounts = {}
    for account_id, table in tables.items():
        if not 1 <= len(account_id) <= 64:
            raise ConfigurationError(f"[accounts.{account_id}] in {path}: an account's name has 1 to 64 characters")
        accounts[account_id] = _Given()
        _flatten(accounts[account_id], AccountKeys, table, path, f"accounts.{account_id}.", "")
    for given in (flat, *accounts.values()):
        for name, label in given.labels.items():
            if _holds_secret(name, given.values[name], label) and not label.split()[0].endswith(_FILE):
                given.exposed += exposure(path.stat(), path, label)
    return flat, accounts


def _holds_secret(name: str, value: Any, label: str) -> bool:
    """Whether a file with this key in it must be read by nobody else: alert addresses and a database's may, too."""
    if name == "database_url":
        location = parse_database_url(str(value), label)
        return isinstance(location, PostgresLocation) and location.holds_secret
    return name in SECRETS or name == "alert_urls"


def _with_token_lines(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document with ``[api.tokens]``, whose keys are names, as lines."""
    api = document.get("api")
    if not isinstance(api, dict) or not isinstance(api.get("tokens"), dict):
        return document
    if not all(isinstance(value, str) for value in api["tokens"].values()):
        raise ConfigurationError(f'api.tokens in {path}: write NAME = "SCOPE sha256:HEX" for each')
    lines = "\n".join(f"{name} {value}" for name, value in api["tokens"].items())
    return {**document, "api": {**api, "tokens": lines}}


def _flatten(
    given: _Given, model: type[BaseModel], table: Mapping[str, Any], path: Path, place: str, stem: str
) -> None:
    """Read ``[risk] max_leverage`` and ``risk_max_leverage`` alike."""
    for key, value in table.items():
        name, spelt = f"{stem}{key}", f"{place}{key}"
        if isinstance(value, dict):
            _flatten(given, model, value, path, f"{spelt}.", f"{name}_")
            continue
        if isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, bool):
            value = str(value).lower()  # as in the environment: a truth value is no number
        _accept(given, model, name, value, f"{spelt} (in {path})", place)


def _accept(given: _Given, model: type[BaseModel], name: str, value: Any, label: str, place: str) -> None:
    known = model.model_fields.keys() - {"accounts"}
    if name in known:
        given.put(name, value, label)
        return
    target = name.removesuffix(_FILE)
    if name.endswith(_FILE) and target in known & FROM_FILE:
        secret, exposed = read_secret(Path(str(value)), label)
        given.put(target, secret, label)
        given.exposed += exposed
        return
    raise ConfigurationError(_unknown(name, known, label, place))


def _unknown(name: str, known: set[str], label: str, place: str) -> str:
    close = difflib.get_close_matches(name, sorted(known | {f"{key}{_FILE}" for key in FROM_FILE & known}), n=1)
    if not close:
        return f"{label} is not a known setting: remove it (docs/configuration.md lists all settings)"
    if place == PREFIX:
        return f"{label} is not a known setting: did you mean {PREFIX}{close[0].upper()}?"
    account = ".".join(place.split(".")[:2]) + "." if place.startswith("accounts.") else ""
    return f"{label} is not a known setting: did you mean {account}{close[0]}?"


def _checked(model: type[_M], given: _Given) -> _M:
    try:
        return model.model_validate(given.values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigurationError(_explain(model, given, str(problem["loc"][0]))) from None


def _explain(model: type[BaseModel], given: _Given, name: str) -> str:
    label = given.labels.get(name, name)
    expected = model.model_fields[name].description
    if name in SECRETS or name in ("alert_urls", "database_url"):
        return f"{label} has the wrong shape: it must be {expected}"
    shown = str(given.values.get(name))
    return f"{label} can't be {shown[:80]!r}: it must be {expected}"
