"""``tes serve`` and ``tes run``: the service itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.common import ConfigOption, LiveOption, PaperOption, TestnetOption, read_decision
from app.cli.exits import CommandFailed, UsageFailed
from app.cli.process import bind, on_stop_signal, run_in_fast_loop
from app.cli.session import Session, announced, session_path
from app.domain.errors import TesError
from app.domain.events import EventType

if TYPE_CHECKING:
    import socket

    import uvicorn

    from app.bootstrap import Application
    from app.core.settings import Settings

app = typer.Typer()
_PANEL = "Service"
_READY_TIMEOUT_S = 60
_READY_POLL_S = 0.02
_FOLLOW_TIMEOUT_S = 60
_LAST_STEPS_S = 2
_SAMPLE = "sample-"

HostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on [TES_HOST].")]
PortOption = Annotated[
    int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one [TES_PORT].", min=0, max=65535)
]


@app.command(rich_help_panel=_PANEL)
def serve(
    paper: PaperOption = False,
    testnet: TestnetOption = False,
    live: LiveOption = False,
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the service: HTTP API, status page, execution and reconciliation, until Ctrl-C or SIGTERM."""
    settings = _settings(config, paper=paper, testnet=testnet, live=live, host=host, port=port)
    listening = bind(settings.host, settings.port)
    with listening:
        run_in_fast_loop(_serve(settings, listening, None))


@app.command(rich_help_panel=_PANEL)
def run(
    submit: Annotated[str, typer.Option("--submit", help="The decision to start with; - reads standard input.")],
    paper: PaperOption = False,
    testnet: TestnetOption = False,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the result; keep nothing. Exit code 0 when all is protected.")
    ] = False,
    host: HostOption = None,
    port: PortOption = None,
    config: ConfigOption = None,
) -> None:
    """Start the service, send it one decision with a fresh id and time, show each step, then serve until Ctrl-C.

    On paper it closes what the sample of an earlier run left open, and has no cooldown unless one is set.
    """
    settings = _settings(config, paper=paper, testnet=testnet, host=host, port=port, is_demonstration=True)
    if settings.venue.value == "live":
        raise UsageFailed("'tes run' sends a sample decision, never with real money: use 'tes serve --live'")
    body = read_decision(submit)
    if once:
        run_in_fast_loop(_once(settings, body))
        return
    listening = bind(settings.host, settings.port)
    with listening:
        run_in_fast_loop(_serve(settings, listening, body))


def _settings(
    config: Path | None,
    *,
    paper: bool,
    testnet: bool,
    host: str | None,
    port: int | None,
    live: bool = False,
    is_demonstration: bool = False,
) -> Settings:
    import structlog

    from app.core.configuration import load_settings
    from app.core.logging import configure_logging

    venue = common.chosen_venue(paper=paper, testnet=testnet, live=live)
    overrides: dict[str, Any] = {"venue": venue, "host": host, "port": port}
    settings = load_settings(os.environ, config=config, overrides=overrides)
    if is_demonstration and settings.is_paper and "risk_cooldown_seconds" not in settings.model_fields_set:
        # the sample can be run again at once, and so can what the README sends behind it
        settings = load_settings(os.environ, config=config, overrides={**overrides, "risk_cooldown_seconds": 0})
    is_quiet = is_demonstration and "log_level" not in settings.model_fields_set
    configure_logging(settings.log_format, "WARNING" if is_quiet else settings.log_level)
    for warning in settings.warnings:
        structlog.get_logger(__name__).warning("configuration.warning", warning=warning)
    return settings


async def _once(settings: Settings, body: bytes) -> None:
    """One decision on a database and a venue that are gone afterwards.

    Raises:
        CommandFailed: it was not executed, or a requested exit is not on the book.
    """
    from app.bootstrap import running

    async with running(settings, is_ephemeral=True) as application:
        await until_ready(application)
        await demonstrate(application, body)


class _Stopper:
    """Turns signals into an orderly end: during the start by cancelling it, afterwards through the server."""

    def __init__(self, starting: asyncio.Task[Any] | None) -> None:
        self._starting = starting
        self.server: uvicorn.Server | None = None
        self.is_told = False

    def __call__(self) -> None:
        if self.server is not None:
            self.server.force_exit = self.server.should_exit
            self.server.should_exit = True
        elif self._starting is not None and not self.is_told:
            self._starting.cancel()
        self.is_told = True


async def _serve(settings: Settings, listening: socket.socket, sample: bytes | None) -> None:
    """The service from start to stop, with a sample decision in between where one is given.

    Raises:
        CommandFailed: it trades no more for a reason of its own: whoever supervises it starts it again.
    """
    from app.api.server import make_server
    from app.bootstrap import running
    from app.core.collector import spare_what_stays
    from app.services.binding import VenueBinding

    stopper = _Stopper(asyncio.current_task())
    with on_stop_signal(stopper):
        try:
            async with running(settings, binding=VenueBinding(settings)) as application:
                server = make_server(application)
                stopper.server = server
                spare_what_stays()
                await _serve_http(application, server, listening, sample)
        except asyncio.CancelledError:
            if not stopper.is_told:
                raise


