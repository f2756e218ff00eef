"""An arena: a venue whose prices and faults the test controls, and the whole application trading on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.bootstrap import Application, Outside, running
from app.core.clock import SystemClock
from app.core.configuration import load_settings
from app.domain.errors import DecisionRefused
from app.domain.ports import Clock
from app.domain.trades import Trade
from app.schemas.decision import parse_decision
from app.schemas.result import ExecutionResult
from app.services.execution.service import ExecutionService
from aster_sim.core.catalogue import parse_instrument
from aster_sim.server import AccountSpec, RunningVenue, VenueConfig, start_venue
from support.described import every_event_is_described
from support.leases import trusted_leases
from support.patience import PATIENCE_S
from support.serving import account_at

BTC, ETH = "BTCUSDT", "ETHUSDT"


class WallClock(SystemClock):
    """The host's clock, which somebody sets: ``set_s`` seconds ahead, or back where that is negative."""

    set_s = 0.0
    slept_s = 0.0
    """So long the machine slept, or this process stood still: both of its clocks are ahead by it."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.set_s + self.slept_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_s


Request = tuple[float, str, int]
"""A request of ours: when it left by the monotonic clock, where to, and the status that came back."""


@dataclass
class Levers:
    """The venue's control API."""

    venue: RunningVenue
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None) -> Any:
        async with self.http.request(method, f"{self.venue.control_url}{path}", json=body) as response:
            text = await response.text()
            assert response.status < 300, text
            return json.loads(text) if text else None

    async def price(self, symbol: str, price: str) -> None:
        """Move the mark and last price, and run the triggers."""
        await self.call("POST", "/prices", {symbol: price})

    async def fault(self, action: dict[str, Any], *, count: int = 1, skip: int = 0, **match: Any) -> None:
        """Plan a fault; ``match`` as in ``aster_sim.faults``."""
        await self.call("POST", "/faults", [{"match": match, "action": action, "count": count, "skip": skip}])

    async def heal(self) -> None:
        """Drop all faults."""
        await self.call("DELETE", "/faults")

    async def by_hand(self, **order: str) -> Any:
        """The human at the exchange places an order."""
        return await self.call("POST", "/orders", {"account": "default", "type": "MARKET", **order})

    async def requests(self, method: str, path: str, **params: str) -> list[dict[str, Any]]:
        """What the venue received on one order endpoint, oldest first, with at least these parameters."""
        return [
            row
            for row in (await self.ledger())["requests"]
            if row["method"] == method and row["path"].endswith(path) and params.items() <= row["params"].items()
        ]

    async def ledger(self) -> Any:
        """Everything that the venue knows."""
        return await self.call("GET", "/ledger")

    async def account(self) -> Any:
        """The venue's record of our account."""
        return (await self.ledger())["accounts"]["default"]

    async def fills(self) -> list[dict[str, Any]]:
        """Every execution, ours and others'."""
        rows: list[dict[str, Any]] = (await self.account())["fills"]
        return rows

    async def position(self, symbol: str) -> Decimal:
        """The venue's signed quantity."""
        rows = (await self.call("GET", "/state"))["accounts"]["default"]["positions"]
        return sum((Decimal(row["amount"]) for row in rows if row["symbol"] == symbol), start=Decimal(0))

    async def orders(self, **wanted: Any) -> list[dict[str, Any]]:
        """Orders whose fields equal ``wanted``."""
        rows = (await self.account())["orders"]
        return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]

    async def open_orders(self, symbol: str) -> list[dict[str, Any]]:
        return [row for row in await self.orders(symbol=symbol) if row["status"] in ("NEW", "PARTIALLY_FILLED")]


@dataclass
class Arena:
    """The application on the venue."""

    levers: Levers
    environment: Mapping[str, str]
    application_now: Application | None = None
    """The application that runs, if one does."""

    @asynccontextmanager
    async def application(self, *, clock: Clock | None = None, **changes: str) -> AsyncIterator[Application]:
        """Run the application until it is left; may be entered again on the same database: a restart."""
        settings = load_settings({**self.environment, **changes}, config=None)
        async with running(settings, outside=Outside(clock=clock) if clock else None) as application:
            await until(lambda: application.service("default").readiness().is_ready)
            self.application_now = application
            try:
                yield application
            except BaseException:
                await tell_story(application, self.levers)
                raise
            finally:
                self.application_now = None
            await every_event_is_described(application)

    def limit_market_orders(self, symbol: str, most: str, *, is_told: bool = True) -> None:
        """From now on one market order on the symbol is at most this large; told with the exchange's rules, or not."""
        market = self.levers.venue.venue.state.markets[symbol]
        told = market.instrument.raw
        self.change_filters(symbol, MARKET_LOT_SIZE={"maxQty": most})
        if not is_told:
            market.instrument = replace(market.instrument, raw=told)

    def change_filters(self, symbol: str, **changes: Mapping[str, str]) -> None:
        """From now on the symbol has other filters, by their type; told with the exchange's rules."""
        market = self.levers.venue.venue.state.markets[symbol]
        raw = dict(market.instrument.raw)
        raw["filters"] = [{**row, **changes.get(row["filterType"], {})} for row in raw["filters"]]
        market.instrument = parse_instrument(raw)

    async def move(self, symbol: str, price: str) -> None:
        """Move the price, and wait until the application has heard of it: the next decision is judged by it."""
        await self.levers.price(symbol, price)
        assert self.application_now is not None
        prices = self.application_now.service("default")._market.prices

        def is_heard() -> bool:
            mark, quote = prices.last_mark(symbol), prices.quote_at_hand(symbol)
            is_near = quote is None or abs(quote.ask_price / Decimal(price) - 1) < Decimal("0.005")
            return mark is not None and mark.mark_price == Decimal(price) and is_near

        await until(is_heard)

    async def fresh_prices(self) -> None:
        await self.levers.price(BTC, "96000")
        await self.levers.price(ETH, "3400")


