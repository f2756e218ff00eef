"""The settings: every variable of the contract (section 3) as a typed value, and the policies made of them.

Values come in through :mod:`app.core.configuration`, which knows environment, TOML file and secret files, and turns
each problem into one sentence. Nothing here reads the environment. Each field's description says what it accepts; it
is what the operator reads after a bad value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from app.core.database_url import SqliteLocation, parse_database_url
from app.core.tokens import TokenRecord, read_records
from app.domain.money import decimal_from_text, plain
from app.domain.policy import (
    HARD_MAXIMUM_LEVERAGE,
    AccountPolicy,
    AllocationBasis,
    ExistingPositionPolicy,
    ExternalPositionPolicy,
    ForeignOrdersPolicy,
    LeveragePolicy,
    ProtectionFailurePolicy,
    ProtectionPolicy,
    ReconcilePolicy,
    RiskPolicy,
)
from app.domain.reports import MarginType, OrderType, WorkingType

DEFAULT_ACCOUNT = "default"
MASK = "********"
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class VenueKind(StrEnum):
    """Where orders go."""

    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


class AuthScheme(StrEnum):
    """How requests are signed: EIP-712 (``v3``) or HMAC (``v1``)."""

    V3 = "v3"
    V1 = "v1"


@dataclass(frozen=True, slots=True)
class VenueAddress:
    """Addresses of an exchange, without a trailing slash, and its EIP-712 chain id (fact sheet, section 1)."""

    rest_url: str
    user_stream_url: str
    market_stream_url: str
    chain_id: int


VENUES: Mapping[VenueKind, VenueAddress] = {
    VenueKind.LIVE: VenueAddress(
        "https://fapi.asterdex.com", "wss://fstream.asterdex.com", "wss://fstream.asterdex.com", 1666
    ),
    VenueKind.TESTNET: VenueAddress(
        "https://fapi.asterdex-testnet.com",
        "wss://fstream.asterdex-testnet.com",
        "wss://fstream5.asterdex-testnet.com",
        714,
    ),
}


def is_loopback(host: str | None) -> bool:
    """Whether ``host`` can only be reached from this machine."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not a number")  # noqa: TRY004 — pydantic reports ValueErrors
    return decimal_from_text(value.strip() if isinstance(value, str) else value)


def _url(schemes: tuple[str, str]) -> AfterValidator:
    secure, plain_scheme = schemes

    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("not such an address")
        if parts.scheme == plain_scheme and not is_loopback(parts.hostname):
            raise ValueError(f"{plain_scheme} only to this machine, {secure} elsewhere")
        return value.rstrip("/")

    return AfterValidator(check)


def _shape(pattern: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: SecretStr) -> SecretStr:
        if compiled.fullmatch(value.get_secret_value()) is None:
            raise ValueError("wrong shape")
        return value

    return AfterValidator(check)


def _private_key(value: SecretStr) -> SecretStr:
    digits = value.get_secret_value().removeprefix("0x")
    if re.fullmatch(r"[0-9a-fA-F]{64}", digits) is None or not 0 < int(digits, 16) < _CURVE_ORDER:
        raise ValueError("wrong shape")
    return value


def _tokens(value: Any) -> Any:
    return read_records(value) if isinstance(value, str) else value


def _urls(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Amount = Annotated[Decimal, BeforeValidator(_decimal)]
_Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
_Token = Annotated[SecretStr, _shape(r"[\x21-\x7e]{1,512}")]
_PositiveAmount = Annotated[Amount, Field(gt=0)]
_Seconds = Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)]
_TpType = Literal[OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT, OrderType.LIMIT]
_SlType = Literal[OrderType.STOP_MARKET, OrderType.STOP]


