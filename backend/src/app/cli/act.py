"""``tes submit|close|halt|resume|reconcile``: what changes something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.asking import Asking, asks, complete_asset
from app.cli.common import AccountOption, path_part, read_decision, upper
from app.cli.exits import ServiceRefused, UsageFailed
from app.domain.formats import DecisionFormat

if TYPE_CHECKING:
    from app.client.connection import Connection

app = typer.Typer()
_PANEL = "Trading"
EveryAccountOption = Annotated[str | None, typer.Option("--account", help="The account; every one when absent.")]
_LAST_EVENTS = frozenset({"DecisionCompleted", "DecisionRejected"})


@app.command(rich_help_panel=_PANEL)
@asks
def submit(
    asking: Asking,
    file: Annotated[str, typer.Argument(help="A JSON file with a decision; - reads standard input.")],
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to follow it at most.", min=0)] = 120,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen, check by check.")] = False,
    shape: Annotated[
        DecisionFormat | None, typer.Option("--format", help="Whose shape the document has, where it is not ours.")
    ] = None,
) -> None:
    """Send a decision, follow it to its end and show the result. Exit code 1 when not all of it was done.

    The steps go to standard error, the result to standard output.
    """
    body = read_decision(file)
    if dry_run:
        _show_explanation(asking, asking.ask(lambda client: client.explain(body, shape=shape)))
        return
    finish(asking, asking.ask(lambda client: _follow(client, body, timeout, shape, is_quiet=asking.as_json)))


def _show_explanation(asking: Asking, explanation: dict[str, Any]) -> None:
    """Show what would happen.

    Raises:
        ServiceRefused: an asset would be refused.
    """
    asking.show(explanation, lambda render, document: render.explanation(document))
    refused = [one["asset"] for one in explanation["assets"] if one["verdict"] != "ok"]
    if refused:
        raise ServiceRefused(f"not everything would be done: {', '.join(refused)}; nothing was sent")


def finish(asking: Asking, result: dict[str, Any]) -> None:
    """Show a result.

    Raises:
        ServiceRefused: not all of it was done.
    """
    asking.show(result, lambda render, document: render.result_table(document))
    if not asking.as_json:
        from app.cli import render

        for note in render.result_notes(result):
            typer.secho(note, err=True, fg=typer.colors.YELLOW)
        _complain(render.result_errors(result))
    if result["status"] == "pending":
        raise ServiceRefused(
            f"decision {result['decision_id']} is still at work: the service goes on; look again with 'tes decisions'"
        )
    if not result["success"]:
        raise ServiceRefused(f"decision {result['decision_id']} ended {result['status']}")


def _complain(lines: Iterable[str]) -> None:
    for line in lines:
        typer.secho(line, err=True, fg=typer.colors.RED)


async def _follow(
    client: Connection, body: bytes, timeout_s: float, shape: str | None, *, is_quiet: bool
) -> dict[str, Any]:
    """Send, show each step as it happens, and return the last result."""
    from app.core.clock import SystemClock

    before = (await client.get("/v1/status"))["last_seq"]
    answer = await client.submit(body, shape=shape)
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
            shown.print(render.EventLine(event))
        if event["type"] in _LAST_EVENTS:
            return


@app.command(rich_help_panel=_PANEL)
@asks
def close(
    asking: Asking,
    asset: Annotated[
        str | None,
        typer.Argument(help="The asset, such as BTCUSDT.", autocompletion=complete_asset, callback=upper),
    ] = None,
    close_all: Annotated[
        bool, typer.Option("--all", help="Every position that the service opened, on every account.")
    ] = False,
    account: Annotated[
        str | None, typer.Option("--account", help="The account; default, or the only one; with --all, every one.")
    ] = None,
) -> None:
    """Close a position at market and cancel its protective orders."""
    if (asset is None) is not close_all:
        raise UsageFailed("name the asset to close, or give --all")
    path = "/v1/positions/close" if asset is None else f"/v1/positions/{path_part(asset)}/close"
    document = asking.ask(lambda client: client.post(path, account_id=account))
    results = document["items"] if asset is None else [document]
    asking.show(document, lambda render, _: render.closes(results))
    left = [f"{item['asset']}{_on(item)}" for item in results if not item["success"]]
    if left:
        raise ServiceRefused(f"not closed: {', '.join(left)}")


def _on(item: dict[str, Any]) -> str:
    return f" on {item['account_id']}" if "account_id" in item else ""


@app.command(rich_help_panel=_PANEL)
@asks
def halt(
    asking: Asking,
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever resumes reads it.")],
    flatten: Annotated[bool, typer.Option("--flatten", help="Close every position of the service, too.")] = False,
    account: EveryAccountOption = None,
) -> None:
    """The kill switch: send no more entries until 'tes resume'. Exits go on; it survives restarts."""
    body = json.dumps({"reason": reason, "flatten": flatten}).encode()
    document = asking.ask(lambda client: client.post("/v1/halt", body, account_id=account))
    asking.show(document, lambda render, halted: render.halted(halted, is_flattened=flatten))
    if "warning" in document:
        _complain([f"tes: {document['warning']}"])
    if flatten and not asking.as_json:
        _complain(document["left_open"])
    if flatten and not document["is_flat"]:
        raise ServiceRefused("not everything is closed yet; the service goes on, look again with 'tes positions'")


@app.command(rich_help_panel=_PANEL)
@asks
def resume(
    asking: Asking,
    account: EveryAccountOption = None,
) -> None:
    """Accept entries again after 'tes halt', or after the service halted by itself."""
    document = asking.ask(lambda client: client.post("/v1/resume", account_id=account))
    asking.show(document, lambda render, resumed: render.resumed(resumed))


@app.command(rich_help_panel=_PANEL)
@asks
def reconcile(
    asking: Asking,
    account: AccountOption = None,
) -> None:
    """Compare the record with the exchange now; show each difference and what was done."""
    report = asking.ask(lambda client: client.post("/v1/reconcile", account_id=account))
    asking.show(report, lambda render, document: render.reconciliation(document))
