"""What every desk of an account shares, and the messages that a desk takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.days import DayResult
from app.domain.ids import IdSource
from app.domain.money import ZERO
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock, Randomness
from app.domain.trades import Trade, TradeStatus
from app.integrations.aster.client import AsterClient
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.evidence import Evidence
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.planning import EntryWish, MarketView
from app.services.execution.recording import Recording
from app.services.execution.risk import Blocks, RiskRefused
from app.services.execution.supervision import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskTools:
    """What every desk of an account shares."""

    policy: AccountPolicy
    client: AsterClient
    trades: TradeRepository
    market: Market
    evidence: Evidence
    narrator: Narrator
    ids: IdSource
    clock: Clock
    randomness: Randomness
    other_exposure: Callable[[str], dict[str, Decimal]]
    """Notional by asset of everything but the desk's own asset."""
    has_external_position: Callable[[str], bool]
    realised_today: Callable[[], DayResult | None]
    is_at_work: Callable[[EntryWish], bool]
    """Whether the asset's decision has not ended: else nothing more is done for it (scenario C9)."""
    is_flattened: Callable[[], bool]
    """Whether a halt is in force that has closed everything: what turns up is closed too."""
    recording: Recording
    on_change: Callable[[Trade], None]
    on_refused: Callable[[EntryWish, RiskRefused], None]
    gate: Callable[[], Blocks]
    stop_entries: Callable[[str], None]
    background: Supervisor


@dataclass(frozen=True, slots=True)
class Learn:
    """A fact about one trade."""

    trade_id: str
    fact: facts.Fact


@dataclass(frozen=True, slots=True)
class Enter:
    """A wish to open a position; ``is_durable`` is done when the decision itself is on record."""

    wish: EntryWish
    market: MarketView | None
    is_durable: Awaitable[object]


@dataclass(frozen=True, slots=True)
class Adjust:
    """A wish to change a position; the decision is on record.

    ``liquidation`` is the price at which the exchange would liquidate it, where the wish moves a stop.
    """

    wish: EntryWish
    market: MarketView | None
    liquidation: Decimal | None = None


Message = Learn | Enter | Adjust


def is_held(trade: Trade) -> bool:
    """Whether a trade holds something and is not on its way out."""
    is_in = trade.status in (TradeStatus.PROTECTING, TradeStatus.OPEN)
    return is_in and trade.exposure > ZERO and not trade.is_leaving
