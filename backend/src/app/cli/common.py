"""What all commands share: options, settings, and the way to the service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from app.cli.exits import ServiceRefused, ServiceUnreachable, UsageFailed
from app.cli.terminal import shows_everything
from app.core.plain_text import escaped

if TYPE_CHECKING:
    from app.client.connection import Connection
    from app.core.settings import Settings

T = TypeVar("T")
SERVICE = "Where the service is"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Address of the service [TES_URL].", rich_help_panel=SERVICE)
]
TokenOption = Annotated[str | None, typer.Option("--token", help="API token [TES_TOKEN].", rich_help_panel=SERVICE)]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; tes.toml where present.", dir_okay=False)
]
PaperOption = Annotated[bool, typer.Option("--paper", help="The embedded simulated venue (the default).")]
TestnetOption = Annotated[bool, typer.Option("--testnet", help="AsterDEX's test network.")]
LiveOption = Annotated[bool, typer.Option("--live", help="AsterDEX itself, with real money.")]
LimitOption = Annotated[int, typer.Option("--limit", help="How many at most.", min=1, max=500)]
AccountOption = Annotated[str | None, typer.Option("--account", help="The account; default, or the only one.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service is, and the token for it."""

    url: str
    token: str | None = field(repr=False)


def chosen_venue(*, paper: bool, testnet: bool, live: bool) -> str | None:
    """The venue that an option names; None when none does, so that TES_VENUE decides.

    Raises:
        UsageFailed: two of them are given.
    """
    chosen = [name for name, flag in (("paper", paper), ("testnet", testnet), ("live", live)) if flag]
    if len(chosen) > 1:
        raise UsageFailed(f"--{chosen[0]} and --{chosen[1]} exclude each other: choose one")
    return chosen[0] if chosen else None


def settings_for_client(config: Path | None) -> Settings:
    """The settings of a command that talks to a service: credentials may be missing here."""
    from app.core.configuration import load_settings

    return load_settings(os.environ, config=config, is_service=False)


def find_service(url: str | None, token: str | None, config: Path | None) -> Place:
    """Options, then TES_URL and TES_TOKEN, then the note of the service on this machine, then its settings.

    Raises:
        UsageFailed: the address is none.
    """
    from app.cli.session import read_session, session_path

    settings = settings_for_client(config)
    session = read_session(session_path(settings))
    chosen_url = url or settings.url
    if chosen_url is not None and not re.match(r"https?://[^/]", chosen_url):
        raise UsageFailed(f"{chosen_url!r} is no address of a service: give one such as http://127.0.0.1:8000")
    if token is None and settings.token is not None:
        token = settings.token.get_secret_value()
    if token is None and settings.api_token is not None:
        token = settings.api_token.get_secret_value()
    if session is not None and (chosen_url is None or chosen_url.rstrip("/") == session.url):
        return Place(session.url, token or session.token)
    return Place(chosen_url or base_url(settings.host, settings.port), token)


def base_url(host: str, port: int) -> str:
    """The address for somebody on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 — recognised, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def service(place: Place) -> AsyncIterator[Connection]:
    """A connection to the service at ``place``, whose errors end the command with what to do.

    Raises:
        ServiceRefused: the service said no.
        ServiceUnreachable: nobody answered.
    """
    from app.client.connection import connection
    from app.client.errors import NotTheService, Refused, Unreachable

    try:
        async with connection(place.url, place.token) as client:
            yield client
    except Refused as refused:
        if refused.status != HTTPStatus.UNAUTHORIZED:
            raise ServiceRefused(str(refused)) from None
        hint = "a token is needed" if place.token is None else "the token is wrong"
        raise ServiceRefused(f"{hint}: give --token or TES_TOKEN, the API token that 'tes serve' printed") from None
    except NotTheService as error:
        raise ServiceUnreachable(f"{error}: give the right --url") from None
    except Unreachable as error:
        raise ServiceUnreachable(f"{error}: start it with 'tes serve', or give its address with --url") from None


def ask(place: Place, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``work`` with a client, in an event loop of its own."""

    async def run() -> T:
        async with service(place) as client:
            return await work(client)

    return asyncio.run(run())


def read_decision(file: str) -> bytes:
    """The bytes of a decision; the service reads them, so that one place judges them.

    Raises:
        UsageFailed: there is no such file.
    """
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageFailed(
            f"{file} can't be read ({error.strerror}): give a JSON file, or - for standard input"
        ) from None


def upper(text: str | None) -> str | None:
    """An asset as the exchange spells it, whatever a person types."""
    return text if text is None else text.upper()


def path_part(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def print_json(document: Any, *, is_line: bool = False) -> None:
    """JSON on standard output; as one line when ``is_line``. What a terminal would obey is escaped."""
    text = json.dumps(document, indent=None if is_line else 2, ensure_ascii=not shows_everything())
    typer.echo(escaped(text))
