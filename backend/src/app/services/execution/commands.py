"""What a trade can ask for. Commands are idempotent wishes: the desk runs each one at most once at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.orders import Order
from app.domain.reports import Side


class Severity(StrEnum):
    """How loud an alert is."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Send:
    """Send this order; its state already says so."""

    order: Order


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel this order of ours."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class Query:
    """Read this order from the exchange; ``delay_s`` gives a burst of stream events time to complete."""

    client_order_id: str
    delay_s: float = 0


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find out by evidence what became of this order."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class CheckPosition:
    """Read the position, then all unfinished orders of the trade."""


@dataclass(frozen=True, slots=True)
class ReadBook:
    """Read the order book and the mark price, for an exit that a market order can't make (scenario O5).

    With ``rules`` the exchange's rules too, for an exit that its filters refused (scenario H8).
    """

    rules: bool = False


@dataclass(frozen=True, slots=True)
class ReadCover:
    """Read the position and the others' orders that cover it, for one of ours on ``side`` refused with -2022 (O8)."""

    side: Side


@dataclass(frozen=True, slots=True)
class CompareTrails:
    """Find out whether a new trailing stop has followed the price as far as the old one (P15)."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Account:
    """Fetch every execution and the funding from the exchange."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tick the trade at that time."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell a human. ``code`` is constant; the message says what happened and what to do."""

    severity: Severity
    code: str
    message: str


def late_fill(asset: str, client_order_id: str | None) -> Alert:
    """An order that was given up has been executed after all (scenario U10)."""
    text = f"{asset}: a fill of {client_order_id} turned up after it was given up; it is looked after"
    return Alert(Severity.CRITICAL, "late_fill", text)


@dataclass(frozen=True, slots=True)
class CancelForeign:
    """Cancel the orders of others that cover the position: the operator chose that. ``alert`` names them."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class StopEntries:
    """No more entries on the account until an operator resumes (scenario P9)."""

    reason: str


Command = (
    Send
    | Cancel
    | Query
    | Resolve
    | CheckPosition
    | ReadBook
    | ReadCover
    | CompareTrails
    | CancelForeign
    | Account
    | WakeAt
    | Alert
    | StopEntries
)
