"""What the venue's ledger says about the three "nevers": rules that read nothing but the exchange's own record.

Each rule returns the violations it found, in words; none is what we want.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.trades import Trade

ON_THE_BOOK = ("NEW", "PARTIALLY_FILLED")
_DONE_ONCE = (OrderRole.ENTRY, OrderRole.REDUCE)
REFUSED_FOR_ITS_TIME = (-4225, -1021)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The venue's record of one account: orders, executions, and requests on order endpoints."""

    orders: Sequence[Row]
    fills: Sequence[Row]
    requests: Sequence[Row]

    @classmethod
    def read(cls, body: Mapping[str, Any], account: str = "default") -> Ledger:
        """From the control API's ``/ledger``."""
        own = body["accounts"][account]
        assert body["requests_forgotten"] == 0
        return cls(orders=own["orders"], fills=own["fills"], requests=body["requests"])


def entries_twice(ledger: Ledger, trades: Iterable[Trade]) -> list[str]:
    """No decision has two entries, on the book or on the wire, and every order of ours belongs to a trade.

    A request that was refused for its nonce or its time was proven not to be executed, so it may be signed anew (L2).
    """
    trade_by_id = {trade.id: trade for trade in trades}
    found: list[str] = []
    on_book: Counter[tuple[str, str]] = Counter()
    on_wire: Counter[tuple[str, str]] = Counter()
    for row in ledger.orders:
        key = parse_client_order_id(row["clientOrderId"])
        if key is not None and key.trade_id not in trade_by_id:
            found.append(f"order {row['clientOrderId']} belongs to no trade on record")
        elif key is not None and key.role in _DONE_ONCE:
            on_book[_decision_of(trade_by_id[key.trade_id], row["clientOrderId"])] += 1
    for row in ledger.requests:
        key = parse_client_order_id(row["client_order_id"]) if row["method"] == "POST" else None
        is_proven_undone = row["code"] in REFUSED_FOR_ITS_TIME
        if key is not None and key.role in _DONE_ONCE and not is_proven_undone:
            trade = trade_by_id.get(key.trade_id)
            on_wire[_decision_of(trade, row["client_order_id"]) if trade else (key.trade_id, "?")] += 1
    for counter, where in ((on_book, "on the book"), (on_wire, "sent")):
        found += [
            f"decision {decision} has {count} entries or reductions {where}"
            for decision, count in counter.items()
            if count > 1
        ]
    return found


def _decision_of(trade: Trade, client_order_id: str) -> tuple[str, str]:
    """Which decision wanted an order that changes the size: the trade's own, or that of an adjustment."""
    adjustments = {known.client_order_id: known.decision_id for known in trade.adjustments}
    return adjustments.get(client_order_id, trade.decision_id), trade.asset


def orders_without_position(ledger: Ledger, positions: Mapping[str, Decimal]) -> list[str]:
    """No order of ours rests where nothing is held."""
    return [
        f"{row['clientOrderId']} rests on {row['symbol']}, where nothing is held"
        for row in ledger.orders
        if row["status"] in ON_THE_BOOK and parse_client_order_id(row["clientOrderId"]) and not positions[row["symbol"]]
    ]


@dataclass(frozen=True, slots=True)
class Bare:
    """A span in which the stops on the book covered less than what was held.

    ``close_after_s``: when a close was first sent, from its start.
    """

    symbol: str
    start_ms: int
    end_ms: int
    close_after_s: float | None

    @property
    def seconds(self) -> float:
        """Until it was covered, flat, or being closed."""
        held_s = (self.end_ms - self.start_ms) / 1000
        return held_s if self.close_after_s is None else min(held_s, self.close_after_s)


def bare_spans(ledger: Ledger) -> list[Bare]:
    """Every span without enough stops, rebuilt from executions and from the lives of the stop orders."""
    symbols = sorted({row["symbol"] for row in ledger.fills})
    return [span for symbol in symbols for span in _bare_spans_of(ledger, symbol)]


