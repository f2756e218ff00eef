"""``tes submit|close|halt|resume|reconcile``: what changes something."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.common import AccountOption, ConfigOption, JsonOption, TokenOption, UrlOption, path_part, read_decision
from app.cli.exits import ServiceRefused, UsageFailed

if TYPE_CHECKING:
    from app.client.connection import Connection

app = typer.Typer()
_PANEL = "Trading"
EveryAccountOption = Annotated[str | None, typer.Option("--account", help="The account; every one when absent.")]
_LAST_EVENTS = frozenset({"DecisionCompleted", "DecisionRejected"})


@app.command(rich_help_panel=_PANEL)
def submit(
    file: Annotated[str, typer.Argument(help="A JSON file with a decision; - reads standard input.")],
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to follow it at most.", min=0)] = 120,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen, check by check.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a decision, follow it to its end and show the result. Exit code 1 when not all of it was done.

    The steps go to standard error, the result to standard output.
    """
    body = read_decision(file)
    place = common.find_service(url, token, config)
    if dry_run:
        _show_explanation(common.ask(place, lambda client: client.explain(body)), as_json=as_json)
        return
    result = common.ask(place, lambda client: _follow(client, body, timeout, is_quiet=as_json))
    finish(result, as_json=as_json)


def _show_explanation(explanation: dict[str, Any], *, as_json: bool) -> None:
    """Show what would happen.

    Raises:
        ServiceRefused: an asset would be refused.
    """
    if as_json:
        common.print_json(explanation)
    else:
        from app.cli import render

        shown = render.console()
        for part in render.explanation(explanation):
            shown.print(part, markup=False) if isinstance(part, str) else shown.print(part)
    refused = [one["asset"] for one in explanation["assets"] if one["verdict"] != "ok"]
    if refused:
        raise ServiceRefused(f"not everything would be done: {', '.join(refused)}; nothing was sent")


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Show a result.

    Raises:
        ServiceRefused: not all of it was done.
    """
    if as_json:
        common.print_json(result)
    else:
        from app.cli import render

        render.console().print(render.result_table(result))
        for line in render.result_errors(result):
            render.console(is_error=True).print(line, style="red", markup=False)
    if result["status"] == "pending":
        raise ServiceRefused(
            f"decision {result['decision_id']} is still at work: the service goes on; look again with 'tes decisions'"
        )
    if not result["success"]:
        raise ServiceRefused(f"decision {result['decision_id']} ended {result['status']}")


async def _follow(client: Connection, body: bytes, timeout_s: float, *, is_quiet: bool) -> dict[str, Any]:
    """Send, show each step as it happens, and return the last result."""
    from app.core.clock import SystemClock

    before = (await client.get("/v1/status"))["last_seq"]
    answer = await client.submit(body)
    result: dict[str, Any] = answer.document
    if answer.is_replay and not is_quiet:
        typer.secho("this decision was sent before; what follows is its first result", err=True, fg="yellow")
    if result["status"] != "pending":
        return result
    decision_id = result["decision_id"]
    following = asyncio.create_task(_show_steps(client, before, decision_id, is_quiet=is_quiet))
    timer = asyncio.create_task(SystemClock().sleep(timeout_s))
    try:
        await asyncio.wait((following, timer), return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
    finally:
        for task in (following, timer):
            task.cancel()
        await asyncio.gather(following, timer, return_exceptions=True)
    stored: dict[str, Any] = await client.get(
        f"/v1/decisions/{path_part(decision_id)}", account_id=result["account_id"]
    )
    return stored


async def _show_steps(client: Connection, after: int, decision_id: str, *, is_quiet: bool) -> None:
    """Print the decision's events until it has ended."""
    from app.cli import render

    shown = render.console(is_error=True)
    async for event in client.events(after):
        if event["decision_id"] != decision_id:
            continue
        if not is_quiet:
            shown.print(render.event_line(event))
        if event["type"] in _LAST_EVENTS:
            return


@app.command(rich_help_panel=_PANEL)
def close(
    asset: Annotated[str | None, typer.Argument(help="The asset, such as BTCUSDT.")] = None,
    close_all: Annotated[bool, typer.Option("--all", help="Every position that the service opened.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Close a position at market and cancel its protective orders."""
    if (asset is None) is not close_all:
        raise UsageFailed("name the asset to close, or give --all")
    place = common.find_service(url, token, config)
    if asset is None:
        document = common.ask(place, lambda client: client.post("/v1/positions/close", account_id=account))
        results = document["items"]
    else:
        path = f"/v1/positions/{path_part(asset)}/close"
        document = common.ask(place, lambda client: client.post(path, account_id=account))
        results = [document]
    if as_json:
        common.print_json(document)
    else:
        from app.cli import render

        shown = render.console()
        shown.print(render.closes_table(results) if results else "[dim]no position to close[/dim]")
    if any(not item["success"] for item in results):
        raise ServiceRefused("not everything was closed")


@app.command(rich_help_panel=_PANEL)
def halt(
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever resumes reads it.")],
    flatten: Annotated[bool, typer.Option("--flatten", help="Close every position of the service, too.")] = False,
    account: EveryAccountOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """The kill switch: send no more entries until 'tes resume'. Exits go on; it survives restarts."""
    place = common.find_service(url, token, config)
    body = json.dumps({"reason": reason, "flatten": flatten}).encode()
    document = common.ask(place, lambda client: client.post("/v1/halt", body, account_id=account))
    if as_json:
        common.print_json(document)
    else:
        for one in document["accounts"]:
            typer.echo(f"{one['account_id']}: halted, {one['halt']['reason']}")
        if flatten:
            from app.cli import render

            closed = document["closed"]
            render.console().print(render.closes_table(closed) if closed else "[dim]no position to close[/dim]")
            for line in document["left_open"]:
                render.console(is_error=True).print(line, style="red", markup=False)
            if document["is_flat"]:
                typer.echo("flat: the exchange shows no position and no order of ours")
    if flatten and not document["is_flat"]:
        raise ServiceRefused("not everything is closed yet; the service goes on, look again with 'tes positions'")


@app.command(rich_help_panel=_PANEL)
def resume(
    account: EveryAccountOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Accept entries again after 'tes halt', or after the service halted by itself."""
    place = common.find_service(url, token, config)
    document = common.ask(place, lambda client: client.post("/v1/resume", account_id=account))
    if as_json:
        common.print_json(document)
        return
    for one in document["accounts"]:
        typer.echo(f"{one['account_id']}: entries are accepted")


@app.command(rich_help_panel=_PANEL)
def reconcile(
    account: AccountOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare the record with the exchange now; show each difference and what was done."""
    place = common.find_service(url, token, config)
    report = common.ask(place, lambda client: client.post("/v1/reconcile", account_id=account))
    if as_json:
        common.print_json(report)
        return
    from app.cli import render

    render.console().print(render.reconciliation(report))
