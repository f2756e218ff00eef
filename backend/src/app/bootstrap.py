"""The only wiring: settings become a running application, and everything is stopped in the reverse order."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.core.settings import AccountSettings, Settings, VenueAddress, VenueKind
from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.db.port import Database
from app.domain.errors import DecisionRefused, ErrorCode, TesError
from app.domain.events import Event
from app.domain.ids import IdSource
from app.domain.ports import Clock, Randomness
from app.domain.reports import UserEvent
from app.events.alerts.alerter import Alerter, Manner
from app.events.alerts.channels import open_channels
from app.events.alerts.delivery import Delivery
from app.events.chronicle import Chronicle
from app.events.dispatcher import EventDispatcher
from app.integrations.aster.aiohttp_transport import AiohttpStreamConnector, AiohttpTransport
from app.integrations.aster.budget import RequestBudget
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed, MarketStream, PriceListener
from app.integrations.aster.settings import AsterSettings
from app.integrations.aster.streams import UserStream
from app.integrations.aster.transport import StreamConnector, TransportFactory
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from app.repositories.flags import FlagRepository
from app.repositories.leases import Lease, LeaseRepository, Owner
from app.repositories.trades import TradeRepository
from app.services.binding import VenueBinding
from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from app.services.execution.projection import Readiness
from app.services.execution.routing import StreamBuilder, Streams
from app.services.execution.service import ExecutionService
from app.services.outage import OutageWatch
from app.services.ownership import Ownership
from app.venues import open_doors

log = structlog.get_logger(__name__)

_TOKEN_BITS = 192


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything that the faces need. ``services`` is empty while another process trades the accounts.

    ``deliveries`` are the alerts', one for each channel.
    """

    settings: Settings
    is_paper: bool
    accounts: tuple[str, ...]
    ownership: Ownership
    services: Mapping[str, ExecutionService]
    decisions: DecisionRepository
    trades: TradeRepository
    events: EventRepository
    dispatcher: EventDispatcher
    deliveries: tuple[Delivery, ...]
    database: Database
    """To watch; what is read and written goes through the repositories."""
    api_token: str = field(repr=False)
    clock: Clock
    ids: IdSource

    def service(self, account_id: str) -> ExecutionService:
        """The service that acts for an account.

        Raises:
            DecisionRefused: ``account_unknown``, or ``not_ready`` while another process trades the accounts.
        """
        if account_id not in self.accounts:
            known = ", ".join(sorted(self.accounts))
            text = f"account_id: there is no account {account_id!r}; configured are: {known}"
            raise DecisionRefused(ErrorCode.ACCOUNT_UNKNOWN, text)
        return self.trading()[account_id]

    def trading(self) -> Mapping[str, ExecutionService]:
        """All services, to act with.

        Raises:
            DecisionRefused: ``not_ready`` while another process trades the accounts.
        """
        if not self.services or self.ownership.is_lost:
            raise DecisionRefused(ErrorCode.NOT_READY, f"not ready: {self.ownership.obstacle or 'starting'}")
        return self.services

    def readiness(self) -> dict[str, Readiness]:
        """Whether each account takes decisions, whether or not its service has begun."""
        if not self.services or self.ownership.is_lost:
            reasons = (self.ownership.obstacle or "starting",)
            return dict.fromkeys(self.accounts, Readiness(is_ready=False, reasons=reasons))
        return {account_id: service.readiness() for account_id, service in self.services.items()}


