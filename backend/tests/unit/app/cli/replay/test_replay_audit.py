"""The replay's audit: equal records pass, and every way of being unequal is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.cli.replay.audit import audit

LEDGER: dict[str, Any] = {
    "deposited": "1000.00000000",
    "wallet": "1009.70000000",
    "positions": [],
    "income": [],
    "orders": [
        {
            "clientOrderId": f"id-{role}",
            "symbol": "BTCUSDT",
            "orderId": number,
            "side": side,
            "status": status,
            "executedQty": executed,
            "origType": kind,
        }
        for role, number, side, status, executed, kind in (
            ("entry", 1, "BUY", "FILLED", "0.010", "MARKET"),
            ("tp", 2, "SELL", "FILLED", "0.010", "TAKE_PROFIT_MARKET"),
            ("sl", 3, "SELL", "CANCELED", "0", "STOP_MARKET"),
        )
    ],
    "fills": [
        {
            "id": number,
            "symbol": "BTCUSDT",
            "orderId": number,
            "side": side,
            "price": price,
            "qty": "0.01",
            "commission": "0.15",
            "commissionAsset": "USDT",
            "realizedPnl": pnl,
        }
        for number, side, price, pnl in ((1, "BUY", "96000", "0.00000000"), (2, "SELL", "97000", "10.00000000"))
    ],
}
TRADE: dict[str, Any] = {
    "id": "t-1",
    "decision_id": "d-1",
    "asset": "BTCUSDT",
    "status": "closed",
    "filled_quantity": "0.010",
    "protected_at": "2026-11-22T10:15:00Z",
    "realised_pnl": "10",
    "commission": "0.30",
    "funding": "0",
    "orders": [
        {
            "client_order_id": row["clientOrderId"],
            "order_id": row["orderId"],
            "asset": "BTCUSDT",
            "side": row["side"],
            "status": row["status"],
            "executed_quantity": row["executedQty"],
        }
        for row in LEDGER["orders"]
    ],
    "fills": [
        {
            "exchange_trade_id": row["id"],
            "order_id": row["orderId"],
            "side": row["side"],
            "price": row["price"],
            "quantity": row["qty"],
            "commission": row["commission"],
            "commission_asset": "USDT",
            "realised_pnl": row["realizedPnl"],
        }
        for row in LEDGER["fills"]
    ],
}
Change = Callable[[dict[str, Any], list[dict[str, Any]]], None]


def examined(change: Change, wallet: str | None = "1009.7") -> tuple[str, ...]:
    ledger, trades = copy.deepcopy(LEDGER), [copy.deepcopy(TRADE)]
    change(ledger, trades)
    return audit(ledger, trades, wallet).findings


def test_equal_records_pass_whatever_their_trailing_zeros() -> None:
    assert examined(lambda _ledger, _trades: None) == ()


def test_an_order_that_never_reached_the_exchange_is_no_difference() -> None:
    never_sent = {"client_order_id": "id-close", "order_id": None, "status": "NOT_PLACED"}
    assert examined(lambda _ledger, trades: trades[0]["orders"].append(never_sent)) == ()


CHANGES: list[tuple[Change, str]] = [
    (lambda _ledger, trades: trades[0]["fills"].pop(), "fill 2 is at the venue only"),
    (lambda ledger, _trades: ledger["fills"].pop(), "fill 2 is in our record only"),
    (lambda _ledger, trades: trades[0]["fills"][0].update(commission="0.15000001"), "fill 1 differs"),
    (lambda _ledger, trades: trades[0]["orders"][2].update(status="NEW"), "order id-sl differs"),
    (lambda _ledger, trades: trades[0]["orders"].pop(), "order id-sl is at the venue only"),
    (lambda _ledger, trades: trades[0].update(realised_pnl="10.00000001"), "realised pnl: the venue says"),
    (lambda _ledger, trades: trades[0].update(commission="0.29999999"), "commission: the venue says"),
    (lambda _ledger, trades: trades[0].update(funding="-0.1"), "funding: the venue says 0, our record -0.1"),
    (lambda ledger, _trades: ledger.update(wallet="1009.70000001"), "the venue's wallet holds 1009.70000001"),
    (
        lambda ledger, _trades: ledger["positions"].append({"symbol": "BTCUSDT", "amount": "0.01"}),
        "position left at the venue",
    ),
    (lambda ledger, _trades: ledger["orders"][2].update(status="NEW"), "order left at the venue: id-sl"),
    (lambda _ledger, trades: trades[0].update(status="closing"), "trade t-1 has not ended: closing"),
    (
        lambda _ledger, trades: trades[0].update(status="failed", protected_at=None),
        "trade t-1 was filled, and is neither protected nor closed",
    ),
    (lambda _ledger, trades: trades.append(trades[0] | {"id": "t-2"}), "decision d-1 entered BTCUSDT 2 times"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_every_difference_is_found_and_named(change: Change, words: str) -> None:
    assert any(words in finding for finding in examined(change))


def test_a_wallet_that_we_show_wrongly_is_found() -> None:
    assert examined(lambda _ledger, _trades: None, "1009.8") == (
        "wallet: the venue says 1009.70000000, our record 1009.8",
    )
