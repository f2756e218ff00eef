"""What may happen in a world: each method is one kind of happening, done to the stage."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.ids import parse_client_order_id
from aster_sim.core.account import Account
from aster_sim.core.errors import VenueError
from aster_sim.http import people
from proof.fates import BY_NAME
from proof.process import Fuse

if TYPE_CHECKING:
    from proof.stage import Stage


class Doings:
    """Does what a happening names; what lasts is undone after its time, or when everything heals."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._side_tasks: list[asyncio.Task[None]] = []
        self._thinned: set[str] = set()

    def heal(self) -> None:
        """Undo at once what would be undone later."""
        for task in self._side_tasks:
            task.cancel()

    def _later(self, seconds: float, undo: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            undo()

        self._side_tasks.append(asyncio.create_task(wait()))

    def _excuse(self, seconds: float) -> None:
        self._stage.excuses.append((self._stage.loop.time(), self._stage.loop.time() + seconds))

    def decide(self, **details: Any) -> None:
        self._stage.engine.order(self._stage.loop.time(), **details)

    def close(self, account: str, asset: str) -> None:
        service = self._stage.keeper.service(account)
        if service is not None:
            self._stage.keeper.spawn(service.close_position(asset))

    def reconcile(self, account: str) -> None:
        service = self._stage.keeper.service(account)
        if service is not None:
            self._stage.keeper.spawn(service.reconcile())

    def halt(self, account: str, flatten: bool, lasts: float) -> None:
        service = self._stage.keeper.service(account)
        if service is None:
            return
        self._stage.keeper.spawn(service.halt("the operator wants a break", flatten=flatten))

        def resume() -> None:
            later = self._stage.keeper.service(account)
            if later is not None:
                self._stage.keeper.spawn(later.resume())

        self._later(lasts, resume)

    def stop(self, pause: float) -> None:
        if self._stage.keeper.process is not None:
            self._stage.keeper.pause_s = pause
            self._stage.keeper.process.ask_to_stop()

    def freeze(self, lasts: float) -> None:
        """The process that trades stands still, and does not know it."""
        self._stage.keeper.freeze(lasts)

    def lose_database(self, lasts: float) -> None:
        """The process that trades finds no way to the database, which is there for all others."""
        process = self._stage.keeper.process
        if process is not None:
            process.has_no_database = True
            if process.trades:
                self._stage.trace.reach("ownership:owner without database")

            def find() -> None:
                process.has_no_database = False

            self._later(lasts, find)

    def power_cut(self, pause: float) -> None:
        """All processes die at once, and are started again at one moment."""
        self._stage.keeper.pause_s = pause
        self._stage.keeper.kill_all()

    def crash(self, fuses: list[tuple[str, int]], pauses: list[float]) -> None:
        chain = [(Fuse(what, count), pause) for (what, count), pause in zip(fuses, pauses, strict=True)]
        (first, self._stage.keeper.pause_s), rest = chain[0], chain[1:]
        self._stage.keeper.fuses += rest
        if self._stage.keeper.process is not None and not self._stage.keeper.process.is_dead:
            self._stage.keeper.process.light(first)

    def weather(self, chances: dict[str, float], lasts: float) -> None:
        weather = self._stage.wire.weather
        weather.chances = dict(chances)

        def clear() -> None:
            weather.chances = {}

        self._later(lasts, clear)

    def befall(self, kind: str, fate: str, lasts: float) -> None:
        """Every request of a kind meets one fate."""
        befalling = self._stage.wire.weather.befalling
        befalling[kind] = BY_NAME[fate]
        self._later(lasts, lambda: befalling.pop(kind, None))

    def history(self, lag_s: float, lasts: float) -> None:
        """Executions are shown late among the user's trades."""
        self._lag("history_lag_s", lag_s, lasts)

    def slow_leverage(self, seconds: float, lasts: float) -> None:
        """To set a leverage takes the exchange so long."""
        self._lag("leverage_lag_s", seconds, lasts)

    def _lag(self, name: str, seconds: float, lasts: float) -> None:
        weather = self._stage.wire.weather
        setattr(weather, name, seconds)
        self._later(lasts, functools.partial(setattr, weather, name, 0.0))

    def late_lists(self, lasts: float) -> None:
        """Orders and executions are in no query and no list, and no frame tells of an order; positions are shown."""
        frames = {"action": {"type": "drop_events"}, "match": {"event": "ORDER_TRADE_UPDATE"}, "count": 0}
        lists = {"action": {"type": "lag_lists", "seconds": lasts, "lasts": lasts}}
        for row in self._stage.exchange.faults.add([frames, lists]):
            self._later(lasts, functools.partial(self._stage.exchange.faults.clear, row["id"]))

    def cut(self, lasts: float) -> None:
        self._stage.wire.weather.is_cut = True
        self._excuse(lasts)
        for socket in list(self._stage.wire.sockets):
            socket.silenced()

        def mend() -> None:
            self._stage.wire.weather.is_cut = False

        self._later(lasts, mend)

    def outage(self, kind: str, lasts: float) -> None:
        self._excuse(lasts)
        self._stage.exchange.faults.add({"action": {"type": kind, "seconds": lasts}})

    def ban(self, seconds: float) -> None:
        self._excuse(seconds)
        self._stage.exchange.ban(seconds)

    def firewall(self, seconds: float) -> None:
        """The silence that follows is ours to choose, and grows while the pages go on."""
        self._excuse(3 * seconds + 10)
        self._stage.exchange.raise_firewall(seconds)

    def frames(self, kind: str, seconds: float, lasts: float, chance: float) -> None:
        lasting = kind in ("disconnect", "silence")
        action = {"type": kind, "seconds": seconds}
        fault = {"action": action, "count": 1 if lasting else 0, "probability": 1.0 if lasting else chance}
        number = self._stage.exchange.faults.add(fault)[0]["id"]
        self._later(lasts, lambda: self._stage.exchange.faults.clear(number))

    def key_dies(self, account: str, quietly: bool) -> None:
        hub = self._stage.exchange.hub
        if quietly:
            hub.close_key(account)
        else:
            entry = hub._keys.get(account)
            if entry is not None:
                entry.expires_us = 0

    def venue_clock(self, seconds: float, lasts: float) -> None:
        self._excuse(lasts)
        self._stage.exchange.faults.add({"action": {"type": "clock_skew", "seconds": seconds, "lasts": lasts}})

    def host_clock(self, seconds: float) -> None:
        self._stage.clock.skew_s += seconds

    def disk(self, commit_s: float, failure: float, lasts: float) -> None:
        self._stage.disk.commit_s, self._stage.disk.failure = commit_s, failure

        def heal() -> None:
            self._stage.disk.commit_s, self._stage.disk.failure = 0.001, 0.0

        self._later(lasts, heal)

    def thin(self, asset: str, lasts: float) -> None:
        """Most of the book is taken away, unless it is away already: each refill brings back what its own found."""
        if asset in self._thinned:
            return
        self._thinned.add(asset)
        liquidity = self._stage.exchange.market(asset).liquidity
        sizes = liquidity._sizes
        liquidity._sizes = {side: [size / 2000 for size in rows] for side, rows in sizes.items()}
        liquidity._drawn.clear()

        def refill() -> None:
            self._thinned.discard(asset)
            liquidity._sizes = sizes
            liquidity._drawn.clear()

        self._side_tasks.append(asyncio.create_task(_at_the_end(lasts, refill)))

    def price(self, asset: str, bps: int, glides: bool) -> None:
        self._stage.exchange.move(asset, bps / 10_000, glides=glides)

    # --- the human at the exchange ----------------------------------------------------------------------------------

    def human_trade(self, account: str, asset: str, side: str, kind: str, usd: int) -> None:
        market = self._stage.exchange.market(asset)
        price, tick, step = market.prices.mark, market.instrument.tick, market.instrument.step
        quantity = (Decimal(usd) / price / step).to_integral_value() * step
        params = {"symbol": asset, "side": side, "type": kind, "quantity": str(quantity)}
        away = Decimal("0.98") if (side == "BUY") is (kind == "LIMIT") else Decimal("1.02")
        distant = str((price * away / tick).to_integral_value() * tick)
        if kind == "LIMIT":
            params |= {"price": distant, "timeInForce": "GTC"}
        elif kind == "STOP_MARKET":
            params |= {"stopPrice": distant}
        owner = self._stage.exchange.account(account)
        if owner.dual_side:
            params["positionSide"] = "LONG" if side == "BUY" else "SHORT"
        order_id = people.place(self._stage.exchange.runtime, owner, params)["orderId"]
        if kind == "LIMIT" and self._stage.world.settings.get("TES_PROTECTION_FOREIGN_ORDERS") == "alert":
            # nothing but its owner takes away what blocks a close then: at the end the owner heeds the alert
            self._take_back(owner, asset, order_id, math.inf)

    def human_close(self, account: str, asset: str, part: float) -> None:
        owner = self._stage.exchange.account(account)
        step = self._stage.exchange.market(asset).instrument.step
        for held in owner.held(asset):
            quantity = (abs(held.amount) * Decimal(str(part)) / step).to_integral_value() * step or abs(held.amount)
            params = {"symbol": asset, "side": "SELL" if held.amount > 0 else "BUY", "type": "MARKET",
                      "positionSide": held.side, "quantity": str(quantity)}  # fmt: skip
            if held.side == "BOTH":
                params["reduceOnly"] = "true"
            people.place(self._stage.exchange.runtime, owner, params)

    def human_cover(
        self, account: str, asset: str, bps: int, reduce_only: bool, lasts: float, opposite: bool = False
    ) -> None:
        """A person's limit for all that is held, or for as much on the other side, taken back after a time."""
        stage, owner = self._stage, self._stage.exchange.account(account)
        market = stage.exchange.market(asset)
        tick = market.instrument.tick
        for held in owner.held(asset):
            sells = (held.amount > 0) is not opposite
            price = market.prices.mark * (1 + Decimal(bps if sells else -bps) / 10_000)
            params = {"symbol": asset, "side": "SELL" if sells else "BUY", "type": "LIMIT", "timeInForce": "GTC",
                      "positionSide": held.side, "quantity": str(abs(held.amount)),
                      "price": str((price / tick).to_integral_value() * tick)}  # fmt: skip
            if held.side == "BOTH" and reduce_only:
                params["reduceOnly"] = "true"
            number = people.place(stage.exchange.runtime, owner, params)["orderId"]
            self._take_back(owner, asset, number, lasts)

    def _take_back(self, owner: Account, asset: str, order_id: int, after_s: float) -> None:
        def take_back() -> None:
            with contextlib.suppress(VenueError, people.ControlError):
                people.cancel(self._stage.exchange.runtime, owner, {"symbol": asset, "orderId": str(order_id)})

        self._side_tasks.append(asyncio.create_task(_at_the_end(after_s, take_back)))

    def human_flip(self, account: str, asset: str) -> None:
        people.change_position(self._stage.exchange.runtime, {"account": account, "symbol": asset, "do": "flip"})

    def human_cancel(self, account: str, asset: str, role: str) -> None:
        owner = self._stage.exchange.account(account)
        for order in list(owner.open_orders.get(asset, {}).values()):
            key = parse_client_order_id(order.client_order_id)
            if key is not None and order.client_order_id.rpartition(".")[2][0] in role:
                people.cancel(self._stage.exchange.runtime, owner, {"symbol": asset, "orderId": str(order.order_id)})

    def human_modes(self, account: str, asset: str, leverage: int) -> None:
        people.change_modes(self._stage.exchange.runtime, {"account": account, "leverage": {asset: leverage}})


async def _at_the_end(seconds: float, undo: Any) -> None:
    """Undo something after a time, or when everything heals."""
    try:
        await asyncio.sleep(seconds)
    finally:
        undo()