def _threaded_database(url: str) -> Database:
    return make_database(url, ThreadExecutor())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the application gets from the world around it; the proof by simulation gives it a world of its own.

    ``database`` gets a database URL, ``transport`` the exchange's REST address and a question, whether it may send,
    ``connector`` a stream address.
    """

    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    database: Callable[[str], Database] = _threaded_database
    transport: TransportFactory = AiohttpTransport
    connector: Callable[[str], StreamConnector] = AiohttpStreamConnector


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    is_ephemeral: bool = False,
    outside: Outside | None = None,
    binding: VenueBinding | None = None,
) -> AsyncIterator[Application]:
    """Start everything that ``settings`` ask for; stop it at the end.

    While another process trades the accounts, this one stands by, without services, and takes over when that one ends.

    Args:
        settings: the configuration.
        is_ephemeral: keep nothing: a temporary database, and in paper mode a venue that forgets.
        outside: time, chance, disk and network; the machine's own unless given.
        binding: refuses a database with something open at another venue, as ``tes serve`` and ``tes run`` do. Without
            it, whoever calls keeps the databases of venues apart.

    Raises:
        ConfigurationError: a setting can't work, or the database is another venue's.
        StoreUnavailable: the database can't be opened.
    """
    outside = outside or Outside()
    clock, randomness = outside.clock, outside.randomness
    accounts = settings.account_settings()
    database = outside.database("sqlite:///:memory:" if is_ephemeral else settings.database_url)
    events = EventRepository(database)
    dispatcher = EventDispatcher(events)
    ids = IdSource(clock, randomness)
    core = _Core(settings, accounts, database, outside, ids, binding, is_ephemeral=is_ephemeral)
    async with AsyncExitStack() as stack:
        chronicle = await stack.enter_async_context(Chronicle(clock, core.decisions.traceparent))
        stack.push_async_callback(database.close)
        await database.start()
        if binding is not None:
            await binding.check(database)
        database.follow(dispatcher.publish)
        database.follow(chronicle.take)
        alerter = await stack.enter_async_context(_alerting(settings, events, dispatcher, clock))
        stack.callback(dispatcher.close)  # before the alerter ends: what it was given by then is told
        ownership = _ownership(core)
        stack.push_async_callback(ownership.release)
        floor = _TradingFloor(core, ownership, alerter)
        stack.push_async_callback(floor.close)
        await floor.begin()
        stack.push_async_callback(floor.drain, settings.shutdown_grace_seconds)
        yield Application(
            settings=settings,
            is_paper=settings.is_paper,
            accounts=tuple(accounts),
            ownership=ownership,
            services=floor.services,
            decisions=core.decisions,
            trades=core.trades,
            events=events,
            dispatcher=dispatcher,
            deliveries=alerter.deliveries if alerter else (),
            database=database,
            api_token=_api_token(settings, randomness),
            clock=clock,
            ids=ids,
        )


class _Core:
    """What exists once, whether this process trades or stands by."""

    def __init__(
        self,
        settings: Settings,
        accounts: Mapping[str, AccountSettings],
        database: Database,
        outside: Outside,
        ids: IdSource,
        binding: VenueBinding | None,
        *,
        is_ephemeral: bool,
    ) -> None:
        self.settings = settings
        self.accounts = accounts
        self.database = database
        self.outside = outside
        self.clock = outside.clock
        self.randomness = outside.randomness
        self.ids = ids
        self.binding = binding
        self.is_ephemeral = is_ephemeral
        self.decisions = DecisionRepository(database)
        self.trades = TradeRepository(database)
        self.flags = FlagRepository(database)

    def narrator(self, account_id: str) -> Narrator:
        """Makes the events of an account."""
        return Narrator(account_id=account_id, is_paper=self.settings.is_paper, new_id=self.ids.new, now=self.clock.now)


def _ownership(core: _Core) -> Ownership:
    def took_over(lease: Lease) -> Event:
        return core.narrator(lease.account_id).alert(
            Alert(
                Severity.WARNING,
                "taken_over",
                f"process {lease.owner.pid} on {lease.owner.host} stopped renewing its lease on {lease.account_id}: "
                "this process trades the account now; look at why that one ended",
            )
        )

    return Ownership(
        LeaseRepository(core.database, tuple(core.accounts)),
        Owner(token=core.ids.new(), host=platform.node(), pid=os.getpid()),
        core.clock,
        lambda: core.database.health,
        took_over,
    )


class _TradingFloor:
    """What only the owner of the accounts runs: opened once they are ours, closed when they no longer are."""

    def __init__(self, core: _Core, ownership: Ownership, alerter: Alerter | None) -> None:
        self._core = core
        self._ownership = ownership
        self._alerter = alerter
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.services: dict[str, ExecutionService] = {}

    async def begin(self) -> None:
        """Trade, or stand by and trade once the accounts are ours. Raises as ``_take_up``."""
        if await self._ownership.try_to_take():
            await self._take_up()
        else:
            self._start(self._stand_by())

    async def drain(self, grace_s: float) -> None:
        """Let what is in flight come to rest before anything is stopped, on all accounts at once (scenario C8)."""
        await asyncio.gather(*(service.drain(grace_s) for service in self.services.values()))

    async def close(self) -> None:
        """Stop it all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _take_up(self) -> None:
        """Keep the lease and begin to trade; the lease is renewed from the first moment, for opening takes its time.

        Raises:
            ConfigurationError: a setting can't work, or the database is another venue's by now.
            StoreUnavailable: the record can't be read.
        """
        self._start(self._keep())
        if self._core.binding is not None:
            await self._core.binding.bind(self._core.database)
        await self._open()
        watch = OutageWatch(
            self._core.clock,
            lambda: self._core.database.health,
            lambda: self._ownership.may_send() or self._ownership.is_lost,  # which is told by itself
            self._tell,
            self._record,
        )
        self._start(watch.run())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(self._supervised(work)))

    async def _supervised(self, work: Coroutine[None, None, None]) -> None:
        """Without this work nothing is traded: when it fails, the accounts are given to the next process."""
        try:
            await work
        except TesError as error:
            await self._give_up(str(error))
        except Exception as error:  # supervises: unseen, it would leave an owner that trades nothing
            log.exception("trading.failed_unexpectedly")
            await self._give_up(f"{type(error).__name__}: {error}; the log has the traceback")

    async def _give_up(self, reason: str) -> None:
        """Trade no more, tell why, and give the leases back; whoever runs this process ends it then."""
        said = f"trading {'has stopped' if self.services else 'could not begin'}: {reason}"
        log.critical("trading.given_up", error=said)
        self.services.clear()
        try:
            await self._stack.aclose()
        finally:
            await self._ownership.release()
            self._ownership.give_up(said)
            self._tell(Alert(Severity.CRITICAL, "trading_given_up", f"{said}; this process ends, start it again"))

    async def _stand_by(self) -> None:
        await self._ownership.stand_by()
        await self._take_up()

    async def _keep(self) -> None:
        await self._ownership.keep()
        self.services.clear()  # whoever owns the accounts now looks after what is in flight
        await self._stack.aclose()
        self._tell(Alert(Severity.CRITICAL, "ownership_lost", f"trading has stopped: {self._ownership.obstacle}"))

    def _tell(self, alert: Alert) -> None:
        """Send what can't be recorded to the channels."""
        log.critical("trading.alert", code=alert.code, message=alert.message)
        if self._alerter is not None:
            for account_id in self._core.accounts:
                self._alerter.tell(self._core.narrator(account_id).alert(alert))

    def _record(self, alert: Alert) -> None:
        for account_id in self._core.accounts:
            self._core.trades.record_events((self._core.narrator(account_id).alert(alert),))

    async def _open(self) -> None:
        """Start the services, in paper mode on their venue."""
        core, stack = self._core, self._stack
        doors = await open_doors(core.settings, core.accounts, stack, is_ephemeral=core.is_ephemeral)
        budgets: dict[str, RequestBudget] = {}
        services = {}
        for account_id, account in core.accounts.items():
            door = doors[account_id]
            budget = budgets.setdefault(door.address.rest_url, RequestBudget(core.clock))
            transport = core.outside.transport(door.address.rest_url, self._ownership.may_send)
            stack.push_async_callback(transport.close)
            client_settings = AsterSettings(
                fence_window_s=account.nonce_window_s, entry_lifetime_s=account.entry_lifetime_s
            )
            client = AsterClient(transport, door.credentials, core.clock, core.randomness, budget, client_settings)
            services[account_id] = ExecutionService(
                policy=account.policy,
                client=client,
                decisions=core.decisions,
                trades=core.trades,
                flags=core.flags,
                narrator=core.narrator(account_id),
                ids=core.ids,
                clock=core.clock,
                randomness=core.randomness,
                streams=_streams(client, door.address, core.outside, stack),
                store_health=lambda: core.database.health.reason or self._ownership.obstacle,
                place=f"{platform.node()} {door.address.rest_url}",
            )
        for service in services.values():
            stack.push_async_callback(service.stop)
            await service.start()
        self.services.update(services)


