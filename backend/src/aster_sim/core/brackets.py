"""Leverage brackets: which leverage allows which notional, and the maintenance margin of each tier.

AsterDEX's own tables are not public (asterdex-facts.md, "Not found"), so these three are the venue's:
plausible tiers for majors, large alts and everything else. ``cum`` is derived, so that maintenance margin
is continuous at each tier's floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aster_sim.core.numbers import ZERO


@dataclass(frozen=True, slots=True)
class Bracket:
    """One tier; notionals in quote units, floor exclusive of the tier below, cap inclusive."""

    number: int
    max_leverage: int
    cap: Decimal
    floor: Decimal
    maint_ratio: Decimal
    cum: Decimal


def _table(rows: tuple[tuple[int, int, str], ...]) -> tuple[Bracket, ...]:
    made: list[Bracket] = []
    floor = cum = previous = ZERO
    for number, (leverage, cap, ratio) in enumerate(rows, start=1):
        rate = Decimal(ratio)
        cum += floor * (rate - previous)
        made.append(Bracket(number, leverage, Decimal(cap), floor, rate, cum))
        floor, previous = Decimal(cap), rate
    return tuple(made)


_MAJOR = _table(
    (
        (125, 100_000, "0.004"),
        (100, 800_000, "0.005"),
        (75, 3_000_000, "0.0065"),
        (50, 12_000_000, "0.01"),
        (25, 50_000_000, "0.02"),
        (20, 65_000_000, "0.025"),
        (10, 150_000_000, "0.05"),
        (5, 300_000_000, "0.1"),
        (2, 600_000_000, "0.25"),
        (1, 1_000_000_000, "0.5"),
    )
)
_LARGE = _table(
    (
        (75, 20_000, "0.0065"),
        (50, 150_000, "0.01"),
        (25, 1_000_000, "0.02"),
        (20, 4_000_000, "0.025"),
        (10, 10_000_000, "0.05"),
        (5, 20_000_000, "0.1"),
        (2, 40_000_000, "0.25"),
        (1, 80_000_000, "0.5"),
    )
)
_OTHER = _table(
    (
        (50, 10_000, "0.01"),
        (25, 100_000, "0.02"),
        (20, 250_000, "0.025"),
        (10, 1_000_000, "0.05"),
        (5, 2_500_000, "0.1"),
        (2, 5_000_000, "0.25"),
        (1, 10_000_000, "0.5"),
    )
)
_MAJORS = frozenset({"BTC", "ETH"})
_LARGES = frozenset({"SOL", "BNB", "ASTER", "DOGE", "XRP", "1000PEPE"})


def brackets_for(base_asset: str) -> tuple[Bracket, ...]:
    """The tiers of an instrument, by its base asset, lowest notional first."""
    if base_asset in _MAJORS:
        return _MAJOR
    return _LARGE if base_asset in _LARGES else _OTHER


def bracket_at(table: tuple[Bracket, ...], notional: Decimal) -> Bracket:
    """The tier that holds a notional; beyond the last cap, the last tier."""
    return next((row for row in table if notional <= row.cap), table[-1])


def max_notional(table: tuple[Bracket, ...], leverage: int) -> Decimal:
    """The largest position notional that a leverage allows; higher tiers allow less leverage."""
    for row in reversed(table):
        if row.max_leverage >= leverage:
            return row.cap
    return ZERO


def maintenance_margin(table: tuple[Bracket, ...], notional: Decimal) -> Decimal:
    """notional · maintMarginRatio − cum of its tier (asterdex-facts.md section 12), never negative."""
    row = bracket_at(table, notional)
    return max(ZERO, notional * row.maint_ratio - row.cum)
