"""The door of the venue: describe one with ``VenueConfig``, get it running with ``start_venue``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from aster_sim.auth import Authenticator
from aster_sim.clock import SimClock, SkewedClock, SystemClock, entropy_hex, fresh_seed, seeded
from aster_sim.core.catalogue import built_in_catalogue, load_catalogue
from aster_sim.core.state import MAKER_RATE, TAKER_RATE
from aster_sim.core.venue import Venue
from aster_sim.credentials import AccountCredentials, AccountSpec, complete, load_accounts
from aster_sim.faults import FaultPlan
from aster_sim.feeds.base import Feed
from aster_sim.feeds.candles import CandleFeed, read_candles, symbol_of
from aster_sim.feeds.live import MAINNET_STREAMS, LiveFeed
from aster_sim.feeds.manual import ManualFeed
from aster_sim.feeds.synthetic import CALM, SyntheticFeed, weather_of
from aster_sim.http.control import Control
from aster_sim.http.dispatch import Dispatcher, DropConnection
from aster_sim.http.hub import Hub
from aster_sim.http.lane import Dates, Lane
from aster_sim.http.limits import LimitRules, Limits
from aster_sim.http.market_streams import MarketStreams, publish_marks
from aster_sim.http.outages import Outages
from aster_sim.http.sampled_streams import SampledStreams
from aster_sim.http.sockets import MAX_URL, Sockets
from aster_sim.http.sockets import PREFIX as FSTREAM_PREFIX
from aster_sim.journal import Journal
from aster_sim.runtime import Runtime
from aster_sim.tape.tape import Tape

__all__ = [
    "AccountCredentials",
    "AccountSpec",
    "LimitRules",
    "RunningVenue",
    "VenueConfig",
    "VenueStartError",
    "load_accounts",
    "start_venue",
]

_LOG = logging.getLogger("aster_sim")
_SHUTDOWN_S = 2.0
COUNTDOWN_TICK_S = 0.01
LATE_FRAMES_TICK_S = 0.01
TESTNET_CHAIN_ID = 714
LIVE = "live"


class VenueStartError(OSError):
    """The venue cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class VenueConfig:
    """How a venue is to be.

    ``prices``: ``synthetic[:volatility=1,jumps=0]``, ``candles:FILE[,FILE…]`` (a FILE may be ``SYMBOL=path``),
    ``live[:SYMBOL,SYMBOL…]`` (from ``live_url``; those named also trade by trade), or ``manual``. ``speed``: candles
    per second, 0 for stepping through the control API. ``seed`` None: a fresh one. ``port`` 0: any free one.
    ``depth`` scales the synthetic liquidity; ``nonce_window_s`` is ± seconds around the venue's clock.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int | None = None
    prices: str = "synthetic"
    speed: float = 0.0
    exchange_info: Path | None = None
    accounts: list[AccountSpec] = field(default_factory=lambda: [AccountSpec("default")])
    faults: Path | None = None
    state: Path | None = None
    chain_id: int = TESTNET_CHAIN_ID
    nonce_window_s: float = 60.0
    live_url: str = MAINNET_STREAMS
    depth: Decimal = Decimal(1)
    taker_rate: Decimal = TAKER_RATE
    maker_rate: Decimal = MAKER_RATE
    limits: LimitRules = field(default_factory=LimitRules)


class Door:
    """The venue's port: the listener, the connections in the fast lane, and aiohttp's."""

    def __init__(self, listener: asyncio.Server, lanes: set[Lane], runner: web.ServerRunner) -> None:
        self.port: int = listener.sockets[0].getsockname()[1]
        self._listener = listener
        self._lanes = lanes
        self._runner = runner

    async def close(self) -> None:
        """Take no more connections and hang up on all. Safe to call twice."""
        self._listener.close()
        for lane in list(self._lanes):
            lane.close()
        await self._runner.cleanup()
        await self._listener.wait_closed()


class RunningVenue:
    """A venue that serves; stop it with ``stop()``."""

    def __init__(
        self,
        config: VenueConfig,
        runtime: Runtime,
        accounts: list[AccountCredentials],
        door: Door,
        feed: Feed,
    ) -> None:
        self.accounts = accounts
        self.chain_id = config.chain_id
        self.port = port = door.port
        self.seed = runtime.seed
        self.venue = runtime.venue
        self.faults = runtime.faults
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.rest_url = f"http://{host}:{port}"
        self.ws_url = f"ws://{host}:{port}"
        self.control_url = f"{self.rest_url}/sim"
        self._runtime = runtime
        self._door = door
        self._feed = feed
        self._tasks: list[asyncio.Task[None]] = []

    def start_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run background work until ``stop``; its failure is logged at once and raised by ``stop``."""
        task = asyncio.create_task(work, name=f"aster_sim.{name}")
        task.add_done_callback(_log_failure)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Stop feeds, hang up streams, close the port and the state file. Safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await self._feed.close()
        self._runtime.hub.hang_up_all()
        await self._door.close()
        if self._runtime.journal is not None:
            journal, self._runtime.journal = self._runtime.journal, None
            journal.commit(self.venue, self.venue.take_changes(), with_prices=True)
            journal.close()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome


