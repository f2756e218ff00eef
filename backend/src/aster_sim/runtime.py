"""The running venue's inside: core, journal, streams, faults and limits, and the one way a change gets out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from aster_sim.auth import Authenticator
from aster_sim.clock import SimClock
from aster_sim.core.account import Account
from aster_sim.core.orders import Trade
from aster_sim.core.state import UserEvent
from aster_sim.core.venue import Venue
from aster_sim.faults import FaultPlan
from aster_sim.http.hub import Hub
from aster_sim.http.limits import Limits
from aster_sim.journal import Journal
from aster_sim.tape.tape import Tape

Levels = list[tuple[Decimal, Decimal]]
PRICE_JOURNAL_INTERVAL_US = 10_000_000


class MarketListener(Protocol):
    """Who tells the public what happened."""

    def executed(self, trades: list[Trade], touched: list[str], events: list[UserEvent]) -> None:
        """Fills, the symbols whose orders changed, and user events, after they are durable."""
        ...


@dataclass(slots=True)
class Runtime:
    """Everything a request handler needs. ``settle`` must follow each mutation, before anything is awaited."""

    venue: Venue
    clock: SimClock
    auth: Authenticator
    hub: Hub
    faults: FaultPlan
    limits: Limits
    tape: Tape
    market_listener: MarketListener | None = None
    snapshot_listener: Callable[[str, Levels, Levels], None] | None = None
    journal: Journal | None = None
    feed_name: str = "manual"
    seed: int = 0
    started_ms: int = 0
    prices_journaled_us: int = field(default=0)
    countdown_wound: asyncio.Event = field(default_factory=asyncio.Event)
    update_id: int = field(default=0)

    def next_update_id(self) -> int:
        """An id for a state of the books: rises over all symbols and over restarts, as on AsterDEX."""
        self.update_id = max(self.update_id + 1, self.clock.now_us())
        return self.update_id

    def book_snapshot(self, symbol: str, limit: int) -> tuple[Levels, Levels]:
        """Bids and asks as somebody outside is shown them, so that changes told later cover what was shown."""
        market = self.venue.state.markets[symbol]
        bids, asks = market.depth(limit, asks=False), market.depth(limit, asks=True)
        if self.snapshot_listener is not None:
            self.snapshot_listener(symbol, bids, asks)
        return bids, asks

    def account(self, name: str) -> Account:
        """An account that authentication has found."""
        return self.venue.state.accounts[name]

    def settle(self) -> None:
        """Make what changed durable, then tell the user streams.

        Raises JournalError when the disk refuses; then nobody was told, and the next call tries again.
        """
        changes, nonces = self.venue.take_changes(), self.auth.take_used()
        if self.journal is not None:
            now = self.clock.now_us()
            stale = now - self.prices_journaled_us >= PRICE_JOURNAL_INTERVAL_US
            if changes or nonces or stale:
                with_prices = bool(changes) or stale
                try:
                    self.journal.commit(self.venue, changes, with_prices=with_prices, nonces=nonces)
                except OSError:
                    self.venue.state.changes = changes
                    self.auth.put_back(nonces)
                    raise
                if with_prices:
                    self.prices_journaled_us = now
        events = self.venue.take_events()
        for event in events:
            self.hub.publish_user(event.account, event.payload)
        touched = self.venue.take_touched()
        if self.market_listener is not None and (changes.trades or touched):
            self.market_listener.executed(changes.trades, touched, events)