class AccountKeys(BaseModel):
    """What can be set for each account. Credentials are never inherited from the flat variables, the rest is."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False)

    aster_rest_url: Annotated[str, _url(("https", "http"))] | None = Field(
        None, description="an https:// address without user, query or fragment; http:// only to this machine"
    )
    aster_ws_url: Annotated[str, _url(("wss", "ws"))] | None = Field(
        None, description="a wss:// address without user, query or fragment; ws:// only to this machine"
    )
    aster_auth: AuthScheme = Field(AuthScheme.V3, description="v3 or v1")
    aster_user: _Address | None = Field(None, description="the account's address: 0x and 40 hexadecimal digits")
    aster_signer: _Address | None = Field(None, description="the agent's address: 0x and 40 hexadecimal digits")
    aster_private_key: Annotated[SecretStr, AfterValidator(_private_key)] | None = Field(
        None, description="the agent's private key: 64 hexadecimal digits, 0x in front or not"
    )
    aster_chain_id: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(None, description="a whole number above 0")
    aster_nonce_window_seconds: Annotated[_Seconds, Field(gt=0)] = Field(
        60,
        description="seconds above 0, not less than the exchange's own window: a lost order is dead after it",
    )
    aster_entry_lifetime_seconds: Annotated[_Seconds, Field(ge=1)] | None = Field(
        None, description="seconds from 1 to less than aster_nonce_window_seconds, or nothing"
    )
    aster_api_key: _Token | None = Field(None, description="the API key as the exchange shows it, without spaces")
    aster_api_secret: _Token | None = Field(None, description="the API secret as the exchange shows it, without spaces")

    risk_max_leverage: Annotated[int, Field(ge=1, le=HARD_MAXIMUM_LEVERAGE)] = Field(
        HARD_MAXIMUM_LEVERAGE,
        description=f"a whole number from 1 to {HARD_MAXIMUM_LEVERAGE}; it may be lowered, never raised above that",
    )
    risk_leverage_policy: LeveragePolicy = Field(LeveragePolicy.CAP, description="cap or reject")
    risk_default_leverage: Annotated[int, Field(ge=1, le=HARD_MAXIMUM_LEVERAGE)] = Field(
        5, description="a whole number from 1 to risk_max_leverage"
    )
    risk_cooldown_seconds: _Seconds = Field(300, description="seconds, 0 or more; 0 switches the cooldown off")
    risk_max_decision_age_seconds: Annotated[_Seconds, Field(gt=0)] = Field(60, description="seconds above 0")
    risk_require_stop_loss: bool = Field(default=False, description="true or false")
    risk_allocation_basis: AllocationBasis = Field(AllocationBasis.NOTIONAL, description="notional or margin")
    risk_on_existing_position: ExistingPositionPolicy = Field(
        ExistingPositionPolicy.REJECT, description="reject, add or flip"
    )
    risk_max_open_positions: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number from 1")
    risk_max_notional_per_asset: _PositiveAmount | None = Field(None, description="an amount in USD above 0")
    risk_max_total_notional: _PositiveAmount | None = Field(None, description="an amount in USD above 0")
    risk_max_daily_loss: _PositiveAmount | None = Field(None, description="an amount in USD above 0")
    risk_max_price_deviation_bps: Annotated[Amount, Field(gt=0, le=10_000)] = Field(
        Decimal(100), description="basis points above 0, up to 10000"
    )
    risk_max_exit_distance_percent: Annotated[Amount, Field(gt=0)] = Field(
        Decimal(50), description="a percentage above 0"
    )

    protection_working_type: WorkingType = Field(WorkingType.MARK_PRICE, description="MARK_PRICE or CONTRACT_PRICE")
    protection_tp_type: _TpType = Field(
        OrderType.TAKE_PROFIT_MARKET, description="TAKE_PROFIT_MARKET, TAKE_PROFIT or LIMIT"
    )
    protection_sl_type: _SlType = Field(OrderType.STOP_MARKET, description="STOP_MARKET or STOP")
    protection_limit_offset_bps: Annotated[Amount, Field(ge=0, le=10_000)] = Field(
        Decimal(50), description="basis points from 0 to 10000"
    )
    protection_max_attempts: Annotated[int, Field(ge=1, le=1000)] = Field(
        6, description="a whole number from 1 to 1000"
    )
    protection_base_delay_seconds: Annotated[_Seconds, Field(gt=0)] = Field(0.2, description="seconds above 0")
    protection_deadline_seconds: Annotated[_Seconds, Field(gt=0)] = Field(10, description="seconds above 0")
    protection_on_failure: ProtectionFailurePolicy = Field(ProtectionFailurePolicy.CLOSE, description="close or alert")
    protection_foreign_orders: ForeignOrdersPolicy = Field(
        ForeignOrdersPolicy.PLAIN, description="plain, cancel or alert"
    )
    protection_on_tp_failure: ProtectionFailurePolicy = Field(
        ProtectionFailurePolicy.ALERT, description="alert or close"
    )

    reconcile_interval_seconds: Annotated[_Seconds, Field(ge=1)] = Field(30, description="seconds from 1")
    reconcile_external_positions: ExternalPositionPolicy = Field(
        ExternalPositionPolicy.TRACK, description="track or protect"
    )
    reconcile_external_stop_bps: Annotated[Amount, Field(gt=0, lt=10_000)] | None = Field(
        None, description="basis points above 0, below 10000"
    )
    margin_type: MarginType | None = Field(None, description="ISOLATED or CROSSED, or leave it out")

    @property
    def has_credentials(self) -> bool:
        """Whether any credential is given."""
        return any(getattr(self, name) is not None for name in CREDENTIALS)

    def risk_policy(self) -> RiskPolicy:
        """Limits of this account. A default leverage that nobody chose is capped at the maximum."""
        return RiskPolicy(
            maximum_leverage=self.risk_max_leverage,
            leverage_policy=self.risk_leverage_policy,
            default_leverage=min(self.risk_default_leverage, self.risk_max_leverage),
            cooldown_s=self.risk_cooldown_seconds,
            maximum_decision_age_s=self.risk_max_decision_age_seconds,
            require_stop_loss=self.risk_require_stop_loss,
            allocation_basis=self.risk_allocation_basis,
            on_existing_position=self.risk_on_existing_position,
            maximum_open_positions=self.risk_max_open_positions,
            maximum_notional_per_asset=self.risk_max_notional_per_asset,
            maximum_total_notional=self.risk_max_total_notional,
            maximum_daily_loss=self.risk_max_daily_loss,
            maximum_price_deviation_bps=self.risk_max_price_deviation_bps,
            maximum_exit_distance_percent=self.risk_max_exit_distance_percent,
            margin_type=self.margin_type,
        )

    def protection_policy(self) -> ProtectionPolicy:
        """How exits of this account are placed."""
        return ProtectionPolicy(
            working_type=self.protection_working_type,
            take_profit_type=self.protection_tp_type,
            stop_loss_type=self.protection_sl_type,
            limit_offset_bps=self.protection_limit_offset_bps,
            maximum_attempts=self.protection_max_attempts,
            base_delay_s=self.protection_base_delay_seconds,
            deadline_s=self.protection_deadline_seconds,
            on_failure=self.protection_on_failure,
            foreign_orders=self.protection_foreign_orders,
            on_take_profit_failure=self.protection_on_tp_failure,
        )

    def reconcile_policy(self) -> ReconcilePolicy:
        """When this account's record is compared with the exchange."""
        return ReconcilePolicy(
            interval_s=self.reconcile_interval_seconds,
            external_positions=self.reconcile_external_positions,
            external_stop_bps=self.reconcile_external_stop_bps,
        )


