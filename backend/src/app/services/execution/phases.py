"""Phases of a decision: what takes risk away goes before what adds it (contract, section 4). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from app.domain.errors import ErrorCode
from app.domain.trades import AdjustmentKind
from app.schemas.decision import Action, AssetDecision, TradingDecision, UnreadableDecision
from app.services.execution.planning import adjustment_kind
from app.services.execution.risk import RiskRefused


class Phase(Enum):
    """In the order in which they are begun."""

    REDUCTIONS = auto()
    """Closes and decreases; holds, which do nothing."""
    EXITS = auto()
    """Take profit and stop loss are moved or dropped."""
    ENTRIES = auto()
    """Entries and increases."""


def phase_of(item: AssetDecision) -> Phase:
    """When an asset's decision is carried out."""
    match item.action:
        case Action.HOLD | Action.CLOSE_POSITION:
            return Phase.REDUCTIONS
        case Action.BUY | Action.SELL:
            return Phase.ENTRIES
        case Action.ADJUST_POSITION | Action.ADJUST_ORDERS:
            return _PHASE_OF_KIND[adjustment_kind(item)]


def beside_unreadable(unreadable: Iterable[UnreadableDecision]) -> RiskRefused:
    """Nothing that adds risk is sent beside an asset's decision that could not be read."""
    named = ", ".join(one.asset for one in unreadable)
    text = (
        f"the decision on {named} beside it could not be read, so nothing that adds risk was sent; correct it, and "
        "send a new decision"
    )
    return RiskRefused(code=ErrorCode.VALIDATION_ERROR, message=text)


def only_reduces(item: AssetDecision) -> bool:
    """Whether it can only take risk away: a close, a decrease, moved exits."""
    return item.action is not Action.HOLD and phase_of(item) is not Phase.ENTRIES


def decision_reduces(decision: TradingDecision) -> bool:
    """Whether a decision takes risk away, whatever else it does."""
    return any(only_reduces(item) for item in decision.decisions)


_PHASE_OF_KIND = {
    AdjustmentKind.DECREASE: Phase.REDUCTIONS,
    AdjustmentKind.EXITS: Phase.EXITS,
    AdjustmentKind.INCREASE: Phase.ENTRIES,
}
