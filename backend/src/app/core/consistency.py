"""Consistency: what no single setting can check, because it needs another one."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.settings import (
    DEFAULT_ACCOUNT,
    REQUIRED_CREDENTIALS,
    AccountSettings,
    AuthScheme,
    Settings,
    VenueKind,
    is_loopback,
    key_label,
)
from app.domain.errors import ConfigurationError
from app.domain.policy import ExternalPositionPolicy

_SHORTEST_LIVE_TOKEN = 32
"""Characters: what is shorter may be guessed, or was made up by a person."""


def require_consistency(settings: Settings) -> None:
    """Check what no single key can: credentials, tokens and hosts that need one another.

    Raises:
        ConfigurationError: one sentence that names the key and the fix.
    """
    if settings.api_token is None and not is_loopback(settings.host):
        raise ConfigurationError(
            f"TES_HOST={settings.host} can be reached from other machines, which needs a token: "
            "set TES_API_TOKEN to a long random text, or TES_HOST to 127.0.0.1"
        )
    if settings.api_token is None and settings.venue is VenueKind.LIVE:
        raise ConfigurationError("TES_API_TOKEN is required for live trading: set it to a long random text")
    if settings.venue is VenueKind.LIVE and settings.api_token is not None:
        length = len(settings.api_token.get_secret_value())
        if length < _SHORTEST_LIVE_TOKEN:
            raise ConfigurationError(
                f"TES_API_TOKEN has {length} characters, and for real money it needs {_SHORTEST_LIVE_TOKEN} or more: "
                "set it to a random text, such as 'openssl rand -hex 24' prints"
            )
    if (
        "risk_default_leverage" in settings.model_fields_set
        and settings.risk_default_leverage > settings.risk_max_leverage
    ):
        raise ConfigurationError(
            f"TES_RISK_DEFAULT_LEVERAGE={settings.risk_default_leverage} is above "
            f"TES_RISK_MAX_LEVERAGE={settings.risk_max_leverage}: lower it"
        )
    accounts = settings.account_settings()
    for account_id, account in accounts.items():
        _require_account(settings, account_id, account)
    if not settings.is_paper:
        _require_own_keys(accounts)
    if DEFAULT_ACCOUNT in settings.accounts:
        raise ConfigurationError(
            "accounts.default is described by the flat keys: move the keys of [accounts.default] to the top of the file"
        )


def _require_account(settings: Settings, account_id: str, account: AccountSettings) -> None:
    keys = settings.accounts.get(account_id, settings)
    if keys.reconcile_external_positions is ExternalPositionPolicy.PROTECT and keys.reconcile_external_stop_bps is None:
        raise ConfigurationError(
            f"{key_label(account_id, 'reconcile_external_stop_bps')} is required to protect external positions: "
            "set it to the distance of the stop from the entry in basis points, 200 for 2 %"
        )
    lifetime_s = account.entry_lifetime_s
    if lifetime_s is not None and (account.auth is AuthScheme.V1 or lifetime_s >= account.nonce_window_s):
        window = key_label(account_id, "aster_nonce_window_seconds")
        raise ConfigurationError(
            f"{key_label(account_id, 'aster_entry_lifetime_seconds')}={lifetime_s:g} shortens the life of a v3 nonce: "
            f"set it below {window}={account.nonce_window_s:g}, or leave it out; v1 has no nonces"
        )
    if settings.is_paper:
        if keys.aster_rest_url or keys.aster_ws_url:
            name = "aster_rest_url" if keys.aster_rest_url else "aster_ws_url"
            raise ConfigurationError(
                f"{key_label(account_id, name)} has no meaning in paper mode, which brings its own venue: remove it, "
                "or set TES_VENUE=testnet to trade at that address"
            )
        return
    missing = [name for name in REQUIRED_CREDENTIALS[account.auth] if getattr(keys, name) is None]
    if missing:
        names = ", ".join(key_label(account_id, name) for name in missing)
        raise ConfigurationError(
            f"{names} must be set to trade on {settings.venue.value} with {account.auth.value} signatures "
            f"(a secret can also come from a file: {key_label(account_id, missing[-1])}{_file_suffix(account_id)})"
        )


def _require_own_keys(accounts: Mapping[str, AccountSettings]) -> None:
    """Two that trade one user undo each other's exits, and two with one signer collide in nonces (scenario L3)."""
    owners: dict[tuple[str, str, str], str] = {}
    for account_id, account in accounts.items():
        place = account.address.rest_url if account.address else ""
        api_key = account.api_key.get_secret_value() if account.api_key else None
        for name, known in (("aster_user", account.user), ("aster_signer", account.signer), ("aster_api_key", api_key)):
            value = (place, name, (known or account_id).lower())
            if value in owners:
                other = owners[value]
                raise ConfigurationError(
                    f"{key_label(account_id, name)} is that of account {other}: each account needs a user and a key of "
                    f"its own; remove one of the two accounts, or give this one the credentials of another user"
                )
            owners[value] = account_id


def _file_suffix(account_id: str) -> str:
    return "_FILE" if account_id == DEFAULT_ACCOUNT else "_file"
