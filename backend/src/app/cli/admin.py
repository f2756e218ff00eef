"""``tes config`` and ``tes db``: the configuration and the database, without a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import common
from app.cli.common import ConfigOption, JsonOption, LiveOption, PaperOption, TestnetOption
from app.cli.exits import CommandFailed, UsageFailed
from app.cli.help import HelpfulGroup
from app.core.tokens import TOKEN_BITS, Scope, read_records, record_of

app = typer.Typer()
alert = typer.Typer(cls=HelpfulGroup, help="The channels that alerts go to.", no_args_is_help=True)
app.add_typer(alert, name="alert", rich_help_panel="Housekeeping")
database = typer.Typer(cls=HelpfulGroup, help="Migrations and backup of the database.", no_args_is_help=True)
app.add_typer(database, name="db", rich_help_panel="Housekeeping")


@app.command(rich_help_panel="Housekeeping")
def config(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the effective configuration, every secret masked, after checking it as the service would.

    What should not stay as it is goes to standard error.
    """
    import os

    from app.core.configuration import load_settings

    settings = load_settings(os.environ, config=file)
    for warning in settings.warnings:
        typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)
    document = settings.masked()
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.console().print(render.settings_table(document))


@app.command(rich_help_panel="Housekeeping")
def doctor(
    paper: PaperOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, database, disk, port, alerts, clock, key and account; OK, WARN or FAIL, with the fix.

    It looks as 'tes serve' with the same options would, and changes nothing. Exit code 1 when something is a FAIL.
    """
    import asyncio

    from app.cli.doctor import Verdict, examine
    from app.core.logging import configure_logging

    venue = common.chosen_venue(paper=paper, testnet=testnet, live=live)
    configure_logging(level="CRITICAL")  # what is wrong is among the findings
    found = asyncio.run(examine(config, venue))
    if as_json:
        common.print_json([one.as_dict() for one in found])
    else:
        from app.cli import render

        render.console().print(render.findings([one.as_dict() for one in found]))
    failed = [one.check for one in found if one.verdict is Verdict.FAIL]
    if failed:
        raise CommandFailed(f"not fit to trade: {', '.join(failed)}")


@app.command(rich_help_panel="Housekeeping")
def token(
    name: Annotated[str, typer.Argument(help="Who will use it: letters, digits, and . _ -")],
    scope: Annotated[Scope, typer.Option("--scope", help="What it may do.")] = Scope.READ,
    as_json: JsonOption = False,
) -> None:
    """Make an API token. It is shown once; the service is given the line with its hash."""
    from app.core.randomness import SystemRandomness

    made = f"{SystemRandomness().token(TOKEN_BITS):048x}"
    try:
        (record,) = read_records(record_of(name, scope, made).line())
    except ValueError:
        raise UsageFailed(f"{name!r} can't name a token: use 1 to 64 letters, digits, and . _ -") from None
    if as_json:
        common.print_json({"name": name, "scope": scope.value, "token": made, "line": record.line()})
        return
    typer.echo(f"token  {made}")
    typer.echo(f"line   {record.line()}")
    typer.echo("Give the token to its user, add the line to TES_API_TOKENS_FILE, and restart the service.", err=True)


@alert.command("test")
def alert_test(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Send a message to every channel of TES_ALERT_URLS and say which took it; addresses are masked."""
    import asyncio

    from app.events.alerts.alerter import send_test
    from app.events.alerts.channels import open_channels

    urls = [url.get_secret_value() for url in common.settings_for_client(config).alert_urls]
    if not urls:
        raise UsageFailed("no channel is configured: set TES_ALERT_URLS to one or more Apprise addresses")
    channels = open_channels(urls)
    failures = asyncio.run(send_test(channels))
    outcomes = list(zip(channels, failures, strict=True))
    document = [
        {"channel": number, "address": channel.label, "is_taken": failure is None, "error": failure}
        for number, (channel, failure) in enumerate(outcomes, 1)
    ]
    if as_json:
        common.print_json(document)
    else:
        for number, (channel, failure) in enumerate(outcomes, 1):
            outcome = "taken" if failure is None else f"failed ({failure})"
            typer.echo(f"channel {number}  {channel.label}  {outcome}")
    if any(failures):
        raise CommandFailed("not every channel took the message: check its entry in TES_ALERT_URLS, in order")


@database.command()
def upgrade(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Create the database, or bring its schema up to date."""
    from app.db.migrate import upgrade as upgrade_database

    version = upgrade_database(common.settings_for_client(config).database_url)
    if as_json:
        common.print_json({"version": version})
    else:
        typer.echo(f"the schema has version {version}")


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The new file to write.", dir_okay=False)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database while it is in use, and check the copy."""
    from rich.progress import Progress

    from app.cli import render
    from app.db.backup import backup as back_up_database

    database_url, console = common.settings_for_client(config).database_url, render.console(is_error=True)
    with Progress(console=console, disable=as_json or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("copied", total=None)
        size = back_up_database(
            database_url, file, lambda done, total: progress.update(task, completed=done, total=total)
        )
    if as_json:
        common.print_json({"file": str(file), "bytes": size})
    else:
        typer.echo(f"{file}: {size} bytes, checked")
