"""How many examples a costly property test draws: fewer in ``make test``."""

from hypothesis import settings


def at_most(number: int) -> int:
    """``number``, or what the profile of this run allows if that is less."""
    return min(number, settings().max_examples)
