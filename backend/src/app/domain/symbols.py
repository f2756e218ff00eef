"""Spellings of a traded symbol: what engines and charts call BTCUSDT."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.domain.instruments import Instrument

_ENDING = re.compile(r"(\.P|[_-]?PERP)$")
_PAIR = re.compile(r"([A-Z0-9]+)(?:[/_-]([A-Z0-9]+)(?::([A-Z0-9]+))?)?")


def symbol_named(said: str, instruments: Mapping[str, Instrument]) -> str:
    """The symbol that ``said`` spells; ``said`` as it is where none fits, or more than one: nothing is guessed.

    ``BTC``, ``BTC/USDT``, ``BTC-USDT``, ``BTC/USDT:USDT`` and ``BTCUSDT.P`` are understood, in any case.
    """
    if said in instruments:
        return said
    text = _ENDING.sub("", said.strip().upper())
    if text in instruments:
        return text
    match = _PAIR.fullmatch(text)
    if match is None:
        return said
    base, quote, margin = match.groups()
    fitting = [
        one
        for one in instruments.values()
        if one.base_asset == base and quote in (None, one.quote_asset) and margin in (None, one.margin_asset)
    ]
    traded = [one for one in fitting if one.is_trading] or fitting
    return traded[0].symbol if len(traded) == 1 else said
