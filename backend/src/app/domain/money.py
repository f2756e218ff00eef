"""Exact decimals and the named roundings that the program uses.

Every price, quantity and amount is a :class:`~decimal.Decimal` made from text. Binary floats never come near it.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Context, Decimal, InvalidOperation, localcontext

ZERO = Decimal(0)
BPS = Decimal(10_000)

_EXACT = Context(prec=60)
_DOWN = Context(prec=60, rounding=ROUND_DOWN)


def decimal_from_text(text: str | int | Decimal) -> Decimal:
    """Return the exact, finite decimal that ``text`` spells.

    Raises:
        ValueError: ``text`` is no number, or is NaN or infinite.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    return value


def plain(value: Decimal) -> str:
    """Spell ``value`` without exponent and without trailing zeros: ``0.010`` becomes ``0.01``."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if step <= 0:
        return value
    with localcontext(_EXACT):
        steps = (value / step).to_integral_value(rounding=rounding)
        return (steps * step).quantize(step)


def divide_down(dividend: Decimal, divisor: Decimal) -> Decimal:
    """``dividend / divisor`` to 60 digits, cut towards zero, so that no step is gained by rounding (scenario Z1)."""
    return _DOWN.divide(dividend, divisor)


def round_down_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Largest multiple of ``step`` not above ``value`` (towards zero): for quantities, scenario Z1."""
    return _to_step(value, step, ROUND_DOWN)


def round_up_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Smallest multiple of ``step`` not below ``value``: for exits that must cover all that is held (scenario H8)."""
    return _to_step(value, step, ROUND_UP)


def round_nearest_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Nearest multiple of ``step``, halves to even: for TP and SL prices (contract, section 9)."""
    return _to_step(value, step, ROUND_HALF_EVEN)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether ``value`` is a whole number of steps; a step of zero allows everything."""
    if step <= 0:
        return True
    with localcontext(_EXACT):
        return not value % step
