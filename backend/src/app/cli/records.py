"""``tes trades|orders|positions|decisions|events``: tables of what the service knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.common import AssetOption, ConfigOption, JsonOption, LimitOption, TokenOption, UrlOption

if TYPE_CHECKING:
    from app.client.connection import Connection

app = typer.Typer()
_PANEL = "Records"
_OPEN_TRADES = "pending,entering,protecting,open,closing"
_OPEN_ORDERS = "SUBMITTING,RESUBMITTING,UNKNOWN,NEW,PARTIALLY_FILLED,CANCELING"
OpenOption = Annotated[bool, typer.Option("--open", help="Only those that have not ended.")]


def _list(path: str, url: str | None, token: str | None, config: Any, **parameters: Any) -> Any:
    place = common.find_service(url, token, config)
    return common.ask(place, lambda client: client.get(path, **parameters))


@app.command(rich_help_panel=_PANEL)
def trades(
    is_open: OpenOption = False,
    asset: AssetOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Show trades, newest first."""
    status = _OPEN_TRADES if is_open else None
    document = _list("/v1/trades", url, token, config, status=status, asset=asset, limit=limit)
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.show(render.trades_table(document["items"]), document, "no trade")


@app.command(rich_help_panel=_PANEL)
def orders(
    is_open: OpenOption = False,
    asset: AssetOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the service's orders, the latest first."""
    status = _OPEN_ORDERS if is_open else None
    document = _list("/v1/orders", url, token, config, status=status, asset=asset, limit=limit)
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.show(render.orders_table(document["items"]), document, "no order")


@app.command(rich_help_panel=_PANEL)
def positions(
    asset: AssetOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Show open positions as the exchange last told them."""
    document = _list("/v1/positions", url, token, config, asset=asset)
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.show(render.positions_table(document["items"]), document, "no open position")


@app.command(rich_help_panel=_PANEL)
def decisions(
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Show stored decisions with their results, newest first."""
    document = _list("/v1/decisions", url, token, config, limit=limit)
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.show(render.decisions_table(document["items"]), document, "no decision")


@app.command(rich_help_panel=_PANEL)
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and show new ones until Ctrl-C.")] = False,
    after: Annotated[int | None, typer.Option("--after", help="Only those behind this seq.", min=0)] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the event log: the last ones, or those behind a seq. With --json and --follow, one event on each line."""
    from app.cli import render

    shown = render.console()

    def show(event: dict[str, Any]) -> None:
        if as_json:
            common.print_json(event, is_line=True)
        else:
            shown.print(render.event_line(event))

    async def run(client: Connection) -> None:
        start = after
        if start is None:
            start = max(0, (await client.get("/v1/status"))["last_seq"] - limit)
        if follow:
            async for event in client.events(start):
                show(event)
            return
        document = await client.get("/v1/events", after=start, limit=limit)
        if as_json:
            common.print_json(document)
            return
        for event in document["items"]:
            show(event)
        if document["next_cursor"]:
            shown.print(f"[dim]more: --after {document['next_cursor']}[/dim]")

    common.ask(common.find_service(url, token, config), run)