def _streams(client: AsterClient, address: VenueAddress, outside: Outside, stack: AsyncExitStack) -> StreamBuilder:
    """Build an account's streams once somebody listens."""
    clock, randomness = outside.clock, outside.randomness
    user_connector = outside.connector(address.user_stream_url)
    market_connector = outside.connector(address.market_stream_url)
    stack.push_async_callback(user_connector.close)
    stack.push_async_callback(market_connector.close)

    def build(on_event: Callable[[UserEvent], None], prices: PriceListener, followed: Followed) -> Streams:
        user_stream = UserStream(client, user_connector, clock, randomness, on_event)
        market_stream = MarketStream(market_connector, clock, randomness, prices, followed)
        return Streams(runs=(user_stream.run, market_stream.run), doubt=user_stream.doubt)

    return build


@asynccontextmanager
async def _alerting(
    settings: Settings, events: EventRepository, dispatcher: EventDispatcher, clock: Clock
) -> AsyncIterator[Alerter | None]:
    """Tell the configured channels of alerts raised from now on until the dispatcher closes; None without channels."""
    if not settings.alert_urls:
        yield None
        return
    manner = Manner(
        place="LIVE" if settings.venue is VenueKind.LIVE else settings.venue.value,
        window_s=settings.alert_repeat_seconds,
        per_minute=settings.alert_max_per_minute,
    )
    channels = open_channels([url.get_secret_value() for url in settings.alert_urls])
    alerter = Alerter(dispatcher, channels, clock, manner)
    task = asyncio.create_task(alerter.run(await events.last_seq()), name="alerts")
    try:
        yield alerter
    finally:
        await task


def _api_token(settings: Settings, randomness: Randomness) -> str:
    if settings.api_token is not None:
        return settings.api_token.get_secret_value()
    return f"{randomness.token(_TOKEN_BITS):048x}"
