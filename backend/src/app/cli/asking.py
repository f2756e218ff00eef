"""Commands that ask a running service: the options that all of them have, and their answer as JSON or for people."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from app.cli import common
from app.cli.common import ConfigOption, JsonOption, Place, TokenOption, UrlOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from app.client.connection import Connection

T = TypeVar("T")
FOLLOW_S = 1.0
"""Between two looks of a table that is followed."""

View = Callable[[ModuleType, Any], "RenderableType"]
"""How a document looks, given :mod:`app.cli.render`, which is imported only when something is shown to people."""
_SHARED: tuple[tuple[str, Any, Any], ...] = (
    ("as_json", JsonOption, False),
    ("url", UrlOption, None),
    ("token", TokenOption, None),
    ("config", ConfigOption, None),
)


@dataclass(frozen=True, slots=True)
class Asking:
    """One command's way to the service and back to the person. Everything raises as :func:`common.service`."""

    as_json: bool
    url: str | None
    token: str | None
    config: Path | None

    def place(self) -> Place:
        """Where the service is."""
        return common.find_service(self.url, self.token, self.config)

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What the service answers to ``work``."""
        return common.ask(self.place(), work)

    def show(self, document: Any, view: View) -> None:
        """Print a document as JSON, or as ``view`` makes it."""
        if self.as_json:
            common.print_json(document)
            return
        from app.cli import render

        render.console().print(view(render, document))

    def show_list(self, work: Callable[[Connection], Awaitable[Any]], view: View, *, follow: bool) -> None:
        """Print what ``work`` reads, once, or again and again until Ctrl-C."""
        if not follow:
            self.show(self.ask(work), view)
        elif self.as_json:
            self.ask(lambda client: _follow_as_lines(client, work))
        else:
            self.ask(lambda client: _follow_as_table(client, work, view))


async def _follow_as_lines(client: Connection, work: Callable[[Connection], Awaitable[Any]]) -> None:
    """One line of JSON for each change."""
    from app.core.clock import SystemClock

    clock, last = SystemClock(), None
    while True:
        document = await work(client)
        items = document["items"]
        if items != last:
            common.print_json(document, is_line=True)
        last = items
        await clock.sleep(FOLLOW_S)
        _obey_ctrl_c()


async def _follow_as_table(client: Connection, work: Callable[[Connection], Awaitable[Any]], view: View) -> None:
    """A table that is kept up to date, also over a restart of the service."""
    from rich.live import Live

    from app.cli import render
    from app.client.errors import Unreachable
    from app.core.clock import SystemClock

    clock = SystemClock()
    shown = view(render, await work(client))
    with Live(render.live(shown, None), console=render.console(), auto_refresh=False) as live:
        while True:
            await clock.sleep(FOLLOW_S)
            _obey_ctrl_c()
            trouble = None
            try:
                shown = view(render, await work(client))
            except Unreachable as error:
                trouble = str(error)
            live.update(render.live(shown, trouble), refresh=True)


def _obey_ctrl_c() -> None:
    """End when this task was canceled: a request that timed out at that moment may have taken it for its own end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Make ``command(asking, …)`` a command with its own options and, behind them, the shared ones."""
    own = inspect.signature(command, eval_str=True)
    _, *mine = own.parameters.values()
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, option, default in _SHARED
    ]

    @functools.wraps(command)
    def with_shared_options(**given: Any) -> None:
        asking = Asking(**{name: given.pop(name) for name, _, _ in _SHARED})
        command(asking, **given)

    kept = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in mine]
    with_shared_options.__signature__ = own.replace(parameters=[*kept, *shared])  # type: ignore[attr-defined]
    return with_shared_options


def complete_asset(ctx: typer.Context, incomplete: str) -> list[str]:
    """Assets with an open position, for the shell's tab; nothing where no service answers."""
    given = ctx.params
    asking = Asking(as_json=True, url=given.get("url"), token=given.get("token"), config=given.get("config"))
    try:
        document = asking.ask(lambda client: client.get("/v1/positions"))
    except Exception:  # noqa: BLE001 — a tab in the shell must never print a traceback
        return []
    held = sorted({item["asset"] for item in document["items"]})
    return [asset for asset in held if asset.startswith(incomplete.upper())]