CREDENTIALS = ("aster_user", "aster_signer", "aster_private_key", "aster_api_key", "aster_api_secret")
REQUIRED_CREDENTIALS: Mapping[AuthScheme, tuple[str, ...]] = {
    AuthScheme.V3: ("aster_user", "aster_signer", "aster_private_key"),
    AuthScheme.V1: ("aster_api_key", "aster_api_secret"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """Everything about one account. ``address`` and credentials are None in paper mode: the embedded venue has them."""

    account_id: str
    auth: AuthScheme
    address: VenueAddress | None
    user: str | None
    signer: str | None
    private_key: SecretStr | None
    api_key: SecretStr | None
    api_secret: SecretStr | None
    nonce_window_s: float
    entry_lifetime_s: float | None
    policy: AccountPolicy


class Settings(AccountKeys):
    """The whole configuration; the account's own keys describe the account ``default``."""

    venue: VenueKind = Field(VenueKind.PAPER, description="paper, testnet or live")
    database_url: Annotated[str, Field(min_length=1)] = Field(
        "sqlite:///data/tes.db",
        description="an address like sqlite:///data/tes.db or postgresql://USER:PASSWORD@HOST/DATABASE",
        repr=False,
    )
    paper_balance: _PositiveAmount = Field(Decimal(10_000), description="an amount in USD above 0")
    paper_prices: Annotated[str, Field(pattern=r"^(synthetic|manual|live|candles:.+)$")] = Field(
        "synthetic", description="synthetic, manual, live or candles:FILE"
    )
    paper_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(None, description="a whole number from 0")
    host: Annotated[str, Field(min_length=1, pattern=r"^\S+$")] = Field(
        "127.0.0.1", description="a host name or address"
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000, description="a port number from 0 (any free one) to 65535"
    )
    api_token: _Token | None = Field(None, description="printable characters without spaces")
    shutdown_grace_seconds: Annotated[_Seconds, Field(le=600)] = Field(
        10, description="seconds from 0 to 600: how long a stop waits until positions have their exits"
    )
    api_tokens: Annotated[tuple[TokenRecord, ...], BeforeValidator(_tokens)] = Field(
        (), description="lines of NAME SCOPE sha256:HEX, as 'tes token' prints them, each name once"
    )
    webhook_secret: Annotated[SecretStr, _shape(r"[\x21-\x7e]{16,512}")] | None = Field(
        None, description="16 or more printable characters without spaces"
    )
    metrics_public: bool = Field(default=False, description="true or false")
    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")] | None = Field(
        None, description="an address like http://127.0.0.1:8000"
    )
    token: _Token | None = Field(None, description="printable characters without spaces")
    alert_urls: Annotated[tuple[SecretStr, ...], BeforeValidator(_urls)] = Field(
        (), description="Apprise addresses, comma separated"
    )
    alert_repeat_seconds: Annotated[_Seconds, Field(ge=1, le=86_400)] = Field(
        300, description="seconds from 1 to 86400: for so long the same alert is counted, not told again"
    )
    alert_max_per_minute: Annotated[int, Field(ge=2, le=600)] = Field(
        20, description="a whole number from 2 to 600: messages that a channel gets in a minute at most"
    )
    log_format: Literal["console", "json"] | None = Field(None, description="console or json")
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = Field("INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL")
    accounts: dict[str, AccountKeys] = Field(default_factory=dict, description="tables [accounts.NAME]")

    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should not stay as it is, a sentence each, although the service can run so."""
        return self._warnings

    def with_warnings(self, warnings: tuple[str, ...]) -> Self:
        """These settings, with warnings."""
        copy = self.model_copy()
        copy._warnings = warnings  # noqa: SLF001 — of its own kind
        return copy

    @property
    def is_paper(self) -> bool:
        """Whether orders go to the embedded simulated venue."""
        return self.venue is VenueKind.PAPER

    def account_settings(self) -> dict[str, AccountSettings]:
        """Every account by its id. ``default`` is left out when only other accounts have credentials."""
        keys: dict[str, AccountKeys] = {}
        if self.is_paper or self.has_credentials or not self.accounts:
            keys[DEFAULT_ACCOUNT] = self
        keys.update(self.accounts)
        return {account_id: self._account(account_id, own) for account_id, own in keys.items()}

    def _account(self, account_id: str, own: AccountKeys) -> AccountSettings:
        return AccountSettings(
            account_id=account_id,
            auth=own.aster_auth,
            address=None if self.is_paper else self._address(own),
            user=own.aster_user,
            signer=own.aster_signer,
            private_key=own.aster_private_key,
            api_key=own.aster_api_key,
            api_secret=own.aster_api_secret,
            nonce_window_s=own.aster_nonce_window_seconds,
            entry_lifetime_s=own.aster_entry_lifetime_seconds,
            policy=AccountPolicy(
                account_id=account_id,
                is_paper=self.is_paper,
                risk=own.risk_policy(),
                protection=own.protection_policy(),
                reconcile=own.reconcile_policy(),
            ),
        )

    def _address(self, own: AccountKeys) -> VenueAddress:
        known = VENUES[self.venue]
        return VenueAddress(
            rest_url=own.aster_rest_url or known.rest_url,
            user_stream_url=own.aster_ws_url or known.user_stream_url,
            market_stream_url=own.aster_ws_url or known.market_stream_url,
            chain_id=own.aster_chain_id or known.chain_id,
        )

    def masked(self) -> dict[str, Any]:
        """Every setting as JSON values, each secret replaced: for ``tes config``."""
        document = {name: _masked(name, getattr(self, name)) for name in type(self).model_fields if name != "accounts"}
        document["accounts"] = {
            account_id: {name: _masked(name, getattr(own, name)) for name in own.model_fields_set}
            for account_id, own in self.accounts.items()
        }
        return document


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if name == "api_tokens":
        return [f"{record.name} {record.scope.value} {MASK}" for record in value]
    if isinstance(value, tuple):
        return [MASK for _ in value]
    if isinstance(value, Decimal):
        return plain(value)
    if name == "database_url":
        location = parse_database_url(value)
        if isinstance(location, SqliteLocation):
            return value
        return f"postgresql://{MASK}@{location.shown}" if location.holds_secret else f"postgresql://{location.shown}"
    return value.value if isinstance(value, StrEnum) else value


def key_label(account_id: str, name: str) -> str:
    """How the operator knows a key: the variable of the account ``default``, the TOML path of another."""
    return f"TES_{name.upper()}" if account_id == DEFAULT_ACCOUNT else f"accounts.{account_id}.{name}"
