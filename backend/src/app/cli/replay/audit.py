"""The venue's ledger against our record: fill by fill, order by order, and the sums to the last decimal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.money import ZERO, plain

_LIVE = frozenset({"NEW", "PARTIALLY_FILLED"})
_ENDED = frozenset({"closed", "rejected", "failed"})
_FUNDING = "FUNDING_FEE"
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Sums over one account, in the margin asset; ``wallet`` is the balance without open positions."""

    fills: int
    realised_pnl: Decimal
    commission: Decimal
    funding: Decimal
    wallet: Decimal | None

    def as_dict(self) -> dict[str, Any]:
        """The sums as JSON shows them."""
        sums = {name: getattr(self, name) for name in ("realised_pnl", "commission", "funding", "wallet")}
        shown = {name: None if amount is None else plain(amount) for name, amount in sums.items()}
        return {"fills": self.fills, **shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Both records' sums, and in words everything in which they differ or that should not be."""

    venue: Money
    record: Money
    findings: tuple[str, ...]


def audit(ledger: Document, trades: Sequence[Document], wallet: str | None) -> Audit:
    """Compare one account of the venue's ledger with our trades and with the wallet balance that we show.

    Args:
        ledger: the account's entry of ``GET /sim/ledger``.
        trades: every trade of the record, as ``GET /v1/trades`` shows it.
        wallet: the balance of ``GET /v1/accounts``.
    """
    venue, record = _venue_money(ledger), _record_money(trades, wallet)
    findings = [
        *_different("fill", _venue_fills(ledger), _record_fills(trades)),
        *_different("order", _venue_orders(ledger), _record_orders(trades)),
        *_sums(venue, record, Decimal(ledger["deposited"])),
        *_left_behind(ledger, trades),
        *_uncared(trades),
    ]
    return Audit(venue=venue, record=record, findings=tuple(findings))


def _venue_money(ledger: Document) -> Money:
    funding = (row["income"] for row in ledger["income"] if row["incomeType"] == _FUNDING)
    return Money(
        fills=len(ledger["fills"]),
        realised_pnl=_sum(row["realizedPnl"] for row in ledger["fills"]),
        commission=_sum(row["commission"] for row in ledger["fills"]),
        funding=_sum(funding),
        wallet=Decimal(ledger["wallet"]),
    )


def _record_money(trades: Sequence[Document], wallet: str | None) -> Money:
    return Money(
        fills=sum(len(trade["fills"]) for trade in trades),
        realised_pnl=_sum(trade["realised_pnl"] for trade in trades),
        commission=_sum(trade["commission"] for trade in trades),
        funding=_sum(trade["funding"] for trade in trades),
        wallet=None if wallet is None else Decimal(wallet),
    )


def _venue_fills(ledger: Document) -> dict[str, tuple[Any, ...]]:
    return {
        str(row["id"]): (
            row["symbol"],
            row["orderId"],
            row["side"],
            Decimal(row["price"]),
            Decimal(row["qty"]),
            Decimal(row["commission"]),
            row["commissionAsset"],
            Decimal(row["realizedPnl"]),
        )
        for row in ledger["fills"]
    }


def _record_fills(trades: Iterable[Document]) -> dict[str, tuple[Any, ...]]:
    return {
        str(fill["exchange_trade_id"]): (
            trade["asset"],
            fill["order_id"],
            fill["side"],
            Decimal(fill["price"]),
            Decimal(fill["quantity"]),
            Decimal(fill["commission"]),
            fill["commission_asset"],
            Decimal(fill["realised_pnl"]),
        )
        for trade in trades
        for fill in trade["fills"]
    }


def _venue_orders(ledger: Document) -> dict[str, tuple[Any, ...]]:
    return {
        row["clientOrderId"]: (row["symbol"], row["orderId"], row["side"], row["status"], Decimal(row["executedQty"]))
        for row in ledger["orders"]
    }


def _record_orders(trades: Iterable[Document]) -> dict[str, tuple[Any, ...]]:
    """Orders that reached the exchange; those that were refused or never sent have no number there."""
    return {
        order["client_order_id"]: (
            order["asset"],
            order["order_id"],
            order["side"],
            order["status"],
            Decimal(order["executed_quantity"]),
        )
        for trade in trades
        for order in trade["orders"]
        if order["order_id"] is not None
    }


def _different(what: str, venue: Mapping[str, tuple[Any, ...]], record: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """What only one record has, and what both have but not equally."""
    found = [f"{what} {key} is at the venue only: {_words(venue[key])}" for key in venue.keys() - record.keys()]
    found += [f"{what} {key} is in our record only: {_words(record[key])}" for key in record.keys() - venue.keys()]
    for key in venue.keys() & record.keys():
        if venue[key] != record[key]:
            found.append(f"{what} {key} differs: venue {_words(venue[key])}, record {_words(record[key])}")
    return sorted(found)


def _sums(venue: Money, record: Money, deposited: Decimal) -> list[str]:
    found = []
    for name in ("realised_pnl", "commission", "funding", "wallet"):
        theirs, ours = getattr(venue, name), getattr(record, name)
        if theirs != ours:
            found.append(f"{name.replace('_', ' ')}: the venue says {theirs}, our record {ours}")
    expected = deposited + record.realised_pnl - record.commission + record.funding
    if expected != venue.wallet:
        found.append(f"deposit and our trades make {expected}, the venue's wallet holds {venue.wallet}")
    return found


def _left_behind(ledger: Document, trades: Iterable[Document]) -> list[str]:
    found = [f"position left at the venue: {row['amount']} {row['symbol']}" for row in ledger["positions"]]
    found += [
        f"order left at the venue: {row['clientOrderId']} {row['symbol']} {row['origType']}"
        for row in ledger["orders"]
        if row["status"] in _LIVE
    ]
    unfinished = (trade for trade in trades if trade["status"] not in _ENDED)
    found += [f"trade {trade['id']} has not ended: {trade['status']}" for trade in unfinished]
    return found


def _uncared(trades: Iterable[Document]) -> list[str]:
    """Trades that were filled and neither protected nor closed, and decisions that entered twice on one asset."""
    found = [
        f"trade {trade['id']} was filled, and is neither protected nor closed"
        for trade in trades
        if Decimal(trade["filled_quantity"]) and trade["protected_at"] is None and trade["status"] != "closed"
    ]
    entries = Counter((trade["decision_id"], trade["asset"]) for trade in trades if Decimal(trade["filled_quantity"]))
    found += [f"decision {key[0]} entered {key[1]} {count} times" for key, count in entries.items() if count > 1]
    return found


def _sum(amounts: Iterable[str]) -> Decimal:
    return sum(map(Decimal, amounts), start=ZERO)


def _words(values: tuple[Any, ...]) -> str:
    return " ".join(map(str, values))