async def start_venue(config: VenueConfig, clock: SimClock | None = None) -> RunningVenue:
    """Start a venue inside the caller's event loop.

    Raises VenueStartError (port in use), CatalogueError, AccountSpecError, FaultError, CandleFileError,
    JournalError, LiveFeedError, or ValueError for a price feed that does not exist; nothing is left running then.
    """
    clock = clock or SystemClock()
    seed = config.seed if config.seed is not None else fresh_seed()
    catalogue = load_catalogue(config.exchange_info) if config.exchange_info else built_in_catalogue()
    live = config.prices.partition(":")[0] == LIVE
    if live:
        catalogue = replace(catalogue, start_prices={})
    faults = FaultPlan(seeded(seed, "faults"), clock.now_us)
    clock = SkewedClock(clock, faults.skew_us)
    venue = Venue(
        catalogue,
        seeded(seed, "liquidity"),
        clock.now_us,
        depth=config.depth,
        taker_rate=config.taker_rate,
        maker_rate=config.maker_rate,
    )
    if config.faults:
        faults.load(config.faults)
    auth = Authenticator(config.chain_id, config.nonce_window_s)
    accounts = [complete(spec, entropy_hex) for spec in config.accounts]
    for credentials in accounts:
        auth.register(credentials)
    hub = Hub(faults, entropy_hex, clock.now_us)
    venue.state.followed = hub.user_followed
    tape = Tape(lambda purpose: seeded(seed, f"tape:{purpose}"), venue.state.now_ms, with_past=not live)
    runtime = Runtime(venue, clock, auth, hub, faults, Limits(config.limits), tape, seed=seed)
    runtime.started_ms = venue.state.now_ms()
    if config.state:
        runtime.journal = Journal.open(config.state, venue)
        auth.restore(runtime.journal.nonces)
        if venue.countdowns.armed:
            runtime.countdown_wound.set()
    feed: Feed | None = None
    try:
        for credentials in accounts:
            venue.open_account(credentials.name, credentials.balance)
        feed = _feed(config, runtime, seed)
        if isinstance(feed, LiveFeed):
            await feed.open()
        runtime.feed_name = feed.name
        runtime.settle()
        return await _serve(config, runtime, accounts, feed)
    except BaseException:
        if feed is not None:
            await feed.close()
        if runtime.journal is not None:
            runtime.journal.close()
        raise


def _feed(config: VenueConfig, runtime: Runtime, seed: int) -> Feed:
    kind, _, rest = config.prices.partition(":")
    if kind == "synthetic":
        weather = weather_of(rest) if rest else CALM
        return SyntheticFeed(runtime.venue, runtime.clock, seeded(seed, "prices"), runtime.settle, weather)
    if kind == "manual" and not rest:
        return ManualFeed()
    if kind == "candles" and rest:
        files = [symbol_of(text) for text in rest.split(",") if text]
        bars = {symbol: read_candles(path) for symbol, path in files}
        return CandleFeed(runtime.venue, runtime.clock, bars, config.speed, runtime.settle)
    if kind == LIVE:
        symbols = [symbol for symbol in rest.split(",") if symbol]
        return LiveFeed(runtime.venue, runtime.clock, symbols, runtime.settle, config.live_url)
    raise ValueError(
        f"prices {config.prices!r}: expected synthetic, candles:FILE[,FILE…], live[:SYMBOL,SYMBOL…] or manual"
    )


