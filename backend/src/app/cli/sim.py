"""``tes sim``: the simulated exchange alone, for any AsterDEX client."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.exits import CommandFailed, UsageFailed
from app.cli.process import until_told_to_stop

if TYPE_CHECKING:
    from aster_sim.server import RunningVenue, VenueConfig

app = typer.Typer()


@app.command(rich_help_panel="Service")
def sim(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes any free one.", min=0, max=65535)] = 9100,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same market.", min=0)] = None,
    prices: Annotated[
        str,
        typer.Option("--prices", help="synthetic, manual, live, or candles:FILE[,FILE…] (CSV; FILE or SYMBOL=FILE)."),
    ] = "synthetic",
    speed: Annotated[
        float, typer.Option("--speed", help="Candles for each second; 0 waits for the control API.", min=0)
    ] = 1,
    exchange_info: Annotated[
        Path | None, typer.Option("--exchange-info", help="A recorded exchangeInfo answer.", dir_okay=False)
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option("--accounts", help="JSON list of accounts: name, balance, credentials.", dir_okay=False),
    ] = None,
    faults: Annotated[Path | None, typer.Option("--faults", help="JSON list of faults.", dir_okay=False)] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep accounts, orders and positions in this file.", dir_okay=False)
    ] = None,
    rate_limits: Annotated[
        int, typer.Option("--rate-limits", help="Allow so many times AsterDEX's requests and orders.", min=1)
    ] = 1,
    as_json: common.JsonOption = False,
) -> None:
    """Run a simulated AsterDEX: REST and WebSocket on one port, for any client. Prints addresses and credentials."""
    from app.core.logging import configure_logging
    from aster_sim.server import LimitRules, VenueConfig, load_accounts

    configure_logging(level="WARNING")
    try:
        config = VenueConfig(
            host=host,
            port=port,
            seed=seed,
            prices=prices,
            speed=speed,
            exchange_info=exchange_info,
            faults=faults,
            state=state,
            limits=LimitRules().times(rate_limits),
        )
        if accounts is not None:
            config = dataclasses.replace(config, accounts=load_accounts(accounts))
    except (OSError, ValueError) as error:
        raise UsageFailed(f"the venue can't start: {error}") from None
    asyncio.run(_serve(config, as_json=as_json))


async def _serve(config: VenueConfig, *, as_json: bool) -> None:
    from aster_sim.server import start_venue

    try:
        venue = await start_venue(config)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the venue can't start: {error}") from None
    try:
        if as_json:
            common.print_json(venue_document(venue), is_line=True)
        else:
            _print_venue(venue)
        await until_told_to_stop()
    finally:
        await venue.stop()


def venue_document(venue: RunningVenue) -> dict[str, Any]:
    """Addresses and credentials, as the contract fixes them (section 2)."""
    return {
        "rest_url": venue.rest_url,
        "ws_url": venue.ws_url,
        "control_url": venue.control_url,
        "chain_id": venue.chain_id,
        "accounts": [
            {**dataclasses.asdict(account), "balance": format(account.balance, "f")} for account in venue.accounts
        ],
    }


def _print_venue(venue: RunningVenue) -> None:
    from app.cli import render

    shown = render.console()
    shown.print(f"[bold]Simulated AsterDEX[/bold], seed {venue.seed}. Ctrl-C stops it.\n")
    for name, value in (
        ("REST", venue.rest_url),
        ("WebSocket", venue.ws_url),
        ("Control", venue.control_url),
        ("Chain id", venue.chain_id),
    ):
        shown.print(f"{name:<10} {value}", markup=False)
    shown.print("\nFor 'tes serve --testnet', and for any other client, the credentials of each account:\n")
    for account in venue.accounts:
        lines = [
            f"# {account.name}, {account.balance:f} USDT",
            f"export TES_ASTER_REST_URL={venue.rest_url} TES_ASTER_WS_URL={venue.ws_url}",
            f"export TES_ASTER_CHAIN_ID={venue.chain_id}",
            f"export TES_ASTER_USER={account.user}",
            f"export TES_ASTER_SIGNER={account.signer}",
            f"export TES_ASTER_PRIVATE_KEY={account.private_key}",
            f"# or HMAC: TES_ASTER_AUTH=v1 TES_ASTER_API_KEY={account.api_key}",
            f"#          TES_ASTER_API_SECRET={account.api_secret}",
        ]
        shown.print("\n".join(lines), markup=False, soft_wrap=True)
