"""The running venue's inside: core, journal, streams, faults and limits, and the one way a change gets out."""

from __future__ import annotations

from dataclasses import dataclass, field

from aster_sim.auth import Authenticator
from aster_sim.clock import SimClock
from aster_sim.core.account import Account
from aster_sim.core.venue import Venue
from aster_sim.faults import FaultPlan
from aster_sim.http.hub import Hub
from aster_sim.http.limits import Limits
from aster_sim.journal import Journal

PRICE_JOURNAL_INTERVAL_US = 10_000_000


@dataclass(slots=True)
class Runtime:
    """Everything a request handler needs. ``settle`` must follow each mutation, before anything is awaited."""

    venue: Venue
    clock: SimClock
    auth: Authenticator
    hub: Hub
    faults: FaultPlan
    limits: Limits
    journal: Journal | None = None
    feed_name: str = "manual"
    seed: int = 0
    prices_journaled_us: int = field(default=0)

    def account(self, name: str) -> Account:
        """An account that authentication has found."""
        return self.venue.state.accounts[name]

    def settle(self) -> None:
        """Make what changed durable, then tell the user streams.

        Raises JournalError when the disk refuses; then nobody was told, and the next call tries again.
        """
        changes = self.venue.take_changes()
        if self.journal is not None:
            now = self.clock.now_us()
            stale = now - self.prices_journaled_us >= PRICE_JOURNAL_INTERVAL_US
            if changes or stale:
                try:
                    self.journal.commit(self.venue, changes, with_prices=True)
                except OSError:
                    self.venue.state.changes = changes
                    raise
                self.prices_journaled_us = now
        for event in self.venue.take_events():
            self.hub.publish_user(event.account, event.payload)
