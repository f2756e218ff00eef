"""Decimal arithmetic of the venue: each rounding has a name and one place.

Money (commission, realised PnL, funding, wallet) has exactly 8 decimals. All roundings of money are half to
even: ``commission_half_even``, ``pnl_half_even`` and ``margin_half_even`` once per fill, ``funding_half_even``
once per position and interval, ``clearance_half_even`` once per liquidated position. Everything else on the
money path is addition and multiplication of values with at most 8 decimals, which 28 significant digits hold
exactly.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
MONEY_STEP = Decimal("0.00000001")
_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})", re.ASCII)


def commission_half_even(amount: Decimal) -> Decimal:
    """Commission of one fill in the margin asset, rounded half to even at 8 decimals."""
    return amount.quantize(MONEY_STEP, ROUND_HALF_EVEN)


def pnl_half_even(amount: Decimal) -> Decimal:
    """Realised PnL of one fill in the margin asset, rounded half to even at 8 decimals."""
    return amount.quantize(MONEY_STEP, ROUND_HALF_EVEN)


def margin_half_even(amount: Decimal) -> Decimal:
    """Margin that moves into or out of an isolated position's wallet, half to even at 8 decimals."""
    return amount.quantize(MONEY_STEP, ROUND_HALF_EVEN)


def funding_half_even(amount: Decimal) -> Decimal:
    """Funding of one position for one interval, half to even at 8 decimals."""
    return amount.quantize(MONEY_STEP, ROUND_HALF_EVEN)


def clearance_half_even(amount: Decimal) -> Decimal:
    """What a liquidated position pays to the insurance fund or gets from it, half to even at 8 decimals."""
    return amount.quantize(MONEY_STEP, ROUND_HALF_EVEN)


def display_half_even(value: Decimal, decimals: int) -> Decimal:
    """A derived figure for display (average price, unrealised PnL, margins), never booked as money."""
    return value.quantize(ONE.scaleb(-decimals), ROUND_HALF_EVEN)


def step_down(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of ``step`` not above ``value``."""
    return ((value / step).to_integral_value(ROUND_FLOOR) * step).quantize(step)


def step_up(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of ``step`` not below ``value``."""
    return ((value / step).to_integral_value(ROUND_CEILING) * step).quantize(step)


def step_nearest(value: Decimal, step: Decimal) -> Decimal:
    """The multiple of ``step`` nearest to ``value``, half to even."""
    return ((value / step).to_integral_value(ROUND_HALF_EVEN) * step).quantize(step)


def decimals_of(step: Decimal) -> int:
    """How many decimals a tick or step needs: ``0.10`` needs 1, ``0.001`` 3, ``1`` 0."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def plain(value: Decimal) -> str:
    """The value in positional notation, as AsterDEX writes numbers in strings."""
    return format(value, "f") if value else format(abs(value), "f")


def trimmed(value: Decimal) -> str:
    """Positional notation without trailing zeros; zero is ``0``."""
    return format(value.normalize(), "f") if value else "0"


def money(value: Decimal) -> str:
    """An amount with its 8 decimals."""
    return plain(value.quantize(MONEY_STEP, ROUND_HALF_EVEN))


def parse_decimal(text: str) -> Decimal | None:
    """A finite decimal in positional notation, or None for anything else (NaN, 1e5, blanks)."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None
