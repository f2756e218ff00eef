"""A world performed: everything is set up, everything happens, everything heals, and must come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.core.configuration import load_settings
from app.core.settings import Settings
from app.domain.errors import ExchangeError, TesError
from app.domain.events import RecordedEvent
from app.domain.parts import opening
from app.domain.trades import CloseReason, Trade, TradeStatus
from app.repositories.decisions import StoredDecision
from app.services.execution.covering import STOPS
from app.services.execution.reconciliation import ReconciliationReport
from aster_sim.core.errors import VenueError
from aster_sim.credentials import AccountCredentials, AccountSpec
from aster_sim.http import people
from aster_sim.http.ledger_view import ledger_body
from proof.coverage import watch
from proof.disk import Disk
from proof.doings import Doings
from proof.engine import Died, Engine, Ordered, inside
from proof.exchange import CHAIN_ID, Exchange, dice_for
from proof.keeper import Keeper, Life
from proof.loop import VirtualLoop
from proof.process import Host, Process
from proof.seams import HostClock
from proof.trace import Trace
from proof.wire import Sent, Wire
from proof.world import World

LIMIT_S = 3_000.0
REST_WITHIN_S = 200.0
"""How long after the storm everything may take to come to rest, beside the exchange's own windows."""
LONGEST_READ_S = 14.0
"""A read that got lost just before everything healed is given up and made again within that time."""
_LOOK_S = 0.5
_LAST_LOOKS = 4
_MINUTE_S = 60.0
_BETWEEN_LOOKS_S = 4.0
_MANY_ORDERS = 200


@dataclass(slots=True)
class Run:
    """What is left of a performance: everything that the rules look at."""

    world: World
    trace: Trace
    ledger: dict[str, Any]
    sent: list[Sent]
    lives: list[Life]
    ordered: list[Ordered]
    trades: dict[str, list[Trade]] = field(default_factory=dict)
    decisions: list[StoredDecision] = field(default_factory=list)
    events: list[RecordedEvent] = field(default_factory=list)
    reports: dict[str, ReconciliationReport] = field(default_factory=dict)
    positions: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    excuses: list[tuple[float, float]] = field(default_factory=list)
    """When the service could not have reached the exchange."""
    troubles: list[str] = field(default_factory=list)
    """What went wrong with the run itself: it did not come to rest, a task broke."""
    deaf: list[str] = field(default_factory=list)
    """Accounts to whose user stream nobody listens when everything is quiet."""
    virtual_s: float = 0.0
    steps: int = 0


