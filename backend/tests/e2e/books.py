"""What a user can read from outside: the service's record and the venue's ledger, and every way in which they differ.

Each rule returns the violations that it found, in words; none is what we want.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.ids import OrderRole, parse_client_order_id

Row = Mapping[str, Any]
SETTLED = ("open", "closed", "rejected", "failed")
ON_THE_BOOK = ("NEW", "PARTIALLY_FILLED")
NEVER_THERE = ("PLANNED", "NOT_PLACED", "REJECTED")


@dataclass(frozen=True, slots=True)
class Books:
    """Trades as ``/v1/trades`` shows them, and one account of the venue's ``/sim/ledger``."""

    trades: Sequence[Row]
    ledger: Row

    @property
    def ours(self) -> dict[str, Row]:
        """The venue's orders that bear our prefix, by client order id."""
        rows = self.ledger["orders"]
        return {row["clientOrderId"]: row for row in rows if parse_client_order_id(row["clientOrderId"])}


def violations(books: Books) -> list[str]:
    """Everything that must not be once the service has recovered."""
    return [*unsettled(books), *entries_twice(books), *unprotected(books), *orders_differ(books), *money_differs(books)]


def unsettled(books: Books) -> list[str]:
    """Nothing is half done."""
    return [
        f"trade {trade['id']} is {trade['status']}"
        for trade in books.trades
        if trade["status"] not in SETTLED or (trade["status"] == "closed" and not trade["is_accounted"])
    ]


def entries_twice(books: Books) -> list[str]:
    """At most one trade of each decision and asset, and one first entry of each trade; each order of ours has a trade.

    Later entries are additions, for which other decisions answer (see :func:`acted_twice`).
    """
    decision_of = {trade["id"]: (trade["decision_id"], trade["asset"]) for trade in books.trades}
    found: list[str] = []
    entries: Counter[tuple[str, str]] = Counter()
    for name in books.ours:
        key = parse_client_order_id(name)
        if key is None or key.trade_id not in decision_of:
            found.append(f"order {name} belongs to no trade on record")
        elif key.role is OrderRole.ENTRY and key.attempt == 1:
            entries[decision_of[key.trade_id]] += 1
    recorded = Counter(decision_of.values())
    for counts in (entries, recorded):
        found += [f"decision {name} was entered {count} times" for name, count in counts.items() if count > 1]
    return found


def acted_twice(books: Books, results: Sequence[Row]) -> list[str]:
    """Whatever was executed to enter, add or take off is told by exactly one result, and each tells of one order.

    ``results`` are those of all decisions, as ``/v1/decisions`` shows them, one for each asset. Those of a close show
    the whole trade, whose entry another decision answers for.
    """
    told = Counter(
        result["orders"][role]["client_order_id"]
        for result in results
        for role in ("entry", "reduce")
        if result["orders"].get(role) is not None and result["action"] != "close_position"
    )
    executed = {
        name
        for name, row in books.ours.items()
        if (key := parse_client_order_id(name)) is not None
        and key.role in (OrderRole.ENTRY, OrderRole.REDUCE)
        and Decimal(row["executedQty"])
    }
    found = [f"order {name} was executed, and no decision's result tells of it" for name in executed - told.keys()]
    return found + [f"order {name} is told of by {count} results" for name, count in told.items() if count > 1]


def unprotected(books: Books) -> list[str]:
    """What is held is what the open trades hold, and each rests on exactly one stop and one target of that size."""
    held = {row["symbol"]: Decimal(row["amount"]) for row in books.ledger["positions"]}
    recorded: dict[str, Decimal] = defaultdict(Decimal)
    exits: dict[str, list[Row]] = defaultdict(list)
    for name, row in books.ours.items():
        key = parse_client_order_id(name)
        if key is not None and row["status"] in ON_THE_BOOK:
            exits[key.trade_id].append(row)
    found: list[str] = []
    for trade in books.trades:
        quantity = Decimal(trade["open_quantity"])
        recorded[trade["asset"]] += quantity if trade["side"] == "long" else -quantity
        resting = sorted((row["origType"], Decimal(row["origQty"])) for row in exits.pop(trade["id"], []))
        wanted = [("STOP_MARKET", quantity), ("TAKE_PROFIT_MARKET", quantity)] if quantity else []
        if resting != wanted:
            found.append(f"trade {trade['id']} ({trade['status']}) holds {quantity}, and on the book is {resting}")
    differing = [asset for asset in held.keys() | recorded.keys() if held.get(asset, Decimal(0)) != recorded[asset]]
    return found + [f"{asset}: recorded {recorded[asset]}, held {held.get(asset, 0)}" for asset in differing]


def orders_differ(books: Books) -> list[str]:
    """Each order of the record is on the venue with the same state and the same executed quantity."""
    found: list[str] = []
    for order in (order for trade in books.trades for order in trade["orders"]):
        row = books.ours.get(order["client_order_id"])
        ours = (order["status"], Decimal(order["executed_quantity"]))
        if row is None:
            if ours[0] not in NEVER_THERE:
                found.append(f"order {order['client_order_id']} is recorded as {ours}, and the venue never had it")
        elif ours != (row["status"], Decimal(row["executedQty"])) or order["order_id"] != row["orderId"]:
            theirs = (row["status"], row["executedQty"])
            found.append(f"order {order['client_order_id']}: recorded {ours}, there {theirs}")
    return found


def money_differs(books: Books) -> list[str]:
    """Each execution is in exactly one trade as the venue booked it, and the sums are the venue's."""
    found: list[str] = []
    booked = {(row["symbol"], row["id"]): row for row in books.ledger["fills"]}
    seen: Counter[tuple[str, int]] = Counter()
    for trade in books.trades:
        for fill in trade["fills"]:
            name = (trade["asset"], fill["exchange_trade_id"])
            seen[name] += 1
            row = booked.get(name)
            ours = _money(fill, ("quantity", "price", "commission", "realised_pnl"))
            if row is None or ours != _money(row, ("qty", "price", "commission", "realizedPnl")):
                found.append(f"execution {name}: recorded {ours}, booked {row}")
    found += [f"execution {name} is in {seen[name]} trades" for name in booked if seen[name] != 1]
    for ours, theirs in (("realised_pnl", "realizedPnl"), ("commission", "commission")):
        recorded = sum((Decimal(trade[ours]) for trade in books.trades), start=Decimal(0))
        there = sum((Decimal(row[theirs]) for row in books.ledger["fills"]), start=Decimal(0))
        if recorded != there:
            found.append(f"{ours}: recorded {recorded}, booked {there}")
    return found


def _money(row: Row, fields: Sequence[str]) -> tuple[Decimal, ...]:
    return tuple(Decimal(row[field]) for field in fields)
