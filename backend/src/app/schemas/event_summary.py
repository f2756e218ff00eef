"""What an event says, in one sentence: made here once, and shown by every face (contract, section 6).

An event of an earlier version may lack what a later one has: then the sentence is shorter, and never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from app.domain.events import EventType
from app.domain.money import plain

_DECIMALS = Decimal("1e-8")
"""As many as an exchange quotes: an average of many executions may have dozens."""

Data = Mapping[str, Any]


def summary_of(type_: EventType, data: Data) -> str:
    """One sentence, without the asset, which stands beside it; ``data`` as :mod:`app.schemas.event_data` has it."""
    return _SENTENCES[type_](data)


def _number(value: object) -> str:
    try:
        number = Decimal(str(value))
        return plain(number.quantize(_DECIMALS) if number.is_finite() else number)
    except InvalidOperation:
        return str(value)


def _spoken(value: object) -> str:
    return str(value).replace("_", " ")


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _after(word: str, value: object) -> str | None:
    """``word`` and the number behind it; None where there is none."""
    return None if value in (None, "", "0") else f"{word} {_number(value)}"


def _order(data: Data) -> str:
    price = data.get("stop_price") or data.get("price")
    status = _spoken(data.get("status") or "").lower()
    reason = data.get("reason")
    unknown_s = data.get("unknown_seconds")
    return _joined(
        _spoken(data.get("role", "order")),
        data.get("side"),
        data.get("type"),
        _number(data["quantity"]) if data.get("quantity") else "the whole position",
        _after("at", price),
        status,
        _after("at" if status.endswith("filled") else "executed at", data.get("average_price")),
        None if unknown_s is None else f"after {unknown_s:g} s of doubt",
        f"({reason})" if reason else None,
    )


def _trade(data: Data) -> str:
    reason, error = data.get("close_reason"), data.get("error") or {}
    message = error.get("message")
    ended = None
    if reason:
        ended = _joined(
            f"by {_spoken(reason)}",
            _after("at", data.get("exit_price")),
            f"PnL {_number(data.get('realised_pnl') or 0)}",
        )
    return _joined(
        data.get("side"),
        _number(data.get("filled_quantity") or 0),
        _after("at", data.get("entry_price")),
        f"{data['leverage']}x" if data.get("leverage") else None,
        data.get("status"),
        ended,
        f"({message})" if message else None,
    )


def _decision(data: Data) -> str:
    told = [f"{one.get('asset')} {_spoken(one.get('status'))}" for one in data.get("results") or ()]
    return f"{_spoken(data.get('status', 'ended'))}: {', '.join(told) or 'no asset'}"


def _halt(data: Data) -> str:
    how = "the service stopped entries by itself" if data.get("is_automatic") else "entries are stopped"
    return f"{how}{', and everything is closed' if data.get('flatten') else ''}: {data.get('reason', '')}"


def _position(data: Data) -> str:
    held = data.get("quantity") or "0"
    if held == "0":
        return f"nothing held any more ({_spoken(data.get('reason', 'unknown'))})"
    return _joined(
        f"{_number(held)} held",
        _after("at", data.get("entry_price")),
        f"unrealised PnL {_number(data.get('unrealised_pnl') or 0)}",
        f"({_spoken(data.get('reason', 'unknown'))})",
    )


def _reconciliation(data: Data) -> str:
    found = data.get("differences", 0)
    what = "no difference" if not found else "1 difference" if found == 1 else f"{found} differences"
    return f"{what} from the exchange, {data.get('positions', 0)} open there"


def _drift(data: Data) -> str:
    action = data.get("action")
    return f"{_spoken(data.get('kind', 'difference'))}: {data.get('detail', '')}" + (f"; {action}" if action else "")


def _webhook(data: Data) -> str:
    ticker = data.get("ticker")
    return f"an alert{f' for {ticker}' if ticker else ''} was refused with {data.get('code')}: {data.get('reason')}"


_SENTENCES: Mapping[EventType, Callable[[Data], str]] = {
    EventType.DECISION_RECEIVED: lambda data: f"on record, for {', '.join(data.get('assets') or ()) or 'no asset'}",
    EventType.DECISION_REJECTED: _decision,
    EventType.DECISION_COMPLETED: _decision,
    EventType.ORDER_PLACED: _order,
    EventType.ORDER_UPDATED: _order,
    EventType.ORDER_FILLED: _order,
    EventType.ORDER_REJECTED: _order,
    EventType.ORDER_CANCELED: _order,
    EventType.POSITION_UPDATED: _position,
    EventType.TRADE_OPENED: _trade,
    EventType.TRADE_PROTECTED: _trade,
    EventType.PROTECTION_FAILED: _trade,
    EventType.TRADE_CLOSED: _trade,
    EventType.EMERGENCY_CLOSE: _trade,
    EventType.RECONCILIATION_COMPLETED: _reconciliation,
    EventType.DRIFT_FOUND: _drift,
    EventType.ALERT_RAISED: lambda data: f"{data.get('severity', 'warning')}: {data.get('message', '')}",
    EventType.HALTED: _halt,
    EventType.RESUMED: lambda data: f"entries are accepted again; it was: {(data.get('was') or {}).get('reason', '')}",
    EventType.STREAM_CONNECTED: lambda data: (
        "the account stream is up" + ("; what it missed is being compared" if data.get("had_gap") else "")
    ),
    EventType.STREAM_LOST: lambda data: f"the account stream is down: {data.get('reason', 'unknown')}",
    EventType.WEBHOOK_REFUSED: _webhook,
}
