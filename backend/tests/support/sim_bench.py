"""A venue core on a hand-moved clock, and the few moves that tests make on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from aster_sim.core.account import Account
from aster_sim.core.catalogue import built_in_catalogue
from aster_sim.core.errors import VenueError
from aster_sim.core.orders import Order
from aster_sim.core.venue import Venue

START_US = 1_795_000_000_000_000


@dataclass
class Bench:
    """A venue with one account and the few moves that tests make on it."""

    venue: Venue
    account: Account
    now_us: int = START_US
    seen: list[dict[str, Any]] = field(default_factory=list)

    def place(self, account: Account | None = None, **params: str) -> Order:
        """Place an order; symbol BTCUSDT unless named."""
        return self.venue.place(account or self.account, {"symbol": "BTCUSDT", **params})

    def market(self, side: str, quantity: str, account: Account | None = None, **params: str) -> Order:
        """A market order."""
        return self.place(account, side=side, type="MARKET", quantity=quantity, **params)

    def limit(self, side: str, quantity: str, price: str, account: Account | None = None, **params: str) -> Order:
        """A limit order, GTC unless named."""
        rows = {"timeInForce": "GTC", **params}
        return self.place(account, side=side, type="LIMIT", quantity=quantity, price=price, **rows)

    def stop(self, side: str, stop_price: str, **params: str) -> Order:
        """A STOP_MARKET on the mark price unless named otherwise."""
        rows = {"type": "STOP_MARKET", "workingType": "MARK_PRICE", **params}
        return self.place(side=side, stopPrice=stop_price, **rows)

    def code_of(self, **params: str) -> int:
        """The code with which an order is refused."""
        with pytest.raises(VenueError) as refusal:
            self.place(**params)
        return refusal.value.code

    def jump(self, price: str, symbol: str = "BTCUSDT") -> None:
        """A gap to a price."""
        self.venue.jump(symbol, Decimal(price))

    def amount(self, symbol: str = "BTCUSDT", side: str = "BOTH") -> Decimal:
        """The position."""
        return self.account.position(symbol, side).amount

    def events(self) -> list[dict[str, Any]]:
        """The account's user events since the last call."""
        return [event.payload for event in self.venue.take_events() if event.account == self.account.name]

    def story(self) -> list[str]:
        """The events since the last call in short: ``ACCOUNT``, or ``x/X/o``."""
        return [
            "ACCOUNT" if event["e"] == "ACCOUNT_UPDATE" else f"{event['o']['x']}/{event['o']['X']}/{event['o']['o']}"
            for event in self.events()
            if event["e"] in {"ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"}
        ]


def make_bench(*, seed: int = 7, depth: str = "1", balance: str = "100000") -> Bench:
    """A fresh venue with the built-in catalogue."""
    holder: dict[str, Bench] = {}

    def now_us() -> int:
        return holder["bench"].now_us if holder else START_US

    venue = Venue(built_in_catalogue(), Random(seed), now_us, depth=Decimal(depth))
    bench = Bench(venue, venue.open_account("alice", Decimal(balance)))
    holder["bench"] = bench
    return bench
