"""``tes trades|orders|positions|decisions|events``: tables of what the service knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.asking import Asking, asks, complete_asset
from app.cli.common import LimitOption

if TYPE_CHECKING:
    from app.client.connection import Connection

app = typer.Typer()
_PANEL = "Records"
_OPEN_TRADES = "pending,entering,protecting,open,closing"
_OPEN_ORDERS = "SUBMITTING,RESUBMITTING,UNKNOWN,NEW,PARTIALLY_FILLED,CANCELING"
OpenOption = Annotated[bool, typer.Option("--open", help="Only those that have not ended.")]
AssetOption = Annotated[
    str | None,
    typer.Option(
        "--asset", help="Only this asset, such as BTCUSDT.", autocompletion=complete_asset, callback=common.upper
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Keep the table up to date until Ctrl-C; JSON: a line per change.")
]


def _list(asking: Asking, path: str, make: str, nothing: str, *, follow: bool, **parameters: Any) -> None:
    """Show a list of the service by the renderer's function ``make``."""
    asking.show_list(
        lambda client: client.get(path, **parameters),
        lambda render, document: render.listing(getattr(render, make), document, nothing),
        follow=follow,
    )


@app.command(rich_help_panel=_PANEL)
@asks
def trades(
    asking: Asking,
    is_open: OpenOption = False,
    asset: AssetOption = None,
    limit: LimitOption = 20,
    follow: FollowOption = False,
) -> None:
    """Show trades, newest first."""
    status = _OPEN_TRADES if is_open else None
    _list(asking, "/v1/trades", "trades_table", "no trade", follow=follow, status=status, asset=asset, limit=limit)


@app.command(rich_help_panel=_PANEL)
@asks
def orders(
    asking: Asking,
    is_open: OpenOption = False,
    asset: AssetOption = None,
    limit: LimitOption = 20,
    follow: FollowOption = False,
) -> None:
    """Show the service's orders, the latest first."""
    status = _OPEN_ORDERS if is_open else None
    _list(asking, "/v1/orders", "orders_table", "no order", follow=follow, status=status, asset=asset, limit=limit)


@app.command(rich_help_panel=_PANEL)
@asks
def positions(asking: Asking, asset: AssetOption = None, follow: FollowOption = False) -> None:
    """Show open positions as the exchange last told them, and which of them are held without all their exits."""

    async def look(client: Connection) -> Any:
        document = await client.get("/v1/positions", asset=asset)
        if asking.as_json:
            return document
        trades = await client.get("/v1/trades", status=_OPEN_TRADES, asset=asset, limit=500)
        statuses = {trade["trade_id"]: trade["status"] for trade in trades["items"]}
        return {**document, "items": [{**item, "status": statuses.get(item["trade_id"])} for item in document["items"]]}

    asking.show_list(
        look,
        lambda render, document: render.listing(render.positions_table, document, "no open position"),
        follow=follow,
    )


@app.command(rich_help_panel=_PANEL)
@asks
def decisions(asking: Asking, limit: LimitOption = 20, follow: FollowOption = False) -> None:
    """Show stored decisions with their results, newest first."""
    _list(asking, "/v1/decisions", "decisions_table", "no decision", follow=follow, limit=limit)


@app.command(rich_help_panel=_PANEL)
@asks
def events(
    asking: Asking,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and show new ones until Ctrl-C.")] = False,
    after: Annotated[int | None, typer.Option("--after", help="Only those behind this seq.", min=0)] = None,
    limit: LimitOption = 50,
) -> None:
    """Show the event log: the last ones, or those behind a seq. With --json and --follow, one event on each line."""
    show = _event_printer(as_json=asking.as_json)

    async def run(client: Connection) -> None:
        start = after
        if start is None:
            start = max(0, (await client.get("/v1/status"))["last_seq"] - limit)
        if follow:
            async for event in client.events(start):
                show(event)
            return
        document = await client.get("/v1/events", after=start, limit=limit)
        if asking.as_json:
            common.print_json(document)
            return
        for event in document["items"]:
            show(event)
        if not document["items"]:
            typer.echo("no event")
        if document["next_cursor"]:
            typer.echo(f"more: --after {document['next_cursor']}", err=True)

    asking.ask(run)


def _event_printer(*, as_json: bool) -> Callable[[dict[str, Any]], None]:
    if as_json:
        return lambda event: common.print_json(event, is_line=True)
    from app.cli import render

    shown = render.console()
    return lambda event: shown.print(render.EventLine(event))
