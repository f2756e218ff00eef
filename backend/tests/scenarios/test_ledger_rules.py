"""The rules of the storm find what they look for: each is shown a ledger that breaks it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ledger import Ledger, bare_spans, entries_twice, orders_without_position

TRADE = "06ex5tn9g0000000abcd"
IN = {"symbol": "BTCUSDT", "id": 1, "time": 1_000, "positionAfter": "0.010"}
OUT = {"symbol": "BTCUSDT", "id": 2, "time": 60_000, "positionAfter": "0"}


def stop(start: int, end: int, status: str = "CANCELED", quantity: str = "0.010") -> dict[str, Any]:
    name = f"tes.{TRADE}.s1"
    times = {"time": start, "updateTime": end, "status": status}
    return {"symbol": "BTCUSDT", "clientOrderId": name, "side": "SELL", "origQty": quantity, "orderId": 7} | times


def close(at: int) -> dict[str, Any]:
    name = f"tes.{TRADE}.c1"
    return {"method": "POST", "client_order_id": name, "params": {"symbol": "BTCUSDT"}, "time_us": at * 1000}


def test_a_position_without_a_stop_is_found_with_its_length() -> None:
    (span,) = bare_spans(Ledger(orders=[], fills=[IN, OUT], requests=[]))
    assert span.seconds == 59
    late, early = bare_spans(Ledger(orders=[stop(3_000, 50_000)], fills=[IN, OUT], requests=[]))
    assert (late.seconds, early.seconds) == (2, 10)


def test_a_stop_for_less_than_the_position_is_none() -> None:
    (span,) = bare_spans(Ledger(orders=[stop(1_000, 60_000, quantity="0.009")], fills=[IN, OUT], requests=[]))
    assert span.seconds == 59


def test_being_closed_counts_from_the_first_try() -> None:
    (span,) = bare_spans(Ledger(orders=[], fills=[IN, OUT], requests=[close(4_000)]))
    assert span.seconds == 3


def test_an_order_left_behind_is_found() -> None:
    ledger = Ledger(orders=[stop(1_000, 1_000, "NEW")], fills=[IN, OUT], requests=[])
    assert len(orders_without_position(ledger, {"BTCUSDT": Decimal(0)})) == 1


def test_an_entry_sent_twice_is_found_unless_the_first_was_refused_for_its_nonce() -> None:
    name = f"tes.{TRADE}.e1"
    row = {"method": "POST", "client_order_id": name, "params": {"symbol": "BTCUSDT"}, "code": None}
    assert len(entries_twice(Ledger(orders=[], fills=[], requests=[row, row]), [])) == 1
    assert entries_twice(Ledger(orders=[], fills=[], requests=[row | {"code": -4225}, row]), []) == []