@asynccontextmanager
async def arena(database: Path | str, **config: Any) -> AsyncIterator[Arena]:
    """A venue with manual prices and one account, and settings that lead to it; ``config`` as in ``VenueConfig``.

    ``database`` is a file, or the URL of a database.
    """
    config = {"seed": 3, **config}
    venue = await start_venue(
        VenueConfig(prices="manual", accounts=[AccountSpec("default", Decimal(100_000))], **config)
    )
    environment = {
        **account_at(venue),
        "TES_DATABASE_URL": database if isinstance(database, str) else f"sqlite:///{database}",
        "TES_API_TOKEN": "arena-token-0123456789",
        "TES_RISK_COOLDOWN_SECONDS": "0",
        "TES_RECONCILE_INTERVAL_SECONDS": "1",
        "TES_SHUTDOWN_GRACE_SECONDS": "0",
    }
    async with aiohttp.ClientSession() as http:
        try:
            stage = Arena(Levers(venue, http), environment)
            await stage.fresh_prices()
            with trusted_leases():
                yield stage
        finally:
            await venue.stop()


async def tell_story(application: Application, levers: Levers) -> None:
    """Print what a person needs who wants to know why a test failed: every event, and every order request."""
    with contextlib.suppress(Exception):  # the failure itself must be seen
        print("\n-- events of the service")
        for recorded in await application.events.after(0, 300):
            event = recorded.event
            print(f"{event.time:%H:%M:%S.%f} {event.type} {event.asset or ''} {event.data}")
        print("-- order requests that the venue received")
        for row in (await levers.ledger())["requests"]:
            print({name: row.get(name) for name in ("method", "path", "outcome", "code", "params")})


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds."""

    async def look() -> object:
        return condition()

    await _poll(look, condition, patience_s, most_s=0.02)


async def until_true(condition: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S) -> None:
    """Wait until an awaited ``condition`` holds; the test fails when it does not."""
    await _poll(condition, condition, patience_s, most_s=0.05)  # most ask the venue, which costs it more than us


async def _poll(look: Callable[[], Awaitable[object]], named: object, patience_s: float, most_s: float) -> None:
    async def until_seen() -> None:
        pause_s = 0.005
        while not await look():
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, most_s)

    try:
        await asyncio.wait_for(until_seen(), patience_s)
    except TimeoutError:
        pytest.fail(f"waited {patience_s:g} s in vain for {getattr(named, '__qualname__', named)}")


@contextmanager
def none_refused() -> Iterator[None]:
    """Inside, a decision that is refused as a whole fails the test."""
    try:
        yield
    except DecisionRefused as refusal:
        pytest.fail(f"refused: {refusal}")


async def decide(
    service: ExecutionService, *items: dict[str, Any], patience_s: float = PATIENCE_S, **fields: Any
) -> ExecutionResult:
    """Send a decision and follow it to its end; the test fails when there is none within ``patience_s``."""
    decision = parse_decision(json.dumps({"decisions": list(items), **fields}))
    try:
        return await asyncio.wait_for(service.execute(decision), patience_s)
    except TimeoutError:
        pytest.fail(f"no result within {patience_s:g} s")


def buy(asset: str = BTC, **changes: Any) -> dict[str, Any]:
    wish = {"asset": asset, "action": "buy", "allocation_usd": 1000, "leverage": 10}
    return wish | {"tp_price": 99000, "sl_price": 94000} | changes


def sell(asset: str = ETH, **changes: Any) -> dict[str, Any]:
    wish = {"asset": asset, "action": "sell", "allocation_usd": 1000, "leverage": 10}
    return wish | {"tp_price": 3300, "sl_price": 3500} | changes


async def resting_stops(stage: Arena, symbol: str) -> list[Decimal]:
    """The quantities of the stops on the book."""
    return [Decimal(row["origQty"]) for row in await stage.levers.open_orders(symbol) if row["type"] == "STOP_MARKET"]


async def stored(application: Application, trade_id: str | None) -> Trade:
    """The trade as the record has it."""
    assert trade_id is not None
    trade = await application.trades.get(trade_id)
    assert trade is not None
    return trade


async def settled(application: Application, trade_id: str | None, status: str = "closed") -> Trade:
    """The trade, once the record shows it in ``status``."""

    async def is_there() -> bool:
        return (await stored(application, trade_id)).status == status

    await until_true(is_there)
    return await stored(application, trade_id)
