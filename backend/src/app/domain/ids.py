"""Identifiers. Those of orders are derived, so that ours are recognised after any crash.

A client order id reads ``tes.<trade id>.<role letter><attempt>`` and fits the exchange's
``^[\\.A-Z\\:/a-z0-9_-]{1,36}$`` (fact sheet, section 4). Only an order with this prefix is ours; everything else on the
account belongs to its owner and is never touched (scenarios H2, O2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.ports import Clock, Randomness

PREFIX = "tes"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 20
_TIME_BITS = 45
_RANDOM_BITS = _ID_LENGTH * 5 - _TIME_BITS
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_PAIR_SHIFTS = range((_ID_LENGTH - 2) * 5, -1, -10)


class OrderRole(StrEnum):
    """What an order is for, within its trade."""

    ENTRY = "entry"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    TRAILING_STOP = "trailing_stop"
    REDUCE = "reduce"
    """Takes off a part of the position."""
    CLOSE = "close"
    TAKE_BACK = "take_back"
    """Takes back what a plain close executed beyond the position, so that nothing is held on the other side."""
    EXTERNAL_STOP = "external_stop"
    """The stop of a position that the service did not open; it belongs to no trade (contract, section 3: protect)."""

    @property
    def is_exit(self) -> bool:
        """Whether the order takes off what the trade holds."""
        return self not in (OrderRole.ENTRY, OrderRole.TAKE_BACK)


_LETTER = {
    OrderRole.ENTRY: "e",
    OrderRole.TAKE_PROFIT: "t",
    OrderRole.STOP_LOSS: "s",
    OrderRole.TRAILING_STOP: "r",
    OrderRole.REDUCE: "d",
    OrderRole.CLOSE: "c",
    OrderRole.TAKE_BACK: "b",
    OrderRole.EXTERNAL_STOP: "x",
}
_ROLE = {letter: role for role, letter in _LETTER.items()}
_PATTERN = re.compile(rf"{PREFIX}\.([{_ALPHABET}]{{{_ID_LENGTH}}})\.([{''.join(_ROLE)}])([1-9][0-9]{{0,5}})")


@dataclass(frozen=True, slots=True)
class ClientOrderId:
    """The parts of one of our client order ids."""

    trade_id: str
    role: OrderRole
    attempt: int

    def __str__(self) -> str:
        return f"{PREFIX}.{self.trade_id}.{_LETTER[self.role]}{self.attempt}"


def parse_client_order_id(text: str) -> ClientOrderId | None:
    """Return the parts of ``text``, or None when the order is not ours."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    return ClientOrderId(trade_id=match[1], role=_ROLE[match[2]], attempt=int(match[3]))


class IdSource:
    """Makes identifiers that sort by time: 45 bits of milliseconds, 55 bits of chance, in Crockford base 32."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        self._clock = clock
        self._randomness = randomness

    def new(self) -> str:
        """A fresh identifier of 20 characters."""
        return encode_id(self._clock.now(), self._randomness.token(_RANDOM_BITS))


def encode_id(at: datetime, random_bits: int) -> str:
    """Spell a time and some random bits as an identifier."""
    milliseconds = int(at.timestamp() * 1000)
    number = (milliseconds << _RANDOM_BITS) | (random_bits & ((1 << _RANDOM_BITS) - 1))
    return "".join([_PAIRS[number >> shift & 1023] for shift in _PAIR_SHIFTS])
