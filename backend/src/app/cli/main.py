"""The entry point of ``tes``. Commands import what they need when they run: starting must be quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from app.cli import act, admin, ready, records, serve, sim
from app.cli.exits import CommandFailed, ExitCode
from app.cli.help import HelpfulGroup
from app.cli.replay import command as replay
from app.cli.terminal import survive_any_encoding
from app.core.plain_text import harmless
from app.domain.errors import ConfigurationError, TesError

_INTERRUPTED = 130

app = typer.Typer(
    name="tes",
    cls=HelpfulGroup,
    help="Trading Execution Service: turns trading decisions into filled and protected positions on AsterDEX.",
    epilog="Exit codes: 0 done, 1 the service said no, 2 usage or configuration, 3 the service can't be reached.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (serve, ready, sim, act, records, admin, replay):
    app.registered_commands += group.app.registered_commands
    app.registered_groups += group.app.registered_groups


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from app.core.version import program_version

        typer.echo(f"tes {program_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of ``tes`` itself."""


def main() -> None:
    """Run ``tes``; every error of ours becomes one sentence and an exit code."""
    survive_any_encoding()
    try:
        app()
    except CommandFailed as error:
        _fail(str(error), error.code)
    except ConfigurationError as error:
        _fail(str(error), ExitCode.USAGE)
    except TesError as error:
        _fail(str(error), ExitCode.REFUSED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has left; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.REFUSED)


def _fail(message: str, code: ExitCode) -> None:
    typer.secho(f"tes: {harmless(message)}", err=True, fg=typer.colors.RED)
    sys.exit(code)
