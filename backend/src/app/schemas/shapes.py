"""Documents of other engines, as documents of ours. Pure; what they mean is judged where every decision is.

The seed engine's ``DecisionResult`` is recognised by itself. Other shapes are read where the sender names them, since
the same word means something else elsewhere; without a name a sentence that says what they look like refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.errors import DecisionRefused
from app.domain.formats import DecisionFormat
from app.schemas.json_text import invalid

_OURS = '{"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": 1000, "sl_price": 94000}]}'
_MOST_NAMED = 20


def in_our_shape(document: Any, shape: DecisionFormat | None) -> dict[str, Any]:
    """The document as one of ours.

    Raises:
        DecisionRefused: ``validation_error``: it has another shape, or its own engine refused it.
    """
    if shape is not None:
        return _READERS[shape](document)
    if isinstance(document, dict):
        if "decisions" in document:
            return document
        if "validation_passed" in document or (
            isinstance(document.get("decision"), dict) and "decisions" in document["decision"]
        ):
            return _unwrapped(document)
    raise _foreign(document)


def _unwrapped(result: Mapping[str, Any]) -> dict[str, Any]:
    """The decision inside a ``DecisionResult``; model, cost and time stay with its record."""
    if result.get("validation_passed", True) is not True:
        errors = result.get("validation_errors")
        said = [str(error) for error in errors[:_MOST_NAMED]] if isinstance(errors, list) else []
        reasons = "; ".join(said) or "it gives no reason"
        text = f"validation_passed is not true: the engine refused its own decision: {reasons}"
        raise invalid(text, field="validation_passed")
    decision = result.get("decision")
    if not isinstance(decision, dict):
        raise invalid("decision: a DecisionResult needs the decision as an object", field="decision")
    around = {name: value for name, value in result.items() if name != "decision"}
    return around | {name: value for name, value in decision.items() if value is not None or name not in around}


# --- NOFX -----------------------------------------------------------------------------------------------------------

_NOFX_NAMES = {
    "symbol": "asset",
    "position_size_usd": "allocation_usd",
    "stop_loss": "sl_price",
    "take_profit": "tp_price",
    "reasoning": "rationale",
}
_NOFX_ACTIONS: Mapping[str, Mapping[str, Any]] = {
    "open_long": {"action": "buy"},
    "open_short": {"action": "sell"},
    "close_long": {"action": "close_position", "expected_position": "long"},
    "close_short": {"action": "close_position", "expected_position": "short"},
    "update_stop_loss": {"action": "adjust_orders"},
    "update_take_profit": {"action": "adjust_orders"},
    "partial_close": {"action": "adjust_position"},
    "hold": {"action": "hold"},
    "wait": {"action": "hold"},
}


def _of_nofx(document: Any) -> dict[str, Any]:
    if not isinstance(document, list):
        raise invalid("format=nofx needs an array of decisions with symbol and action, as NOFX writes it")
    items = [_item_of_nofx(place, item) for place, item in enumerate(document)]
    return {"decisions": items, "format": DecisionFormat.NOFX, "said": document}


def _item_of_nofx(place: int, said: Any) -> Any:
    """One of its decisions as one of ours.

    Raises:
        DecisionRefused: it says one thing by two names, and differently.
    """
    if not isinstance(said, dict):
        return said
    action = said.get("action")
    meaning = _NOFX_ACTIONS.get(action) if isinstance(action, str) else None
    # their risk_usd tells what the size comes to, and sizes nothing; it stays with the record
    dropped = {"risk_usd"} if meaning is None else {"risk_usd", "action"}
    item: dict[str, Any] = {}
    named = {str(name): value for name, value in said.items() if name not in dropped}
    for name, value in (*named.items(), *(meaning or {}).items()):
        _say(item, _NOFX_NAMES.get(name, name), value, place)
    match action:
        case "update_stop_loss":
            change = {"new_sl_price": item.pop("new_stop_loss", None)}
            _say(item, "order_adjustment", change, place)
        case "update_take_profit":
            change = {"new_tp_price": item.pop("new_take_profit", None)}
            _say(item, "order_adjustment", change, place)
        case "partial_close":
            change = {"adjustment_type": "decrease", "adjustment_percentage": item.pop("close_percentage", None)}
            _say(item, "position_adjustment", change, place)
    for name in ("new_stop_loss", "new_take_profit", "close_percentage"):
        if name in item and not item[name]:
            del item[name]
    return item


def _say(item: dict[str, Any], name: str, value: Any, place: int) -> None:
    """Put a field into the item.

    Raises:
        DecisionRefused: it is there already, and differs: a reader that keeps one drops the other unseen.
    """
    known = item.get(name)
    if known is not None and value is not None and known != value:
        path = f"decisions[{place}].{name}"
        raise invalid(f"{path}: said by two names, and differently; leave one of the two out", field=path)
    item[name] = value if known is None else known


# --- Nocturne -------------------------------------------------------------------------------------------------------


def _of_nocturne(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or "trade_decisions" not in document:
        raise invalid("format=nocturne needs an object with trade_decisions, as Nocturne writes it")
    kept = {name: value for name, value in document.items() if name != "trade_decisions"}
    return {**kept, "format": DecisionFormat.NOCTURNE, "decisions": document["trade_decisions"]}


_READERS: Mapping[DecisionFormat, Callable[[Any], dict[str, Any]]] = {
    DecisionFormat.NOFX: _of_nofx,
    DecisionFormat.NOCTURNE: _of_nocturne,
}


# --- what is recognised ---------------------------------------------------------------------------------------------


def _foreign(document: Any) -> DecisionRefused:
    """Says what the document looks like, and what to do."""
    named = _recognised(document)
    if named is None:
        return invalid("the body must be a JSON object with a field 'decisions'")
    looks_like, shape = named
    if shape is not None:
        return invalid(f"this looks like {looks_like}: send it with format={shape} (tes submit --format {shape})")
    return invalid(f"this looks like {looks_like}, which is not read here; ours looks like {_OURS}")


def _recognised(document: Any) -> tuple[str, DecisionFormat | None] | None:
    if isinstance(document, dict):
        if "trade_decisions" in document:
            return "Nocturne's decisions (trade_decisions)", DecisionFormat.NOCTURNE
        if any(isinstance(value, dict) and "trade_signal_args" in value for value in document.values()):
            return "the signals of nof1's Alpha Arena (trade_signal_args by coin)", None
        if "action" in document:
            return "the decision on one asset, without the list around it", None
        return None
    items = [item for item in document if isinstance(item, dict)] if isinstance(document, list) else []
    if any("close_quantity_pct" in item for item in items):
        return "ROMA's decisions (close_quantity_pct)", None
    if any("symbol" in item and item.get("action") in [*_NOFX_ACTIONS] for item in items):
        return "NOFX's decisions (an array with symbol, and actions such as open_long)", DecisionFormat.NOFX
    if any("action" in item for item in items):
        return "a list of decisions, without the object around it", None
    return None