def _bare_spans_of(ledger: Ledger, symbol: str) -> list[Bare]:
    # at one and the same millisecond: executions first, then the stops that came or went
    moves = [
        (fill["time"], fill["id"], "position", Decimal(fill["positionAfter"]))
        for fill in ledger.fills
        if fill["symbol"] == symbol
    ]
    for row in ledger.orders:
        key = parse_client_order_id(row["clientOrderId"])
        if row["symbol"] != symbol or key is None or key.role is not OrderRole.STOP_LOSS:
            continue
        quantity = Decimal(row["origQty"]) * (1 if row["side"] == "SELL" else -1)
        moves.append((row["time"], row["orderId"], "stop", quantity))
        if row["status"] not in ON_THE_BOOK:
            moves.append((row["updateTime"], row["orderId"], "stop", -quantity))
    closes = _close_times(ledger, symbol)
    by_time: dict[int, list[tuple[int, str, Decimal]]] = defaultdict(list)
    for time, order, what, value in moves:
        by_time[time].append((order, what, value))
    position, stops, since = Decimal(0), Decimal(0), None
    spans: list[Bare] = []
    for time in sorted(by_time):
        for _, what, value in sorted(by_time[time]):
            if what == "position":
                position = value
            else:
                stops += value
        is_bare = bool(position) and (stops / position) < 1
        if is_bare and since is None:
            since = time
        elif not is_bare and since is not None:
            spans.append(_bare(symbol, since, time, closes))
            since = None
    if since is not None:
        spans.append(_bare(symbol, since, max(by_time) + 3_600_000, closes))
    return spans


def _close_times(ledger: Ledger, symbol: str) -> list[int]:
    """When somebody tried to close: the request counts, whatever became of it."""
    times = []
    for row in ledger.requests:
        key = parse_client_order_id(row["client_order_id"])
        if row["method"] == "POST" and row["params"].get("symbol") == symbol and key and key.role is OrderRole.CLOSE:
            times.append(row["time_us"] // 1000)
    return times


def _bare(symbol: str, start: int, end: int, closes: list[int]) -> Bare:
    first = min((time for time in closes if start <= time <= end), default=None)
    return Bare(symbol, start, end, None if first is None else (first - start) / 1000)


def record_differs(ledger: Ledger, trades: Sequence[Trade]) -> list[str]:
    """Every execution is in exactly one trade, as the venue booked it; PnL and commission are the venue's."""
    found: list[str] = []
    booked = {(row["symbol"], row["id"]): row for row in ledger.fills}
    seen: Counter[tuple[str, int]] = Counter()
    for trade in trades:
        for fill in trade.fills:
            name = (trade.asset, fill.exchange_trade_id)
            seen[name] += 1
            row = booked.get(name)
            if row is None:
                found.append(f"trade {trade.id} has an execution {name} that the venue does not know")
                continue
            ours = (fill.quantity, fill.price, fill.commission, fill.realised_pnl)
            theirs = tuple(Decimal(row[field]) for field in ("qty", "price", "commission", "realizedPnl"))
            if ours != theirs:
                found.append(f"execution {name}: recorded {ours}, booked {theirs}")
        entered = trade.entered_quantity
        if trade.is_ended and entered != trade.exited_quantity:
            found.append(f"trade {trade.id} ended {trade.status} with {entered} in and {trade.exited_quantity} out")
    found += [f"execution {name} is in no trade" for name in booked if not seen[name]]
    found += [f"execution {name} is in {count} trades" for name, count in seen.items() if count > 1]
    pnl = sum((trade.realised_pnl for trade in trades), start=Decimal(0))
    fees = sum((fill.commission for trade in trades for fill in trade.fills), start=Decimal(0))
    for what, ours, field in (("PnL", pnl, "realizedPnl"), ("commission", fees, "commission")):
        theirs = sum((Decimal(row[field]) for row in ledger.fills), start=Decimal(0))
        if ours != theirs:
            found.append(f"{what}: recorded {ours}, booked {theirs}")
    return found
