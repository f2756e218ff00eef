"""The simulated venue without its socket: the same dispatch, authentication, limits and streams, on virtual time.

Put together as ``aster_sim.server`` does it, with every source of chance seeded. Prices walk from a seed, and the world
moves them beside that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from aster_sim.auth import Authenticator
from aster_sim.clock import SkewedClock, seeded
from aster_sim.core.account import Account
from aster_sim.core.catalogue import Catalogue, Instrument, built_in_catalogue, parse_instrument
from aster_sim.core.errors import VenueError
from aster_sim.core.market import Market
from aster_sim.core.venue import Venue
from aster_sim.credentials import AccountCredentials, AccountSpec, complete
from aster_sim.faults import FaultPlan
from aster_sim.http.answers import fault_response
from aster_sim.http.dispatch import Arrival, Dispatcher
from aster_sim.http.hub import Hub
from aster_sim.http.limits import LimitRules, Limits
from aster_sim.http.market_streams import MarketStreams, publish_marks
from aster_sim.http.outages import Outages
from aster_sim.runtime import Runtime
from aster_sim.tape.tape import Tape
from proof.loop import VirtualLoop
from proof.seams import TrueClock
from proof.trace import Trace

CHAIN_ID = 714
ADDRESS = "10.0.0.1"
"""Of the service's machine."""
_ENCODE = msgspec.json.Encoder().encode
_CATALOGUE = built_in_catalogue()
_LATE_TICK_S = 0.05
_FIREWALL_PAGE = b"<html><head><title>403 Forbidden</title></head><body>Request blocked</body></html>"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as its bytes: what a socket would carry. None as ``status`` hangs up without one."""

    status: int | None
    headers: dict[str, str]
    body: bytes


def catalogue_of(assets: Sequence[str], market_maximum_usd: int = 0, algo_orders_maximum: int = 0) -> Catalogue:
    """The built-in catalogue with these assets only: a market that nobody trades costs time.

    ``market_maximum_usd`` is what one market order may be worth at the start price, ``algo_orders_maximum`` how many
    conditional orders may rest on a symbol; 0 is the catalogue's own maximum of either.
    """
    instruments = {name: _CATALOGUE.instruments[name] for name in assets}
    prices = {name: _CATALOGUE.start_prices[name] for name in assets}
    if market_maximum_usd:
        most = {name: Decimal(market_maximum_usd) / prices[name] for name in assets}
        instruments = {name: _held_to(instruments[name], most[name]) for name in assets}
    if algo_orders_maximum:
        limit = {"limit": algo_orders_maximum}
        instruments = {name: _with(instruments[name], "MAX_NUM_ALGO_ORDERS", limit) for name in assets}
    return replace(_CATALOGUE, instruments=instruments, start_prices=prices)


def _held_to(instrument: Instrument, most: Decimal) -> Instrument:
    """The same instrument with another maximum for market orders, on the step."""
    step = instrument.market_step
    bound = max(most // step * step, instrument.market_min_qty)
    return _with(instrument, "MARKET_LOT_SIZE", {"maxQty": str(bound)})


def _with(instrument: Instrument, filter_type: str, values: Mapping[str, Any]) -> Instrument:
    """The same instrument with other values in one of its filters."""
    rows = [{**row, **values} if row["filterType"] == filter_type else row for row in instrument.raw["filters"]]
    return parse_instrument({**instrument.raw, "filters": rows})


class Exchange:
    """The venue of one run."""

    def __init__(
        self, loop: VirtualLoop, trace: Trace, seed: int, accounts: Sequence[AccountSpec], assets: Sequence[str],
        *, nonce_window_s: float, depth: Decimal, volatility: float, rules: Sequence[str] = (),
        market_maximum_usd: int = 0, algo_orders_maximum: int = 0,
    ) -> None:  # fmt: skip
        entropy = seeded(seed, "entropy")
        true_clock = TrueClock(loop)
        self.faults = FaultPlan(seeded(seed, "faults"), true_clock.now_us)
        clock = SkewedClock(true_clock, self.faults.skew_us)
        catalogue = catalogue_of(assets, market_maximum_usd, algo_orders_maximum)
        self.venue = Venue(catalogue, seeded(seed, "liquidity"), clock.now_us, depth=depth)
        for rule in rules:
            setattr(self.venue.state.rules, rule, True)
        auth = Authenticator(CHAIN_ID, nonce_window_s)

        def token(size: int) -> str:
            return entropy.randbytes(size).hex()

        self.credentials: list[AccountCredentials] = [complete(spec, token) for spec in accounts]
        for credentials in self.credentials:
            auth.register(credentials)
        self.hub = Hub(self.faults, token, clock.now_us)
        tape = Tape(lambda purpose: seeded(seed, f"tape:{purpose}"), self.venue.state.now_ms, with_past=False)
        self.runtime = Runtime(self.venue, clock, auth, self.hub, self.faults, Limits(LimitRules()), tape, seed=seed)
        self.runtime.started_ms = self.venue.state.now_ms()
        for spec in accounts:
            self.venue.open_account(spec.name, spec.balance)
        self.runtime.settle()
        streams = MarketStreams(self.runtime)
        self.venue.price_listener, self.runtime.market_listener = streams.price_moved, streams
        self._dispatcher = Dispatcher(self.runtime)
        self._outages = Outages(self.runtime)
        self._trace = trace
        self._walk = seeded(seed, "walk")
        self._volatility = volatility
        self._clock = clock
        self._firewall_until_us = 0

    # --- requests ---------------------------------------------------------------------------------------------------

    def answer(self, arrival: Arrival) -> Reply:
        """Handle a request that has arrived, as the venue's own server would."""
        if self._clock.now_us() < self._firewall_until_us:
            return Reply(403, {"content-type": "text/html"}, _FIREWALL_PAGE)
        outage = self._outages.look()
        if outage is not None:
            if outage.type == "restart":
                return Reply(None, {}, b"")
            refused = fault_response(outage)
            return Reply(refused.status, _lower(refused.headers), bytes(refused.body or b""))  # type: ignore[arg-type]
        reply = self._dispatcher.answer(arrival)
        return Reply(reply.status, _lower(reply.headers), _ENCODE(reply.payload))

    def without_newest(self, reply: Reply, lag_s: float) -> Reply:
        """A list of executions without those of the last ``lag_s`` seconds, which a busy exchange shows later."""
        if reply.status != 200:
            return reply
        shown_until_ms = self._clock.now_us() // 1000 - int(lag_s * 1000)
        rows = [row for row in msgspec.json.decode(reply.body) if row["time"] <= shown_until_ms]
        return Reply(reply.status, reply.headers, _ENCODE(rows))

    def admit(self, arrival: Arrival) -> Callable[[], bool]:
        """Check a request that has arrived; what is returned acts on it, and tells whether it could."""
        dispatcher, now_us = self._dispatcher, self._clock.now_us()
        try:
            route, call, _ = dispatcher._admit(arrival, {})
            dispatcher._authenticate(route, call, arrival, now_us)
        except VenueError:
            return lambda: False

        def act() -> bool:
            try:
                route.handler(call)
            except VenueError:
                return False
            finally:
                self.runtime.settle()
            if call.record is not None:
                call.record.outcome = "executed"
            return True

        return act

    def ban(self, seconds: float) -> None:
        """Ban the service's address."""
        self.runtime.limits.ban(ADDRESS, seconds, self._clock.now_us())

    def raise_firewall(self, seconds: float) -> None:
        """Let the firewall answer the service's address, with a page that names no time (scenario L8)."""
        self._firewall_until_us = self._clock.now_us() + int(seconds * 1_000_000)

    def pardon(self) -> None:
        """Lift all bans."""
        self.runtime.limits.pardon()
        self._firewall_until_us = 0

    # --- its own life -----------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Once a second, as in ``aster_sim.server``: what is due, outages, marks, keys that end; and prices walk."""
        second = 0
        while True:
            await self._clock.sleep(1.0)
            second += 1
            self._outages.look()
            if second % 2:
                self._stroll()
            self.venue.advance()
            self.runtime.settle()
            publish_marks(self.hub, self.venue.state, second)
            self.hub.expire_keys(self._clock.now_us())

    async def send_late_frames(self) -> None:
        """Send the frames that a fault keeps back."""
        while True:
            await self.hub.late_frames.wait()
            self.hub.late_frames.clear()
            while self.hub.send_late():
                await self._clock.sleep(_LATE_TICK_S)

    def stand_still(self) -> None:
        """Prices walk no more."""
        self._volatility = 0.0

    def _stroll(self) -> None:
        if not self._volatility:
            return
        for symbol in self.venue.state.markets:
            self.move(symbol, self._walk.gauss(0.0, self._volatility), glides=True)

    # --- prices and the human ---------------------------------------------------------------------------------------

    def move(self, symbol: str, factor: float, *, glides: bool) -> None:
        """Move a price by a fraction: along the way, or in one jump that skips what lies between."""
        market = self.market(symbol)
        price = market.prices.mark * (1 + Decimal(round(factor, 7)).quantize(Decimal("0.0000001")))
        (self.venue.glide if glides else self.venue.jump)(symbol, price)
        self.runtime.settle()

    def market(self, symbol: str) -> Market:
        """A symbol's market."""
        return self.venue.state.markets[symbol]

    def account(self, name: str) -> Account:
        """An account's record."""
        return self.venue.state.accounts[name]

    def position(self, name: str, symbol: str) -> Decimal:
        """Signed quantity held, all position sides together."""
        return sum((row.amount for row in self.account(name).held(symbol)), start=Decimal(0))


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def dice_for(seed: int, purpose: str) -> random.Random:
    """A source of chance of its own for each purpose, so that one never shifts another's draws."""
    return seeded(seed, purpose)
