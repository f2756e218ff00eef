"""``tes sim``: the simulated exchange alone, for any AsterDEX client."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.exits import CommandFailed, UsageFailed
from app.cli.process import run_in_fast_loop, until_told_to_stop

if TYPE_CHECKING:
    from aster_sim.server import RunningVenue, VenueConfig

app = typer.Typer()
_GC_YOUNG = 50_000


@app.command(rich_help_panel="Service")
def sim(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes any free one.", min=0, max=65535)] = 9100,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same market.", min=0)] = None,
    prices: Annotated[
        str,
        typer.Option(
            "--prices",
            help="synthetic[:volatility=1,jumps=0] (seeded), candles:FILE[,FILE…] (CSV; FILE or SYMBOL=FILE), "
            "live[:SYMBOL,SYMBOL…] (AsterDEX's public streams) or manual (moved by the control API).",
        ),
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
    """Run a simulated AsterDEX: REST and WebSocket on one port, for any client. Prints addresses and credentials.

    Point a client's REST address at it for /fapi/v3 (EIP-712) and /fapi/v1 (HMAC), its WebSocket address for /ws and
    /stream; clients that look for "fstream" in an address, such as ccxt, take /fstream/ws and /fstream/stream.

    An account is created with --accounts, e.g. \\[{"name": "alice", "balance": "25000"}], or while the venue runs.
    What is not named (keys, secrets) is generated and printed once.

    The control API, on loopback only, does what no exchange offers:

    GET /sim/state, /sim/ledger, /sim/clock: the venue now; every request, order, fill and income; its time.

    POST /sim/prices {"BTCUSDT": "96000"}: move prices. POST /sim/prices/step {"candles": 1}: play candles.

    POST /sim/faults: delays, drops, error codes, lost frames and more, by method, path, parameters and count;
    GET lists, DELETE clears them.

    POST /sim/accounts {"name": "bob", "balance": "5000"}: open an account; the answer holds its keys.

    POST and DELETE /sim/orders {"account": "alice", …}: the person at the exchange places or cancels an order.

    POST /sim/positions {"account": "alice", "symbol": "BTCUSDT", "do": "close"}: closes, or flips, a position.

    POST /sim/modes {"account": "alice", "hedge": true}: also multi_assets, fees_in (asset, balance); by symbol
    leverage, margin_type and auto_add_margin.

    POST /sim/funding {"symbol": "BTCUSDT", "rate": "0.0005"}: the running interval's rate; also interval_hours.

    GET and POST /sim/rules: the disputed refuse_unfillable, only_closing_orders_cover, triggers_obey_market_maximum,
    exempt_hedge_closes; insurance_fund, interest_caps by symbol, funding_delay_s, pardon (lifts bans).

    docs/simulated-venue.md shows ccxt and curl on it, and all of this with examples.
    """
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
    gc.set_threshold(_GC_YOUNG, 20, 50)  # a venue keeps what it makes: frequent collections find nothing
    run_in_fast_loop(_serve(config, as_json=as_json))


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
    shown.print(f"Simulated AsterDEX, seed {venue.seed}. Ctrl-C stops it.\n", style="bold")
    for name, value in (
        ("REST", venue.rest_url),
        ("WebSocket", venue.ws_url),
        ("Control", venue.control_url),
        ("Chain id", venue.chain_id),
    ):
        shown.print(f"{name:<10} {value}")
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
        shown.print("\n".join(lines), soft_wrap=True)
