"""Rules about entries: each leaves once, and what is larger than one market order may be goes in turn (O7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ledger import ON_THE_BOOK

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.orders import Order
from app.domain.parts import opening, orders_for
from app.domain.trades import Trade
from proof.conduct import arrivals_of, entries_of, ordered_quantity, seconds
from proof.stage import Run
from proof.wire import Sent

_STOPS = (OrderRole.STOP_LOSS, OrderRole.TRAILING_STOP)


def one_entry(run: Run) -> Iterator[str]:
    """At most one entry for each decision, or one for each of its parts, on the book and on the wire."""
    entries = entries_of(run)
    decision_of = {name: decision for decision, names in entries.items() for name in names}
    for account, trades in run.trades.items():
        known = {trade.id for trade in trades}
        on_book: Counter[tuple[str, str]] = Counter()
        for row in run.ledger["accounts"][account]["orders"]:
            name = row["clientOrderId"]
            key = parse_client_order_id(name)
            if key is not None and key.trade_id not in known:
                yield f"order {name} belongs to no trade on record"
            elif key is not None and key.role is OrderRole.ENTRY:
                if name not in decision_of:
                    yield f"entry {name} is on the book, and of no decision on record"
                on_book[decision_of.get(name, (name, ""))] += 1
        yield from (
            f"decision {name} has {count} entries on the book"
            for name, count in on_book.items()
            if count > max(len(entries.get(name, ())), 1)
        )
        entered = Counter((trade.decision_id, trade.asset) for trade in trades)
        yield from (f"decision {name} has {count} trades" for name, count in entered.items() if count > 1)
    sent: Counter[str] = Counter()
    for row in run.sent:
        key = parse_client_order_id(row.client_order_id) if row.method == "POST" else None
        if key is not None and key.role is OrderRole.ENTRY:
            sent[row.client_order_id] += 1
            if row.code in (-1021, -4225):
                sent[row.client_order_id] -= 1
    yield from (f"entry {name} left {count} times" for name, count in sent.items() if count > 1)


def in_turn(run: Run) -> Iterator[str]:
    """Each part of an entry leaves only after the one before was filled and a stop covers all that is held."""
    arrivals = arrivals_of(run)
    if any(happening.what == "venue_clock" for happening in run.world.happenings):
        return  # the ledger's times jump with the venue's clock
    for account, trades in run.trades.items():
        book = run.ledger["accounts"][account]
        orders = {row["clientOrderId"]: row for row in book["orders"]}
        for trade in trades:
            for parts in _entries_of(trade):
                sent = [orders[part.client_order_id] for part in parts if part.client_order_id in orders]
                for before, part in pairwise(sent):
                    left = arrivals[part["clientOrderId"]].at
                    if before["status"] != "FILLED" or seconds(before["updateTime"]) > left:
                        yield f"{part['clientOrderId']} left before {before['clientOrderId']} was filled"
                    elif not _is_covered(trade, part, book, arrivals):
                        yield f"{part['clientOrderId']} left while no stop covered what was held"


def _entries_of(trade: Trade) -> Iterator[tuple[Order, ...]]:
    yield opening(trade)
    for one in trade.adjustments:
        parts = orders_for(trade, one)
        if parts and parts[0].role is OrderRole.ENTRY:
            yield parts


def _is_covered(trade: Trade, part: Mapping[str, Any], book: Mapping[str, Any], arrivals: Mapping[str, Sent]) -> bool:
    """Whether a stop lay for all that was held; where others, a stop or a decision changed that nobody can tell."""
    at = arrivals[part["clientOrderId"]].at
    if trade.externally_reduced or not any(leg.role in _STOPS for leg in trade.legs):
        return True
    if any(role in _STOPS for one in trade.adjustments for role in one.roles):
        return True  # there may have been none at that time
    keys = {row["orderId"]: parse_client_order_id(row["clientOrderId"]) for row in book["orders"]}
    held = Decimal(0)
    for fill in book["fills"]:
        key = keys.get(fill["orderId"])
        is_earlier = seconds(fill["time"]) <= at and fill["orderId"] != part["orderId"]
        if is_earlier and key is not None and key.trade_id == trade.id:
            if key.role.is_exit and key.role is not OrderRole.REDUCE:
                return True
            held += Decimal(fill["qty"]) * (-1 if key.role.is_exit else 1)
    for row in book["orders"]:
        key = keys[row["orderId"]]
        if key is not None and key.trade_id == trade.id and key.role in _STOPS and seconds(row["time"]) <= at:
            lay = row["status"] in ON_THE_BOOK or seconds(row["updateTime"]) >= at
            if lay and ordered_quantity(arrivals, row) >= held:
                return True
    return False
