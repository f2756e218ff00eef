"""Where each account's exchange is, and who we are there; in paper mode the embedded venue, which is started here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from app.core.database_url import SqliteLocation, parse_database_url
from app.core.settings import AccountSettings, AuthScheme, Settings, VenueAddress
from app.domain.errors import ConfigurationError
from app.domain.ports import Clock, Randomness
from app.integrations.aster.aiohttp_transport import AiohttpTransport
from app.integrations.aster.auth import Credentials, V1Credentials, V3Credentials
from app.integrations.aster.client import AsterClient

_PAPER_STATE = "paper-venue.journal"


@dataclass(frozen=True, slots=True)
class Door:
    """Where an account's exchange is, and who we are there."""

    address: VenueAddress
    credentials: Credentials


async def open_doors(
    settings: Settings, accounts: Mapping[str, AccountSettings], stack: AsyncExitStack, *, is_ephemeral: bool
) -> dict[str, Door]:
    """The way of each account to its exchange; in paper mode the embedded venue, which ``stack`` stops.

    Raises:
        ConfigurationError: a setting is missing or can't work.
    """
    if settings.is_paper:
        return await _paper_doors(settings, accounts, stack, is_ephemeral=is_ephemeral)
    return {account_id: Door(_address(account), _credentials(account)) for account_id, account in accounts.items()}


def _address(account: AccountSettings) -> VenueAddress:
    if account.address is None:
        raise ConfigurationError(f"account {account.account_id} has no exchange address; set TES_VENUE")
    return account.address


def _credentials(account: AccountSettings) -> Credentials:
    if account.auth is AuthScheme.V3 and account.user and account.private_key:
        return V3Credentials(
            user=account.user,
            private_key=account.private_key.get_secret_value(),
            chain_id=_address(account).chain_id,
            signer=account.signer,
        )
    if account.auth is AuthScheme.V1 and account.api_key and account.api_secret:
        return V1Credentials(
            api_key=account.api_key.get_secret_value(), api_secret=account.api_secret.get_secret_value()
        )
    raise ConfigurationError(f"account {account.account_id} has no credentials for {account.auth.value}")


def looking_client(account: AccountSettings, clock: Clock, randomness: Randomness) -> AsterClient:
    """A client of an account's exchange to look around with, beside a service that may be trading. Close it.

    Raises:
        ConfigurationError: the account has no address or no credentials, or they can't work.
    """
    transport = AiohttpTransport(_address(account).rest_url)
    return AsterClient(transport, _credentials(account), clock, randomness)


async def _paper_doors(
    settings: Settings, accounts: Mapping[str, AccountSettings], stack: AsyncExitStack, *, is_ephemeral: bool
) -> dict[str, Door]:
    """Start the embedded venue. Its positions and orders survive a restart, as an exchange's would."""
    from aster_sim.server import AccountSpec, VenueConfig, start_venue

    state = None if is_ephemeral else _paper_state(settings.database_url)
    try:
        venue = await start_venue(
            VenueConfig(
                seed=settings.paper_seed,
                prices=settings.paper_prices,
                accounts=[AccountSpec(account_id, settings.paper_balance) for account_id in accounts],
                state=state,
            )
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the paper venue can't start: {error}") from error
    stack.push_async_callback(venue.stop)
    address = VenueAddress(venue.rest_url, venue.ws_url, venue.ws_url, venue.chain_id)
    return {
        keys.name: Door(
            address,
            V1Credentials(api_key=keys.api_key, api_secret=keys.api_secret)
            if accounts[keys.name].auth is AuthScheme.V1
            else V3Credentials(
                user=keys.user, private_key=keys.private_key, chain_id=venue.chain_id, signer=keys.signer
            ),
        )
        for keys in venue.accounts
    }


def _paper_state(database_url: str) -> Path | None:
    """Where the paper venue keeps its state: beside a database file, in the working directory's data folder else."""
    location = parse_database_url(database_url)
    if not isinstance(location, SqliteLocation):
        return Path("data") / _PAPER_STATE
    return None if location.path is None else location.path.with_name(_PAPER_STATE)
