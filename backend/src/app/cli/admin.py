"""``tes config`` and ``tes db``: the configuration and the database, without a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import common
from app.cli.common import ConfigOption, JsonOption

app = typer.Typer()
database = typer.Typer(help="Migrations and backup of the database.", no_args_is_help=True)
app.add_typer(database, name="db", rich_help_panel="Housekeeping")


@app.command(rich_help_panel="Housekeeping")
def config(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the effective configuration, every secret masked, after checking it as the service would."""
    import os

    from app.core.configuration import load_settings

    document = load_settings(os.environ, config=file).masked()
    if as_json:
        common.print_json(document)
        return
    from app.cli import render

    render.console().print(render.settings_table(document))


@database.command()
def upgrade(config: ConfigOption = None) -> None:
    """Create the database, or bring its schema up to date."""
    from app.db.migrate import upgrade as upgrade_database

    settings = common.settings_for_client(config)
    typer.echo(f"the schema has version {upgrade_database(settings.database_url)}")


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The new file to write.", dir_okay=False)], config: ConfigOption = None
) -> None:
    """Copy the database while it is in use, and check the copy."""
    from app.db.backup import backup as back_up_database

    size = back_up_database(common.settings_for_client(config).database_url, file)
    typer.echo(f"{file}: {size} bytes, checked")
