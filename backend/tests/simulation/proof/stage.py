"""A world performed: everything is set up, everything happens, everything heals, and must come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.core.configuration import load_settings
from app.core.settings import Settings
from app.domain.errors import ExchangeError, TesError
from app.domain.events import RecordedEvent
from app.domain.ids import parse_client_order_id
from app.domain.trades import CloseReason, Trade, TradeStatus
from app.repositories.decisions import StoredDecision
from app.services.execution.reconciliation import ReconciliationReport
from aster_sim.core.errors import VenueError
from aster_sim.credentials import AccountCredentials, AccountSpec
from aster_sim.http import people
from aster_sim.http.ledger_view import ledger_body
from proof.coverage import watch
from proof.disk import Disk
from proof.engine import Died, Engine, Ordered, inside
from proof.exchange import CHAIN_ID, Exchange, dice_for
from proof.fates import REFUSALS
from proof.loop import VirtualLoop
from proof.process import Fuse, Host, Process
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
class Life:
    """One process: from start to end; ``ready_at`` when it first could act."""

    number: int
    began: float
    ended: float | None = None
    ready_at: float | None = None


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
        self._dice = dice_for(seed, "stage")
        self._lives: list[Life] = []
        self._process: Process | None = None
        self._wants_process = True
        self._fuses: list[tuple[Fuse, float]] = []
        self._pause_s = 0.0
        self._excuses: list[tuple[float, float]] = []
        self._side_tasks: list[asyncio.Task[None]] = []
        self._numbers = 0

    def perform(self) -> Run:
        """Do it, from the first price to the last look."""
        gc.disable()  # when an object is freed must not depend on what ran before
        watch(self.trace)
        try:
            return self.loop.run(self._perform())
        finally:
            if self._process is not None:
                self._process.die()
                self._process = None
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
        )  # fmt: skip
        for name in world.hedged:
            people.change_modes(self.exchange.runtime, {"account": name, "hedge": True})
        self.wire = Wire(self.loop, self.exchange, dice_for(world.seed, "wire"), self.trace, world.nonce_window_s)
        self.wire.weather.latency_s, self.wire.weather.jitter = world.latency_s, world.jitter
        self.clock = HostClock(self.loop, drift=world.drift)
        self.clock.skew_s = world.skew_s
        self.disk = Disk(self.loop, self._folder, dice_for(world.seed, "disk"), self.trace)
        self.host = Host(self.loop, self.clock, self.wire, self.disk, self.trace)
        self.engine = Engine(self.exchange, self.trace, lambda: self._process)
        self._settings = self._load_settings()
        background = [
            asyncio.create_task(work)
            for work in (self.exchange.live(), self.exchange.send_late_frames(), self._keep_alive(), self._watch())
        ]
        run = Run(world, self.trace, {}, self.wire.sent, self._lives, self.engine.ordered, excuses=self._excuses)
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
                getattr(self, f"_do_{happening.what}")(**happening.details)
        await asyncio.sleep(self.world.storm_s - self.loop.time())

    def _heal(self) -> None:
        """All faults end."""
        self.trace.note("world", "everything heals")
        self.wire.heal()
        self.exchange.faults.clear()
        self.exchange.pardon()
        self.disk.commit_s, self.disk.failure = 0.001, 0.0
        self._fuses.clear()
        for task in self._side_tasks:
            task.cancel()
        if self._process is not None:
            self._process.fuse, self._process.dies_at_step = None, 0
            for account in self.world.accounts:
                service = self._process.service(account)
                if service is not None and service.halted is not None:
                    self._spawn(service.resume())

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
        process = self._process
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
            for trade in service._active_trades():
                orders = " ".join(f"{order.client_order_id[-2:]}:{order.state.value}" for order in trade.orders[-6:])
                if len(trade.orders) > _MANY_ORDERS:
                    return f"trade {trade.id} on {trade.asset} has {len(trade.orders)} orders: {orders}"
                if trade.status is not TradeStatus.OPEN or trade.has_unknown_order:
                    return f"trade {trade.id} on {trade.asset} is {trade.status.value}: {orders}"
        return ""

    async def _close_everything(self, run: Run) -> None:
        process = self._process
        if process is None:
            return
        for account in self.world.accounts:
            service = process.service(account)
            if service is not None:
                await inside(process, service.close_all(CloseReason.MANUAL))

    async def _last_look(self, run: Run) -> None:
        self.exchange.stand_still()
        process = self._process
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
        page = await application.decisions.page(1000)
        run.decisions = list(page.items)
        for account in self.world.accounts:
            found: dict[str, Trade] = {}
            for stored in run.decisions:
                for trade in await application.trades.of_decision(account, stored.decision_id):
                    found[trade.id] = trade
            run.trades[account] = list(found.values())
        run.events = await application.events.after(0, 100_000)

    # --- processes --------------------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Whatever runs the service starts it again when it is gone."""
        while True:
            self._numbers += 1
            fuse = None
            if self._numbers > 1 and self._fuses:
                fuse, self._pause_s = self._fuses.pop(0)
            life = Life(self._numbers, self.loop.time())
            self._lives.append(life)
            self._process = Process(
                self.host, self._settings, self._numbers, dice_for(self.world.seed, f"p{self._numbers}"), fuse
            )
            self._process.on_death = self._on_death
            await asyncio.wait([self._process.ended])
            life.ended = self.loop.time()
            self._process = None
            await asyncio.sleep(self._pause_s)

    def _on_death(self, process: Process) -> None:
        """Note in the middle of what it died."""
        reach = self.trace.reach
        reach(f"crash:fuse {process.fuse.what if process.fuse else 'end'}")
        if process.fuse is None:
            return
        if self._lives[-1].ready_at is None:
            reach("crash:recovering")
        for account in self.world.accounts:
            service = process.application.services.get(account) if process.application is not None else None
            for trade in service._active_trades() if service is not None else ():
                reach(f"crash:trade {trade.status.value}")
                for order in trade.orders:
                    reach(f"crash:{order.role.value} {order.state.value}".lower())

    async def _watch(self) -> None:
        """Note when a process became able to act."""
        while True:
            await asyncio.sleep(0.05)
            process = self._process
            if process is not None and self._lives[-1].ready_at is None:
                services = [process.service(account) for account in self.world.accounts]
                if all(service is not None and service.readiness().is_ready for service in services):
                    self._lives[-1].ready_at = self.loop.time()
                    self.trace.note("ready", f"process {process.number}")

    def _spawn(self, work: Any) -> None:
        """Do something inside the process and care for nothing."""
        if self._process is None:
            work.close()
            return

        async def quietly() -> None:
            with contextlib.suppress(TesError, TimeoutError):
                await work

        self._process.run(quietly())

    def _service(self, account: str) -> Any:
        return self._process.service(account) if self._process is not None else None

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

    # --- what may happen --------------------------------------------------------------------------------------------

    def _later(self, seconds: float, undo: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            undo()

        self._side_tasks.append(asyncio.create_task(wait()))

    def _excuse(self, seconds: float) -> None:
        self._excuses.append((self.loop.time(), self.loop.time() + seconds))

    def _do_decide(self, **details: Any) -> None:
        self.engine.order(self.loop.time(), **details)

    def _do_close(self, account: str, asset: str) -> None:
        service = self._service(account)
        if service is not None:
            self._spawn(service.close_position(asset))

    def _do_reconcile(self, account: str) -> None:
        service = self._service(account)
        if service is not None:
            self._spawn(service.reconcile())

    def _do_halt(self, account: str, flatten: bool, lasts: float) -> None:
        service = self._service(account)
        if service is None:
            return
        self._spawn(service.halt("the operator wants a break", flatten=flatten))

        def resume() -> None:
            later = self._service(account)
            if later is not None:
                self._spawn(later.resume())

        self._later(lasts, resume)

    def _do_stop(self, pause: float) -> None:
        if self._process is not None:
            self._pause_s = pause
            self._process.ask_to_stop()

    def _do_crash(self, fuses: list[tuple[str, int]], pauses: list[float]) -> None:
        chain = [(Fuse(what, count), pause) for (what, count), pause in zip(fuses, pauses, strict=True)]
        (first, self._pause_s), rest = chain[0], chain[1:]
        self._fuses += rest
        if self._process is not None and not self._process.is_dead:
            self._process.light(first)

    def _do_weather(self, chances: dict[str, float], lasts: float) -> None:
        weather = self.wire.weather
        weather.chances = dict(chances)

        def clear() -> None:
            weather.chances = {}

        self._later(lasts, clear)

    def _do_refuse(self, role: str, code: str, lasts: float) -> None:
        """Every order of a role is refused in one way."""
        refusing = self.wire.weather.refusing
        refusing[role] = REFUSALS[code]
        self._later(lasts, lambda: refusing.pop(role, None))

    def _do_cut(self, lasts: float) -> None:
        self.wire.weather.is_cut = True
        self._excuse(lasts)
        for socket in list(self.wire.sockets):
            socket.silenced()

        def mend() -> None:
            self.wire.weather.is_cut = False

        self._later(lasts, mend)

    def _do_outage(self, kind: str, lasts: float) -> None:
        self._excuse(lasts)
        self.exchange.faults.add({"action": {"type": kind, "seconds": lasts}})

    def _do_ban(self, seconds: float) -> None:
        self._excuse(seconds)
        self.exchange.ban(seconds)

    def _do_frames(self, kind: str, seconds: float, lasts: float, chance: float) -> None:
        lasting = kind in ("disconnect", "silence")
        action = {"type": kind, "seconds": seconds}
        fault = {"action": action, "count": 1 if lasting else 0, "probability": 1.0 if lasting else chance}
        number = self.exchange.faults.add(fault)[0]["id"]
        self._later(lasts, lambda: self.exchange.faults.clear(number))

    def _do_key_dies(self, account: str, quietly: bool) -> None:
        hub = self.exchange.hub
        if quietly:
            hub.close_key(account)
        else:
            entry = hub._keys.get(account)
            if entry is not None:
                entry.expires_us = 0

    def _do_venue_clock(self, seconds: float, lasts: float) -> None:
        self._excuse(lasts)
        self.exchange.faults.add({"action": {"type": "clock_skew", "seconds": seconds, "lasts": lasts}})

    def _do_host_clock(self, seconds: float) -> None:
        self.clock.skew_s += seconds

    def _do_disk(self, commit_s: float, failure: float, lasts: float) -> None:
        self.disk.commit_s, self.disk.failure = commit_s, failure

        def heal() -> None:
            self.disk.commit_s, self.disk.failure = 0.001, 0.0

        self._later(lasts, heal)

    def _do_thin(self, asset: str, lasts: float) -> None:
        """Most of the book is taken away."""
        liquidity = self.exchange.market(asset).liquidity
        sizes = liquidity._sizes
        liquidity._sizes = {side: [size / 2000 for size in rows] for side, rows in sizes.items()}
        liquidity._drawn.clear()

        def refill() -> None:
            liquidity._sizes = sizes
            liquidity._drawn.clear()

        self._side_tasks.append(asyncio.create_task(_at_the_end(lasts, refill)))

    def _do_price(self, asset: str, bps: int, glides: bool) -> None:
        self.exchange.move(asset, bps / 10_000, glides=glides)

    # --- the human at the exchange ----------------------------------------------------------------------------------

    def _do_human_trade(self, account: str, asset: str, side: str, kind: str, usd: int) -> None:
        market = self.exchange.market(asset)
        price, tick, step = market.prices.mark, market.instrument.tick, market.instrument.step
        quantity = (Decimal(usd) / price / step).to_integral_value() * step
        params = {"symbol": asset, "side": side, "type": kind, "quantity": str(quantity)}
        away = Decimal("0.98") if (side == "BUY") is (kind == "LIMIT") else Decimal("1.02")
        distant = str((price * away / tick).to_integral_value() * tick)
        if kind == "LIMIT":
            params |= {"price": distant, "timeInForce": "GTC"}
        elif kind == "STOP_MARKET":
            params |= {"stopPrice": distant}
        owner = self.exchange.account(account)
        if owner.dual_side:
            params["positionSide"] = "LONG" if side == "BUY" else "SHORT"
        people.place(self.exchange.runtime, owner, params)

    def _do_human_close(self, account: str, asset: str, part: float) -> None:
        owner = self.exchange.account(account)
        step = self.exchange.market(asset).instrument.step
        for held in owner.held(asset):
            quantity = (abs(held.amount) * Decimal(str(part)) / step).to_integral_value() * step or abs(held.amount)
            params = {"symbol": asset, "side": "SELL" if held.amount > 0 else "BUY", "type": "MARKET",
                      "positionSide": held.side, "quantity": str(quantity)}  # fmt: skip
            if held.side == "BOTH":
                params["reduceOnly"] = "true"
            people.place(self.exchange.runtime, owner, params)

    def _do_human_flip(self, account: str, asset: str) -> None:
        people.change_position(self.exchange.runtime, {"account": account, "symbol": asset, "do": "flip"})

    def _do_human_cancel(self, account: str, asset: str, role: str) -> None:
        owner = self.exchange.account(account)
        for order in list(owner.open_orders.get(asset, {}).values()):
            key = parse_client_order_id(order.client_order_id)
            if key is not None and order.client_order_id.rpartition(".")[2][0] in role:
                people.cancel(self.exchange.runtime, owner, {"symbol": asset, "orderId": str(order.order_id)})

    def _do_human_modes(self, account: str, asset: str, leverage: int) -> None:
        people.change_modes(self.exchange.runtime, {"account": account, "leverage": {asset: leverage}})


async def _at_the_end(seconds: float, undo: Any) -> None:
    """Undo something after a time, or when everything heals."""
    try:
        await asyncio.sleep(seconds)
    finally:
        undo()


def _secrets(keys: AccountCredentials, scheme: str) -> dict[str, str]:
    if scheme == "v1":
        return {"TES_ASTER_API_KEY": keys.api_key, "TES_ASTER_API_SECRET": keys.api_secret}
    return {"TES_ASTER_USER": keys.user, "TES_ASTER_SIGNER": keys.signer, "TES_ASTER_PRIVATE_KEY": keys.private_key}
