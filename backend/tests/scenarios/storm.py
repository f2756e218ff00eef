"""A storm: many trades on several assets while a fifth of all requests goes wrong."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from arena import Arena, Levers, arena, decide, until_true
from weather import storm

from app.bootstrap import Application
from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.trades import Trade
from app.schemas.result import AssetResult, AssetStatus
from aster_sim.server import LimitRules

PRICES = {
    "BTCUSDT": 96_000,
    "ETHUSDT": 3_400,
    "SOLUSDT": 180,
    "BNBUSDT": 900,
    "XRPUSDT": 2.2,
    "DOGEUSDT": 0.16,
    "ASTERUSDT": 1.1,
}
NONCE_WINDOW_S = 2.0
DEADLINE_S = 4.0
_DISTANCE = 0.01
_EXITS = 2
_MOVE = 0.002
_MOVE_EVERY_S = 0.1
_PATIENCE_S = 60.0


@dataclass
class Storm:
    """One run: what was decided, what came of it."""

    application: Application
    levers: Levers
    dice: random.Random
    left: int
    prices: dict[str, float] = field(default_factory=lambda: dict(PRICES))
    results: dict[str, AssetResult] = field(default_factory=dict)
    changes: dict[str, AssetResult] = field(default_factory=dict)
    """Results of adjustments, by decision id."""
    ways_out: Counter[str] = field(default_factory=Counter)

    async def move(self, asset: str, factor: float) -> None:
        """Set a new price, on five digits."""
        self.prices[asset] *= factor
        await self.levers.price(asset, digits(self.prices[asset]))

    async def rage(self) -> None:
        """Trade on every asset at once until enough trades were made; prices never rest."""
        wind = asyncio.create_task(self._wind())
        try:
            async with asyncio.TaskGroup() as group:
                for asset in self.prices:
                    group.create_task(self._trade_on(asset))
        finally:
            wind.cancel()
            await asyncio.gather(wind, return_exceptions=True)

    async def _wind(self) -> None:
        while True:
            asset = self.dice.choice(list(self.prices))
            await self.move(asset, 1 + self.dice.uniform(-_MOVE, _MOVE))
            await asyncio.sleep(_MOVE_EVERY_S)

    async def _trade_on(self, asset: str) -> None:
        while self.left > 0:
            self.left -= 1
            decision_id = f"storm-{len(self.results)}-{asset}"
            result = await self._decide(decision_id, asset)
            self.results[decision_id] = result
            if result.trade_id is not None:
                for _ in range(self.dice.choice([0, 0, 1, 2])):
                    await self._change(asset, result.trade_id)
                await self._see_out(asset, result.trade_id)
            if result.status is AssetStatus.REJECTED:
                self.left += 1  # nothing was sent: it is no trade

    async def _decide(self, decision_id: str, asset: str) -> AssetResult:
        is_long = self.dice.random() < 0.5
        # as the service last saw the price: the market itself may be elsewhere by now
        mark = self.application.service("default")._market.prices.last_mark(asset)
        price = float(mark.mark_price) if mark else self.prices[asset]
        away = _DISTANCE if is_long else -_DISTANCE
        wish = {
            "asset": asset,
            "action": "buy" if is_long else "sell",
            "allocation_usd": self.dice.choice([200, 1000]),
            "leverage": self.dice.choice([2, 5]),
            "tp_price": digits(price * (1 + away)),
            "sl_price": digits(price * (1 - away)),
        }
        return await self._send(decision_id, wish)

    async def _change(self, asset: str, trade_id: str) -> None:
        """Adjust a trade while it lives; what comes too late is refused, and that is fine."""
        trade = await self._trade(trade_id)
        if trade.is_ended:
            return
        decision_id = f"change-{len(self.changes)}-{asset}"
        self.changes[decision_id] = await self._send(decision_id, {"asset": asset} | self._adjustment(trade))

    def _adjustment(self, trade: Trade) -> dict[str, Any]:
        price = self.prices[trade.asset]
        away = _DISTANCE * self.dice.uniform(0.5, 1.5) * trade.side.sign
        kind = self.dice.choice(["increase", "decrease", "stop", "both", "cancel_tp"])
        if kind in ("increase", "decrease"):
            percentage = self.dice.choice([30, 50])
            return {
                "action": "adjust_position",
                "position_adjustment": {"adjustment_type": kind, "adjustment_percentage": percentage},
            }
        if kind == "cancel_tp":
            return {"action": "adjust_orders", "order_adjustment": {"cancel_tp": True}}
        change = {"adjust_sl": True, "new_sl_price": digits(price * (1 - away))}
        if kind == "both":
            change |= {"adjust_tp": True, "new_tp_price": digits(price * (1 + away))}
        return {"action": "adjust_orders", "order_adjustment": change}

    async def _send(self, decision_id: str, wish: dict[str, Any]) -> AssetResult:
        service = self.application.service("default")
        times = self.dice.choice([1, 1, 3])

        async def one() -> AssetResult:
            while True:
                try:
                    return (await decide(service, wish, decision_id=decision_id)).results[0]
                except DecisionRefused as refusal:
                    if refusal.code is not ErrorCode.NOT_READY:
                        raise
                    await asyncio.sleep(0.05)

        results = await asyncio.gather(*(one() for _ in range(times)))
        assert len({result.trade_id for result in results}) == 1
        return results[0]

    async def _see_out(self, asset: str, trade_id: str) -> None:
        """Lead the trade to its end: the market reaches an exit, or somebody closes it."""
        way = self.dice.choice(["up", "up", "down", "down", "close", "hand"])
        self.ways_out[way] += 1
        async with asyncio.timeout(_PATIENCE_S):
            while not (trade := await self._trade(trade_id)).is_ended:
                if way in ("up", "down") and len(trade.legs) < _EXITS:
                    way = "close"  # the exit that the market would reach may be the one that was given up
                if way in ("up", "down"):
                    await self.move(asset, 1 + (_DISTANCE if way == "up" else -_DISTANCE) / 2)
                elif way == "close":
                    await self.application.service("default").close_position(asset)
                else:
                    await self._close_by_hand(trade)
                await asyncio.sleep(self.dice.uniform(0.05, 0.2))

    async def _close_by_hand(self, trade: Trade) -> None:
        held = await self.levers.position(trade.asset)
        if held:
            side = "SELL" if held > 0 else "BUY"
            await self.levers.by_hand(symbol=trade.asset, side=side, quantity=str(abs(held)), reduceOnly="true")

    async def _trade(self, trade_id: str) -> Trade:
        trade = await self.application.trades.get(trade_id)
        assert trade is not None
        return trade

    async def trades(self) -> list[Trade]:
        """Every trade on record that a result names."""
        names = [result.trade_id for result in self.results.values() if result.trade_id is not None]
        return [await self._trade(name) for name in names]

    async def calm(self) -> None:
        """Heal every fault, and wait until the service has nothing more to do."""
        await self.levers.heal()
        service = self.application.service("default")
        await until_true(lambda: _is_ready(service))
        await service.reconcile()


async def _is_ready(service: Any) -> bool:
    return bool(service.readiness().is_ready) and not service._active_trades()


def digits(price: float) -> str:
    """Five significant digits: on the tick of every asset here."""
    return format(Decimal(f"{price:.5g}"), "f")


@asynccontextmanager
async def storming(directory: Path, seed: int, trades: int) -> AsyncIterator[Storm]:
    """Run a storm to its end, then calm; the service is still up."""
    config = {"seed": seed, "nonce_window_s": NONCE_WINDOW_S, "limits": LimitRules().times(1000)}
    changes = {
        "TES_ASTER_NONCE_WINDOW_SECONDS": str(NONCE_WINDOW_S),
        "TES_PROTECTION_DEADLINE_SECONDS": str(DEADLINE_S),
        "TES_PROTECTION_BASE_DELAY_SECONDS": "0.1",
        "TES_RISK_MAX_PRICE_DEVIATION_BPS": "1000",
    }
    stage: Arena
    async with arena(directory / "tes.db", **config) as stage, stage.application(**changes) as application:
        run = Storm(application, stage.levers, random.Random(seed), trades)
        for asset in run.prices:
            await run.move(asset, 1.0)
        await stage.levers.call("POST", "/faults", storm())
        await run.rage()
        await run.calm()
        yield run
