"""The built-in instruments, written by hand: filters of AsterDEX's order of magnitude, our own prices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One row of the built-in catalogue; ``band`` serves PERCENT_PRICE, triggerProtect and take bound."""

    base: str
    start_price: str
    tick: str
    min_price: str
    max_price: str
    step: str
    max_qty: str
    market_max_qty: str
    band: str


BUILT_IN = (
    BuiltIn("BTC", "96000", "0.1", "1", "1000000", "0.001", "1000", "120", "0.0200"),
    BuiltIn("ETH", "3400", "0.01", "39.9", "1000000", "0.001", "10000", "2000", "0.0200"),
    BuiltIn("SOL", "190", "0.01", "0.42", "100000", "0.01", "1000000", "5000", "0.0300"),
    BuiltIn("BNB", "650", "0.1", "6.6", "100000", "0.01", "100000", "2000", "0.0200"),
    BuiltIn("ASTER", "1.2", "0.0001", "0.0001", "200", "0.01", "2000000", "200000", "0.0500"),
    BuiltIn("DOGE", "0.32", "0.00001", "0.00244", "2000", "1", "10000000", "2000000", "0.0200"),
    BuiltIn("XRP", "2.3", "0.0001", "0.0143", "100000", "0.1", "1000000", "200000", "0.0300"),
    BuiltIn("1000PEPE", "0.0185", "0.0000001", "0.0000001", "200", "1", "35000000", "10000000", "0.0300"),
)