async def _serve_http(
    application: Application, server: uvicorn.Server, listening: socket.socket, sample: bytes | None
) -> None:
    settings = application.settings
    url = common.base_url(settings.host, listening.getsockname()[1])
    token = application.api_token if settings.api_token is None else None
    beside = (
        asyncio.create_task(_announce(application, Session(url, token))),
        asyncio.create_task(_greet(application, url, sample)),
    )
    ending = asyncio.create_task(_stop_when_given_up(application, server))
    try:
        await server.serve(sockets=[listening])
    finally:
        for task in (*beside, ending):
            task.cancel()
        await asyncio.gather(*beside, ending, return_exceptions=True)
    if not ending.cancelled():
        raise CommandFailed(ending.result())


async def _stop_when_given_up(application: Application, server: uvicorn.Server) -> str:
    """Stop serving when this process trades no more for a reason of its own; returns that."""
    reason = await application.ownership.until_given_up()
    server.should_exit = True
    return reason


async def _announce(application: Application, session: Session) -> None:
    """Leave the note for the command line: while this process trades, for until then it is the other one's."""
    while not application.services:
        await application.clock.sleep(_READY_POLL_S)
    with announced(session_path(application.settings), session):
        await asyncio.Event().wait()


async def _greet(application: Application, url: str, sample: bytes | None) -> None:
    """Show the sample's way, then where to go from here."""
    from app.cli import render

    shown = render.console()
    if sample is not None:
        try:
            await until_ready(application)
            await demonstrate(application, sample)
        except (CommandFailed, TesError) as error:
            render.console(is_error=True).print(str(error), style="red")
    is_generated = application.settings.api_token is None
    fragment = f"/#token={application.api_token}" if is_generated else "/"
    told = application.api_token if is_generated else "the value of TES_API_TOKEN"
    shown.print(f"\nTrading Execution Service, {application.settings.venue.value}. Ctrl-C stops it.")
    shown.print(f"Dashboard  {url}{fragment}\nAPI        {url}/docs\nAPI token  {told}", soft_wrap=True)


async def until_ready(application: Application) -> None:
    """Wait for the first reconciliation of every account.

    Raises:
        CommandFailed: it takes too long; with the reasons.
    """
    clock = application.clock
    end = clock.monotonic() + _READY_TIMEOUT_S
    while not all(state.is_ready for state in application.readiness().values()):
        if clock.monotonic() > end:
            states = application.readiness()
            reasons = "; ".join(f"{name}: {', '.join(state.reasons)}" for name, state in states.items())
            raise CommandFailed(f"not ready after {_READY_TIMEOUT_S} s: {reasons}")
        await clock.sleep(_READY_POLL_S)


async def _close_earlier_samples(application: Application, account_id: str) -> None:
    """Close what the sample of an earlier run left open on paper, and nothing else: it would refuse the new one."""
    found = await application.trades.open_trades(account_id)
    held = [trade.asset for trade in found.items if trade.decision_id.startswith(_SAMPLE)]
    await asyncio.gather(*(application.service(account_id).close_position(asset) for asset in held))


async def demonstrate(application: Application, body: bytes) -> None:
    """Execute a decision under a fresh id and time, showing each step and the result.

    Raises:
        CommandFailed: it was not executed, or a requested exit is not on the book.
        DecisionRefused: it is no valid decision.
    """
    from app.cli import render
    from app.schemas.decision import AssetDecision, parse_decision
    from app.schemas.result import AssetStatus

    decision = parse_decision(body).model_copy(
        update={"decision_id": f"{_SAMPLE}{application.ids.new()}", "timestamp": application.clock.now()}
    )
    shown = render.console()
    shown.print(f"decision {decision.decision_id}", style="bold")
    if application.settings.is_paper:
        await _close_earlier_samples(application, decision.account_id)
    after = await application.events.last_seq()
    steps = asyncio.create_task(_show_steps(application, after, decision.decision_id))
    try:
        submission = await application.service(decision.account_id).submit(decision)
        result = await submission.wait(_FOLLOW_TIMEOUT_S)
        await asyncio.wait((steps,), timeout=_LAST_STEPS_S)
    finally:
        steps.cancel()
        await asyncio.gather(steps, return_exceptions=True)
    document = result.model_dump(mode="json")
    shown.print()
    shown.print(render.result_table(document))
    for line in render.result_errors(document):
        shown.print(line, style="red")
    bare = [
        item.asset
        for item, asked in zip(result.results, decision.items, strict=True)
        if isinstance(asked, AssetDecision)
        and asked.action.is_entry
        and asked.has_exit
        and item.status is not AssetStatus.PROTECTED
    ]
    if not result.success or bare:
        raise CommandFailed(f"the sample ended {result.status.value}; not protected: {', '.join(bare) or 'none'}")


async def _show_steps(application: Application, after: int, decision_id: str | None) -> None:
    """Print the decision's events until its last one."""
    from app.cli import render
    from app.schemas.events import event_document

    shown = render.console()
    async with application.dispatcher.subscribe(after) as events:
        async for recorded in events:
            if recorded.event.decision_id == decision_id:
                shown.print(render.EventLine(event_document(recorded)))
                if recorded.event.type in (EventType.DECISION_COMPLETED, EventType.DECISION_REJECTED):
                    return
