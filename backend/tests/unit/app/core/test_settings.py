"""Each wrong setting stops the start with one sentence that names the key and the fix (contract, section 3)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.core.configuration import load_settings
from app.core.settings import MASK, Settings, VenueKind
from app.domain.errors import ConfigurationError
from app.domain.policy import AllocationBasis, ExistingPositionPolicy, LeveragePolicy, RiskPolicy
from app.domain.reports import MarginType, OrderType

KEY = "0x" + "1" * 64
ADDRESS = "0x" + "a" * 40
TESTNET = {
    "TES_VENUE": "testnet",
    "TES_ASTER_USER": ADDRESS,
    "TES_ASTER_SIGNER": ADDRESS,
    "TES_ASTER_PRIVATE_KEY": KEY,
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str | None = None, **environ: str) -> Settings:
    if text is None:
        return load_settings(environ)
    path = Path("settings.toml")
    path.write_text(text, encoding="utf-8")
    return load_settings(environ, config=path)


def refusal(text: str | None = None, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_any_setting_it_is_paper_with_the_contracts_defaults() -> None:
    settings = load()
    assert settings.venue is VenueKind.PAPER
    assert settings.is_paper
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.database_url == "sqlite:///data/tes.db"
    assert (settings.paper_balance, settings.paper_prices, settings.paper_seed) == (Decimal(10_000), "synthetic", None)
    accounts = settings.account_settings()
    assert list(accounts) == ["default"]
    policy = accounts["default"].policy
    assert policy.risk == RiskPolicy()
    assert policy.protection.stop_loss_type is OrderType.STOP_MARKET
    assert policy.reconcile.interval_s == 30


@pytest.mark.parametrize(
    ("environ", "key", "fix"),
    [
        ({"TES_RISK_MAX_LEVRAGE": "3"}, "TES_RISK_MAX_LEVRAGE", "did you mean TES_RISK_MAX_LEVERAGE?"),
        ({"TES_QUUX": "3"}, "TES_QUUX", "remove it"),
        ({"TES_RISK_MAX_LEVERAGE": "26"}, "TES_RISK_MAX_LEVERAGE", "from 1 to 25"),
        ({"TES_RISK_MAX_LEVERAGE": "0"}, "TES_RISK_MAX_LEVERAGE", "from 1 to 25"),
        ({"TES_RISK_MAX_LEVERAGE": "2.5"}, "TES_RISK_MAX_LEVERAGE", "whole number"),
        (
            {"TES_RISK_MAX_LEVERAGE": "3", "TES_RISK_DEFAULT_LEVERAGE": "5"},
            "TES_RISK_DEFAULT_LEVERAGE",
            "TES_RISK_MAX_LEVERAGE=3",
        ),
        ({"TES_RISK_LEVERAGE_POLICY": "clip"}, "TES_RISK_LEVERAGE_POLICY", "cap or reject"),
        ({"TES_RISK_COOLDOWN_SECONDS": "-1"}, "TES_RISK_COOLDOWN_SECONDS", "0 or more"),
        ({"TES_RISK_COOLDOWN_SECONDS": "nan"}, "TES_RISK_COOLDOWN_SECONDS", "0 or more"),
        ({"TES_RISK_COOLDOWN_SECONDS": "5 min"}, "TES_RISK_COOLDOWN_SECONDS", "seconds"),
        ({"TES_RISK_MAX_DECISION_AGE_SECONDS": "0"}, "TES_RISK_MAX_DECISION_AGE_SECONDS", "above 0"),
        ({"TES_RISK_REQUIRE_STOP_LOSS": "perhaps"}, "TES_RISK_REQUIRE_STOP_LOSS", "true or false"),
        ({"TES_RISK_ALLOCATION_BASIS": "both"}, "TES_RISK_ALLOCATION_BASIS", "notional or margin"),
        ({"TES_RISK_ON_EXISTING_POSITION": "double"}, "TES_RISK_ON_EXISTING_POSITION", "reject, add or flip"),
        ({"TES_RISK_MAX_DAILY_LOSS": "NaN"}, "TES_RISK_MAX_DAILY_LOSS", "amount in USD"),
        ({"TES_RISK_MAX_TOTAL_NOTIONAL": "Infinity"}, "TES_RISK_MAX_TOTAL_NOTIONAL", "amount in USD"),
        ({"TES_RISK_MAX_OPEN_POSITIONS": "0"}, "TES_RISK_MAX_OPEN_POSITIONS", "from 1"),
        ({"TES_PROTECTION_TP_TYPE": "STOP_MARKET"}, "TES_PROTECTION_TP_TYPE", "TAKE_PROFIT_MARKET"),
        ({"TES_PROTECTION_SL_TYPE": "LIMIT"}, "TES_PROTECTION_SL_TYPE", "STOP_MARKET or STOP"),
        ({"TES_PROTECTION_MAX_ATTEMPTS": "0"}, "TES_PROTECTION_MAX_ATTEMPTS", "from 1"),
        ({"TES_PROTECTION_DEADLINE_SECONDS": "0"}, "TES_PROTECTION_DEADLINE_SECONDS", "above 0"),
        ({"TES_PROTECTION_ON_FAILURE": "shrug"}, "TES_PROTECTION_ON_FAILURE", "close or alert"),
        ({"TES_RECONCILE_INTERVAL_SECONDS": "0.5"}, "TES_RECONCILE_INTERVAL_SECONDS", "from 1"),
        (
            {"TES_RECONCILE_EXTERNAL_POSITIONS": "protect"},
            "TES_RECONCILE_EXTERNAL_STOP_BPS",
            "distance of the stop",
        ),
        ({"TES_MARGIN_TYPE": "cross"}, "TES_MARGIN_TYPE", "ISOLATED or CROSSED"),
        ({"TES_VENUE": "mainnet"}, "TES_VENUE", "paper, testnet or live"),
        ({"TES_PORT": "80a"}, "TES_PORT", "port number"),
        ({"TES_PORT": "65536"}, "TES_PORT", "65535"),
        ({"TES_PAPER_BALANCE": "0"}, "TES_PAPER_BALANCE", "above 0"),
        ({"TES_PAPER_PRICES": "random"}, "TES_PAPER_PRICES", "synthetic"),
        ({"TES_LOG_LEVEL": "LOUD"}, "TES_LOG_LEVEL", "DEBUG"),
        ({"TES_HOST": "0.0.0.0"}, "TES_HOST", "set TES_API_TOKEN"),
        ({"TES_HOST": "tes.example.org"}, "TES_HOST", "set TES_API_TOKEN"),
        ({"TES_ASTER_REST_URL": "http://127.0.0.1:9100"}, "TES_ASTER_REST_URL", "TES_VENUE=testnet"),
        ({"TES_VENUE": "live"}, "TES_API_TOKEN", "long random text"),
        ({"TES_VENUE": "live", "TES_API_TOKEN": "t" * 31}, "TES_API_TOKEN", "has 31 characters"),
        ({"TES_VENUE": "live", "TES_API_TOKEN": "t" * 32}, "TES_ASTER_PRIVATE_KEY", "must be set"),
        ({"TES_VENUE": "testnet", "TES_ASTER_AUTH": "v1"}, "TES_ASTER_API_SECRET", "TES_ASTER_API_SECRET_FILE"),
        ({**TESTNET, "TES_ASTER_SIGNER": ""}, "TES_ASTER_SIGNER", "must be set"),
        ({**TESTNET, "TES_ASTER_SIGNER": "0xabc"}, "TES_ASTER_SIGNER", "40 hexadecimal digits"),
        ({**TESTNET, "TES_ASTER_PRIVATE_KEY": "0xabc"}, "TES_ASTER_PRIVATE_KEY", "64 hexadecimal digits"),
        ({**TESTNET, "TES_ASTER_REST_URL": "http://10.0.0.1"}, "TES_ASTER_REST_URL", "only to this machine"),
        ({**TESTNET, "TES_ASTER_WS_URL": "ws://example.org"}, "TES_ASTER_WS_URL", "only to this machine"),
        ({**TESTNET, "TES_ASTER_REST_URL": "https://u:p@example.org"}, "TES_ASTER_REST_URL", "without user"),
        ({"TES_ASTER_PRIVATE_KEY_FILE": "/nowhere/key"}, "TES_ASTER_PRIVATE_KEY_FILE", "readable file"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items())[:60] if isinstance(value, dict) else None,
)
def test_a_wrong_variable_is_named_with_its_fix(environ: dict[str, str], key: str, fix: str) -> None:
    message = refusal(**environ)
    assert key in message
    assert fix in message


def test_leverage_may_be_lowered_and_caps_a_default_that_nobody_chose() -> None:
    policy = load(TES_RISK_MAX_LEVERAGE="3").risk_policy()
    assert (policy.maximum_leverage, policy.default_leverage) == (3, 3)


@pytest.mark.parametrize(
    "text",
    [
        "[risk]\nmax_leverage = 10\nleverage_policy = 'reject'\nmax_daily_loss = 0.1",
        "risk_max_leverage = 10\nrisk_leverage_policy = 'reject'\nrisk_max_daily_loss = '0.1'",
        "risk = { max = { leverage = 10, daily_loss = 0.1 }, leverage_policy = 'reject' }",
    ],
    ids=["nested", "flat", "nested-deeper"],
)
def test_toml_names_are_the_variables_nested_or_flat(text: str) -> None:
    policy = load(text).risk_policy()
    assert (policy.maximum_leverage, policy.leverage_policy) == (10, LeveragePolicy.REJECT)
    assert policy.maximum_daily_loss == Decimal("0.1")


def test_the_environment_wins_over_the_file_and_an_option_over_both() -> None:
    Path("tes.toml").write_text("port = 1\nhost = 'localhost'\n[log]\nlevel = 'debug'", encoding="utf-8")
    settings = load_settings({"TES_PORT": "2", "TES_HOST": "127.0.0.2"}, overrides={"port": 3, "host": None})
    assert (settings.port, settings.host, settings.log_level) == (3, "127.0.0.2", "DEBUG")


@pytest.mark.parametrize(
    ("text", "key", "fix"),
    [
        ("[risk]\nmax_levrage = 3", "risk.max_levrage (in settings.toml)", "did you mean risk_max_leverage?"),
        ("[accounts.a]\nport = 3", "accounts.a.port (in settings.toml)", "not a known setting"),
        ("[accounts.a.risk]\nmax_leverage = 99", "accounts.a.risk.max_leverage (in settings.toml)", "from 1 to 25"),
        ("[accounts.a]\nrisk_cooldwn_seconds = 1", "accounts.a", "did you mean accounts.a.risk_cooldown_seconds?"),
        ("accounts = 3", "accounts", "[accounts.NAME]"),
        ("risk_max_leverage = 3\n[risk]\nmax_leverage = 4", "risk.max_leverage", "remove one of them"),
        ("[accounts.default]\nrisk_max_leverage = 3", "accounts.default", "to the top of the file"),
        ("port = ", "settings.toml", "not a TOML file"),
        ("risk_max_leverage = true", "risk_max_leverage", "whole number"),
    ],
)
def test_a_wrong_key_of_the_file_is_named_with_its_fix(text: str, key: str, fix: str) -> None:
    message = refusal(text)
    assert key in message
    assert fix in message


def test_a_file_that_was_asked_for_must_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml can't be read"):
        load_settings({}, config=Path("nowhere.toml"))


def test_a_secret_comes_from_a_file_without_its_line_end() -> None:
    Path("key").write_text(f"{KEY}\n", encoding="utf-8")
    environ = {**TESTNET, "TES_ASTER_PRIVATE_KEY_FILE": "key"}
    del environ["TES_ASTER_PRIVATE_KEY"]
    account = load(**environ).account_settings()["default"]
    assert account.private_key is not None
    assert account.private_key.get_secret_value() == KEY


def test_a_value_and_a_file_for_the_same_secret_are_refused() -> None:
    Path("key").write_text(KEY, encoding="utf-8")
    message = refusal(**TESTNET, TES_ASTER_PRIVATE_KEY_FILE="key")
    assert "TES_ASTER_PRIVATE_KEY and TES_ASTER_PRIVATE_KEY_FILE" in message


@pytest.mark.parametrize("content", ["", "  \n", "x" * 70_000])
def test_a_secret_file_holds_one_value(content: str) -> None:
    Path("key").write_text(content, encoding="utf-8")
    assert "TES_API_TOKEN_FILE names the file key" in refusal(TES_API_TOKEN_FILE="key")


@pytest.mark.parametrize("key", ["0x" + "0" * 64, "f" * 64, "g" * 64, "1" * 63])
def test_a_private_key_that_no_curve_has_is_refused_without_repeating_it(key: str) -> None:
    message = refusal(**{**TESTNET, "TES_ASTER_PRIVATE_KEY": key})
    assert key not in message
    assert key[:10] not in message


def test_secrets_show_nowhere() -> None:
    settings = load(
        "[accounts.a]\naster_api_secret = 'hidden-secret'\naster_api_key = 'hidden-key'",
        **{**TESTNET, "TES_VENUE": "paper"},
        TES_API_TOKEN="hidden-token",
        TES_ALERT_URLS="tgram://hidden-bot/1, mailto://u:hidden@x.org",
        TES_DATABASE_URL="postgresql://tes:hidden-password@db/tes?sslpassword=hidden-phrase",
    )
    shown = f"{settings!r} {settings.masked()} {settings.account_settings()!r}"
    assert "hidden" not in shown
    assert KEY not in shown
    masked = settings.masked()
    assert masked["api_token"] == MASK
    assert masked["alert_urls"] == [MASK, MASK]
    assert masked["database_url"] == f"postgresql://{MASK}@db/tes"
    assert masked["accounts"]["a"]["aster_api_secret"] == MASK


def test_testnet_and_live_have_their_own_addresses_and_chains() -> None:
    testnet = load(**TESTNET).account_settings()["default"].address
    live = load(**{**TESTNET, "TES_VENUE": "live", "TES_API_TOKEN": "t" * 32}).account_settings()["default"].address
    assert testnet is not None
    assert live is not None
    assert (testnet.rest_url, testnet.chain_id) == ("https://fapi.asterdex-testnet.com", 714)
    assert (live.rest_url, live.chain_id) == ("https://fapi.asterdex.com", 1666)


def test_another_host_replaces_both_streams() -> None:
    settings = load(
        **TESTNET,
        TES_ASTER_REST_URL="http://127.0.0.1:9100/",
        TES_ASTER_WS_URL="ws://[::1]:9100",
        TES_ASTER_CHAIN_ID="5",
    )
    address = settings.account_settings()["default"].address
    assert address is not None
    assert address.rest_url == "http://127.0.0.1:9100"
    assert address.user_stream_url == address.market_stream_url == "ws://[::1]:9100"
    assert address.chain_id == 5


def test_a_named_account_has_its_own_credentials_and_inherits_the_rules() -> None:
    settings = load(
        f"""
        venue = 'testnet'
        risk_max_leverage = 10
        margin_type = 'ISOLATED'
        aster_auth = 'v1'
        [accounts.alpha]
        aster_api_key = 'key'
        aster_api_secret = 'secret'
        risk_cooldown_seconds = 7
        [accounts.beta]
        aster_auth = 'v3'
        aster_user = '{ADDRESS}'
        aster_signer = '{ADDRESS}'
        aster_private_key = '{KEY}'
        [accounts.beta.risk]
        max_leverage = 2
        """
    )
    accounts = settings.account_settings()
    assert list(accounts) == ["alpha", "beta"]
    alpha, beta = accounts["alpha"].policy.risk, accounts["beta"].policy.risk
    assert (alpha.maximum_leverage, alpha.cooldown_s, alpha.margin_type) == (10, 7, MarginType.ISOLATED)
    assert (beta.maximum_leverage, beta.cooldown_s) == (2, 300)
    assert accounts["alpha"].user is None


def test_a_named_account_without_credentials_is_refused() -> None:
    text = "[accounts.alpha]\nrisk_max_leverage = 3"
    assert "accounts.alpha.aster_private_key" in refusal(text, **TESTNET)


def test_a_client_needs_no_credentials() -> None:
    settings = load_settings({"TES_VENUE": "live"}, is_service=False)
    assert settings.venue is VenueKind.LIVE


def test_an_entry_lives_shorter_than_the_window_or_as_long() -> None:
    account = load(**TESTNET, TES_ASTER_ENTRY_LIFETIME_SECONDS="5").account_settings()["default"]
    assert (account.nonce_window_s, account.entry_lifetime_s) == (60, 5)
    assert load(**TESTNET).account_settings()["default"].entry_lifetime_s is None
    too_long = {"TES_ASTER_ENTRY_LIFETIME_SECONDS": "10", "TES_ASTER_NONCE_WINDOW_SECONDS": "10"}
    assert "TES_ASTER_NONCE_WINDOW_SECONDS=10" in refusal(**TESTNET, **too_long)
    assert "v1 has no nonces" in refusal(TES_ASTER_AUTH="v1", TES_ASTER_ENTRY_LIFETIME_SECONDS="5")


def test_every_risk_setting_reaches_the_policy() -> None:
    given: dict[str, Any] = {
        "TES_RISK_ALLOCATION_BASIS": "margin",
        "TES_RISK_ON_EXISTING_POSITION": "flip",
        "TES_RISK_REQUIRE_STOP_LOSS": "true",
        "TES_RISK_MAX_OPEN_POSITIONS": "2",
        "TES_RISK_MAX_NOTIONAL_PER_ASSET": "100.5",
        "TES_RISK_MAX_TOTAL_NOTIONAL": "200.5",
        "TES_RISK_MAX_DAILY_LOSS": "50",
        "TES_RISK_MAX_PRICE_DEVIATION_BPS": "30",
        "TES_RISK_MAX_EXIT_DISTANCE_PERCENT": "20.5",
        "TES_RISK_MAX_DECISION_AGE_SECONDS": "9",
        "TES_RISK_DEFAULT_LEVERAGE": "4",
        "TES_MARGIN_TYPE": "CROSSED",
    }
    assert load(**given).risk_policy() == RiskPolicy(
        allocation_basis=AllocationBasis.MARGIN,
        on_existing_position=ExistingPositionPolicy.FLIP,
        require_stop_loss=True,
        maximum_open_positions=2,
        maximum_notional_per_asset=Decimal("100.5"),
        maximum_total_notional=Decimal("200.5"),
        maximum_daily_loss=Decimal(50),
        maximum_price_deviation_bps=Decimal(30),
        maximum_exit_distance_percent=Decimal("20.5"),
        maximum_decision_age_s=9,
        default_leverage=4,
        margin_type=MarginType.CROSSED,
    )