async def _serve(config: VenueConfig, runtime: Runtime, accounts: list[AccountCredentials], feed: Feed) -> RunningVenue:
    dispatcher, sockets, outages = Dispatcher(runtime), Sockets(runtime), Outages(runtime)
    control = Control(runtime, feed if isinstance(feed, CandleFeed) else None)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/sim/"):
            refused = outages.refuse(request)
            if refused is not None:
                return refused
        if path.startswith("/fapi/"):
            try:
                return await dispatcher.handle(request)
            except DropConnection:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=503)
        if path.startswith("/sim/"):
            return await control.handle(request, path)
        stream_path = path.removeprefix(FSTREAM_PREFIX)
        if stream_path in {"/stream", "/ws"} or stream_path.startswith("/ws/"):
            return await sockets.serve(request, stream_path, query)
        return await dispatcher.handle(request)

    general = web.Server(handle, access_log=None, max_line_size=4 * MAX_URL)
    runner = web.ServerRunner(general, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    lanes, dates = set[Lane](), Dates()
    try:
        listener = await asyncio.get_running_loop().create_server(
            lambda: Lane(runtime, dispatcher, general, lanes, dates), config.host, config.port
        )
    except OSError as error:
        await runner.cleanup()
        raise VenueStartError(
            f"the simulated venue cannot listen on {config.host}:{config.port} ({error.strerror}); "
            "choose another port, or stop what is using it"
        ) from error
    door = Door(listener, lanes, runner)
    running = RunningVenue(config, runtime, accounts, door, feed)
    for market in runtime.venue.state.markets.values():
        if market.priced:
            runtime.tape.of(market)
    streams = MarketStreams(runtime)
    runtime.venue.price_listener = streams.price_moved
    runtime.market_listener = streams
    running.start_task(feed.run(), "feed")
    sampled = SampledStreams(runtime)
    runtime.snapshot_listener = sampled.snapshot_taken
    running.start_task(sampled.run(), "streams")
    running.start_task(_housekeeping(runtime, sockets, outages), "housekeeping")
    running.start_task(_countdowns(runtime), "countdowns")
    running.start_task(_late_frames(runtime), "late frames")
    return running


async def _housekeeping(runtime: Runtime, sockets: Sockets, outages: Outages) -> None:
    """Once a second: what is due at the venue, outages, mark-price streams, listen keys that end, pings."""
    last_ping_us = runtime.clock.now_us()
    second = 0
    while True:
        await runtime.clock.sleep(1.0)
        second += 1
        outages.look()
        runtime.venue.advance()
        runtime.settle()
        publish_marks(runtime.hub, runtime.venue.state, second)
        runtime.hub.expire_keys(runtime.clock.now_us())
        last_ping_us = await sockets.keep_alive(last_ping_us)


async def _countdowns(runtime: Runtime) -> None:
    """Look at the countdowns of countdownCancelAll every ten milliseconds, as AsterDEX does, while any runs."""
    while True:
        await runtime.countdown_wound.wait()
        runtime.countdown_wound.clear()
        while runtime.venue.countdowns.armed:
            await runtime.clock.sleep(COUNTDOWN_TICK_S)
            runtime.venue.advance()
            runtime.settle()


async def _late_frames(runtime: Runtime) -> None:
    """Send the frames that a fault keeps back, a hundred times a second while there are any."""
    while True:
        await runtime.hub.late_frames.wait()
        runtime.hub.late_frames.clear()
        while runtime.hub.send_late():
            await runtime.clock.sleep(LATE_FRAMES_TICK_S)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _LOG.critical("sim.task_failed", extra={"task": task.get_name()}, exc_info=task.exception())
