"""Which fields each action of an asset's decision uses, and where the others belong (scenario P16). Pure.

An engine that puts the stop of an entry into the block of another action would get a bare position, and no word of it.
So what an action does not use is refused by name, unless it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.money import decimal_from_text

_ENTRY = frozenset(
    {
        *("allocation_usd", "leverage", "tp_price", "sl_price", "tp_percent", "sl_percent"),
        *("trailing_stop", "expected_position"),
    }
)
_USED: Mapping[str, frozenset[str]] = {
    "buy": _ENTRY,
    "sell": _ENTRY,
    "hold": frozenset(),
    "close_position": frozenset({"expected_position"}),
    "adjust_position": frozenset({"position_adjustment", "expected_position"}),
    "adjust_orders": frozenset({"order_adjustment", "expected_position"}),
}
_ENTRIES = frozenset({"buy", "sell"})
_SOME_USE = frozenset[str]().union(*_USED.values())

PLANNED = frozenset(
    {
        "risk_usd",
        "risk_percent",
        "take_profits",
        "break_even",
        "close_after_seconds",
        "close_at",
        "entry",
        "tags",
        "note",
    }
)
"""Fields of an entry whose names are settled and which are not built yet (contract, section 10)."""

_FOREIGN = frozenset({"position_size_usd", "stop_loss", "take_profit", "new_stop_loss", "new_take_profit"})
"""What other engines call fields of ours."""
_ANY_USE = frozenset({"asset", "action"}) | _SOME_USE
_INSIDE_BLOCKS = frozenset(
    {
        *("adjustment_type", "adjustment_amount_usd", "adjustment_percentage", "new_tp_price", "new_sl_price"),
        *("adjust_tp", "adjust_sl", "cancel_tp", "cancel_sl", "callback_rate", "activation_price"),
    }
)
_MISPLACED = _ANY_USE | _INSIDE_BLOCKS | _FOREIGN | (PLANNED - {"tags", "note"})
"""What trades inside an asset's decision and does nothing around them; remarks on the whole may stand there."""

_HOME_OF_ENTRIES = {
    "new_sl_price": "sl_price",
    "new_tp_price": "tp_price",
    "adjustment_amount_usd": "allocation_usd",
}
_HOME: Mapping[str, Mapping[str, str]] = {
    "buy": _HOME_OF_ENTRIES,
    "sell": _HOME_OF_ENTRIES,
    "adjust_position": {
        "allocation_usd": "position_adjustment.adjustment_amount_usd",
        "sl_price": "position_adjustment.new_sl_price",
        "tp_price": "position_adjustment.new_tp_price",
        "new_sl_price": "position_adjustment.new_sl_price",
        "new_tp_price": "position_adjustment.new_tp_price",
        "cancel_sl": "order_adjustment, with the action adjust_orders",
        "cancel_tp": "order_adjustment, with the action adjust_orders",
    },
    "adjust_orders": {
        "sl_price": "order_adjustment.new_sl_price",
        "tp_price": "order_adjustment.new_tp_price",
        "new_sl_price": "order_adjustment.new_sl_price",
        "new_tp_price": "order_adjustment.new_tp_price",
        "adjustment_type": "position_adjustment, with the action adjust_position",
        "adjustment_amount_usd": "position_adjustment, with the action adjust_position",
        "adjustment_percentage": "position_adjustment, with the action adjust_position",
    },
}
"""By action: where that which a field means is said with this action."""


def superfluous(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an asset's decision that its action does not use, whatever they say."""
    used = _USED.get(str(said.get("action")))
    if used is None:
        return {}  # the action itself is refused
    if _is_increase(said):
        used |= {"leverage"}
    return {name: value for name, value in said.items() if name in PLANNED or name in _SOME_USE - used}


def misplaced(around: Mapping[str, Any]) -> dict[str, str]:
    """The fields around the assets' decisions that belong into one of them, each with a sentence.

    ``null`` and ``false`` say nothing. A 0 may stand for an exit that was meant.
    """
    wrong = sorted(name for name in _MISPLACED & around.keys() if not _is_empty(around[name], is_entry=True))
    return {name: _sentence_around(name) for name in wrong}


def _sentence_around(name: str) -> str:
    if name in PLANNED:
        return "a planned field, not built yet; leave it out"
    if name in _FOREIGN:
        return "no field of ours, and it does nothing around the decisions; put what it says into the asset's decision"
    where = "into its block of the asset's decision" if name in _INSIDE_BLOCKS else "into the asset's decision"
    return f"it does nothing around the decisions; put it {where}, such as decisions[0]"


def _is_increase(said: Mapping[str, Any]) -> bool:
    change = said.get("position_adjustment")
    return isinstance(change, Mapping) and change.get("adjustment_type") == "increase"


def complaints(action: str, name: str, value: Any) -> list[tuple[tuple[str, ...], str]]:
    """Path and sentence for everything that a superfluous field says; nothing where it says nothing.

    ``null`` and ``false`` say nothing, and so do blocks of them. Zeros and empty texts say nothing either, but not on
    an entry, where a 0 may stand for an exit that was meant.
    """
    is_entry = action in _ENTRIES
    return [(path, _sentence(action, path)) for path, one in _leaves((name,), value) if not _is_empty(one, is_entry)]


def _sentence(action: str, path: tuple[str, ...]) -> str:
    if path[0] in PLANNED:
        return "a planned field, not built yet; leave it out"
    home = _HOME.get(action, {}).get(path[-1])
    if home is not None:
        return f"{action} does not use this field; what it says belongs in {home}"
    hint = "to move exits, use adjust_orders" if "price" in path[-1] or path[-1] == "trailing_stop" else "leave it out"
    return f"{action} does not use this field; {hint}"


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    else:
        yield path, value


def _is_empty(value: Any, is_entry: bool) -> bool:
    if value is None or value is False or value == {}:
        return True
    if is_entry or value is True:
        return False
    if isinstance(value, str):
        try:
            return not value.strip() or not decimal_from_text(value.strip())
        except ValueError:
            return False
    return not value