class Stage:
    """Performs one world."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        seed = world.seed
        self.loop = VirtualLoop(dice_for(seed, "loop"), unrest=world.unrest, limit_s=LIMIT_S)
        self.trace = Trace(self.loop)
        self._folder = folder
        self.excuses: list[tuple[float, float]] = []
        self._doings = Doings(self)

    def perform(self) -> Run:
        """Do it, from the first price to the last look."""
        gc.disable()  # when an object is freed must not depend on what ran before
        watch(self.trace)
        try:
            return self.loop.run(self._perform())
        finally:
            self.keeper.kill_all()
            watch(None)
            self.loop.close()
            gc.enable()

    # --- from beginning to end --------------------------------------------------------------------------------------

    async def _perform(self) -> Run:
        world = self.world
        specs = [AccountSpec(name, Decimal(world.balance)) for name in world.accounts]
        self.exchange = Exchange(
            self.loop, self.trace, world.seed, specs, world.assets,
            nonce_window_s=world.nonce_window_s, depth=Decimal(world.depth), volatility=world.volatility,
            rules=world.rules, market_maximum_usd=world.market_maximum_usd,
            algo_orders_maximum=world.algo_orders_maximum,
        )  # fmt: skip
        if world.algo_orders_maximum:
            self.trace.reach("world:algo orders")
        for name in world.hedged:
            people.change_modes(self.exchange.runtime, {"account": name, "hedge": True})
        self.wire = Wire(self.loop, self.exchange, dice_for(world.seed, "wire"), self.trace, world.nonce_window_s)
        self.wire.weather.latency_s, self.wire.weather.jitter = world.latency_s, world.jitter
        self.clock = HostClock(self.loop, drift=world.drift)
        self.clock.skew_s = world.skew_s
        self.disk = Disk(self.loop, self._folder, dice_for(world.seed, "disk"), self.trace)
        self.host = Host(self.loop, self.clock, self.wire, self.disk, self.trace)
        self.keeper = Keeper(self.host, self._load_settings(), world.seed, world.accounts)
        self.engine = Engine(self.exchange, self.trace, lambda: self.keeper.process)
        background = [
            asyncio.create_task(work)
            for work in (
                self.exchange.live(),
                self.exchange.send_late_frames(),
                *(self.keeper.keep_alive() for _ in range(2 if world.stands_by else 1)),
                self.keeper.watch(),
            )
        ]
        run = Run(world, self.trace, {}, self.wire.sent, self.keeper.lives, self.engine.ordered, excuses=self.excuses)
        await self._storm()
        self._heal()
        await asyncio.sleep(LONGEST_READ_S)
        await self._come_to_rest(run, "after the storm")
        if world.ending == "close":
            await self._close_everything(run)
            await self._come_to_rest(run, "after closing")
        await self._last_look(run)
        for task in background:
            if task.done() and task.exception() is not None:
                run.troubles.append(f"the world broke: {task.exception()!r}")
            task.cancel()
        run.troubles += self.loop.failures
        run.virtual_s, run.steps = self.loop.time(), self.loop.steps
        return run

    async def _storm(self) -> None:
        for happening in self.world.happenings:
            await asyncio.sleep(happening.at - self.loop.time())
            self.trace.note("world", f"{happening.what} {dict(happening.details)}")
            self.trace.reach(f"world:{happening.what}")
            with contextlib.suppress(VenueError, people.ControlError):
                getattr(self._doings, happening.what)(**happening.details)
        await asyncio.sleep(self.world.storm_s - self.loop.time())

    def _heal(self) -> None:
        """All faults end."""
        self.trace.note("world", "everything heals")
        self.wire.heal()
        self.exchange.faults.clear()
        self.exchange.pardon()
        self.disk.commit_s, self.disk.failure = 0.001, 0.0
        self.keeper.heal()
        self._doings.heal()
        for account in self.world.accounts:
            service = self.keeper.service(account)
            if service is not None and service.halted is not None:
                self.keeper.spawn(service.resume())

    async def _come_to_rest(self, run: Run, when: str) -> None:
        deadline = self.loop.time() + REST_WITHIN_S + 3 * self.world.nonce_window_s
        quiet = 0
        while self.loop.time() < deadline:
            await asyncio.sleep(_LOOK_S)
            quiet = quiet + 1 if not self._unrest() else 0
            if quiet >= 3:
                return
        run.troubles.append(f"no rest {when}: {self._unrest()}")

    def _unrest(self) -> str:
        """What is not at rest, in words; empty when all is."""
        process = self.keeper.process
        if process is None or process.application is None:
            return "the service does not run"
        if self.engine.is_waiting:
            return "a decision has no final result"
        for account in self.world.accounts:
            service = process.service(account)
            if service is None:
                return f"{account} is not served"
            readiness = service.readiness()
            if not readiness.is_ready:
                return f"{account} is not ready: {readiness.reasons}"
            if any(desk.jobs.looks_later for desk in service._desks.values()):
                return "an entry that was given up is to be asked for once more"
            for trade in service._active_trades():
                orders = " ".join(f"{order.client_order_id[-2:]}:{order.state.value}" for order in trade.orders[-6:])
                if len(trade.orders) > _MANY_ORDERS:
                    return f"trade {trade.id} on {trade.asset} has {len(trade.orders)} orders: {orders}"
                if self.world.algo_orders_maximum and trade.protection_failed and _is_bounded(trade):
                    continue  # there is no place for what is missing beside the stop (P14)
                if trade.status is not TradeStatus.OPEN or trade.has_unknown_order:
                    return f"trade {trade.id} on {trade.asset} is {trade.status.value}: {orders}"
        return ""

    async def _close_everything(self, run: Run) -> None:
        process = self.keeper.process
        if process is None:
            return
        for account in self.world.accounts:
            service = process.service(account)
            if service is not None:
                await inside(process, service.close_all(CloseReason.MANUAL))

    async def _last_look(self, run: Run) -> None:
        self.exchange.stand_still()
        process = self.keeper.process
        if process is None or process.application is None:
            run.troubles.append("the service did not survive")
            return
        for account in self.world.accounts:
            service = process.service(account)
            if service is None:
                continue
            for _ in range(_LAST_LOOKS):  # what moves in this very moment is there once, and not again
                try:
                    run.reports[account] = await inside(process, service.reconcile())
                except (ExchangeError, Died) as error:
                    self.trace.note("not reconciled", str(error))
                    await asyncio.sleep(_MINUTE_S / 3)  # the exchange's patience may be used up for this minute
                else:
                    if not run.reports[account].differences:
                        break
                await asyncio.sleep(_BETWEEN_LOOKS_S)
            if account not in run.reports:
                run.troubles.append(f"{account} can't be reconciled at the end")
        self.engine.ask_again()
        await asyncio.sleep(3.0)
        await self._come_to_rest(run, "at the end")
        try:
            await inside(process, self._read(run, process))
        except (TesError, Died) as error:
            run.troubles.append(f"the record can't be read at the end: {error!r}")
        run.deaf = [account for account in self.world.accounts if not self.exchange.hub.user_followed(account)]
        run.ledger = ledger_body(self.exchange.runtime)
        run.positions = {
            (account, asset): self.exchange.position(account, asset)
            for account in self.world.accounts
            for asset in self.world.assets
        }

    async def _read(self, run: Run, process: Process) -> None:
        application = process.application
        assert application is not None
        run.decisions = []
        cursor = None
        while True:
            page = await application.decisions.page(pickle.dumps, 500, cursor)
            run.decisions += map(pickle.loads, page.items)
            if (cursor := page.next_cursor) is None:
                break
        for account in self.world.accounts:
            found: dict[str, Trade] = {}
            for stored in run.decisions:
                for trade in (await application.trades.of_decision(account, stored.decision_id)).items:
                    found[trade.id] = trade
            run.trades[account] = list(found.values())
            if any(sum(order.transmissions > 0 for order in opening(trade)) > 1 for trade in found.values()):
                self.trace.reach("trade:entered in parts")
        run.events = await application.events.after(0, 100_000)

    # --- settings ---------------------------------------------------------------------------------------------------

    def _load_settings(self) -> Settings:
        world = self.world
        keys = {credentials.name: credentials for credentials in self.exchange.credentials}
        environ = {
            "TES_VENUE": "testnet",
            "TES_DATABASE_URL": self.disk.url,
            "TES_API_TOKEN": "a-token-that-nobody-uses",
            "TES_ASTER_CHAIN_ID": str(CHAIN_ID),
            "TES_ASTER_AUTH": world.schemes[world.accounts[0]],
            **_secrets(keys[world.accounts[0]], world.schemes[world.accounts[0]]),
            **world.settings,
        }
        config = self._folder / "tes.toml"
        lines = []
        for name in world.accounts[1:]:
            lines += [f"[accounts.{name}]", f'aster_auth = "{world.schemes[name]}"', f"aster_chain_id = {CHAIN_ID}"]
            secrets = _secrets(keys[name], world.schemes[name])
            lines += [f'{key.removeprefix("TES_").lower()} = "{value}"' for key, value in secrets.items()]
        config.write_text("\n".join(lines), encoding="utf-8")
        return load_settings(environ, config=config)


def _is_bounded(trade: Trade) -> bool:
    """Whether a stop rests for all that is held, or for more of which a person took some away; or none is wished."""
    if not any(leg.role in STOPS for leg in trade.legs):
        return True
    stops = (order for role in STOPS for order in trade.orders_of(role) if order.is_live)
    return any(order.remaining >= trade.exposure for order in stops)


def _secrets(keys: AccountCredentials, scheme: str) -> dict[str, str]:
    if scheme == "v1":
        return {"TES_ASTER_API_KEY": keys.api_key, "TES_ASTER_API_SECRET": keys.api_secret}
    return {"TES_ASTER_USER": keys.user, "TES_ASTER_SIGNER": keys.signer, "TES_ASTER_PRIVATE_KEY": keys.private_key}
