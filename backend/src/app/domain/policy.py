"""The operator's rules, as values that the pure code takes as parameters (contract, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.reports import MarginType, OrderType, WorkingType

HARD_MAXIMUM_LEVERAGE = 25
"""No configuration raises the leverage above this."""


class LeveragePolicy(StrEnum):
    """What to do with a decision that asks for too much leverage."""

    CAP = "cap"
    REJECT = "reject"


class AllocationBasis(StrEnum):
    """What ``allocation_usd`` means."""

    NOTIONAL = "notional"
    MARGIN = "margin"


class ExistingPositionPolicy(StrEnum):
    """What an entry does when the asset already has a position."""

    REJECT = "reject"
    ADD = "add"
    FLIP = "flip"


class ProtectionFailurePolicy(StrEnum):
    """What to do when a position can't be protected in time."""

    CLOSE = "close"
    ALERT = "alert"


class ForeignOrdersPolicy(StrEnum):
    """What to do when others' orders make the exchange refuse our reduce-only close."""

    PLAIN = "plain"
    CANCEL = "cancel"
    ALERT = "alert"


class ExternalPositionPolicy(StrEnum):
    """What to do with positions that the service did not open."""

    TRACK = "track"
    PROTECT = "protect"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPolicy:
    """Limits of an account. Money in quote units; None switches a limit off."""

    maximum_leverage: int = HARD_MAXIMUM_LEVERAGE
    leverage_policy: LeveragePolicy = LeveragePolicy.CAP
    default_leverage: int = 5
    cooldown_s: float = 300
    maximum_decision_age_s: float = 60
    require_stop_loss: bool = False
    allocation_basis: AllocationBasis = AllocationBasis.NOTIONAL
    on_existing_position: ExistingPositionPolicy = ExistingPositionPolicy.REJECT
    maximum_open_positions: int | None = None
    maximum_notional_per_asset: Decimal | None = None
    maximum_total_notional: Decimal | None = None
    maximum_daily_loss: Decimal | None = None
    maximum_price_deviation_bps: Decimal = Decimal(100)
    maximum_exit_distance_percent: Decimal = Decimal(50)
    margin_type: MarginType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionPolicy:
    """How exits are placed, and for how long it is tried.

    After the n-th failed placement (n from 0) the next one waits ``base_delay_s * 2**n * U(0.5, 1)`` seconds.
    ``maximum_attempts`` counts the first one; ``deadline_s`` runs from the first fill; whichever ends first.
    """

    working_type: WorkingType = WorkingType.MARK_PRICE
    take_profit_type: OrderType = OrderType.TAKE_PROFIT_MARKET
    stop_loss_type: OrderType = OrderType.STOP_MARKET
    limit_offset_bps: Decimal = Decimal(50)
    maximum_attempts: int = 6
    base_delay_s: float = 0.2
    deadline_s: float = 10
    on_failure: ProtectionFailurePolicy = ProtectionFailurePolicy.CLOSE
    foreign_orders: ForeignOrdersPolicy = ForeignOrdersPolicy.PLAIN
    on_take_profit_failure: ProtectionFailurePolicy = ProtectionFailurePolicy.ALERT
    """When every stop stands and the target can't be placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePolicy:
    """When the record is compared with the exchange, and what happens to others' positions."""

    interval_s: float = 30
    external_positions: ExternalPositionPolicy = ExternalPositionPolicy.TRACK
    external_stop_bps: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPolicy:
    """All rules of one account."""

    account_id: str
    is_paper: bool
    risk: RiskPolicy = RiskPolicy()
    protection: ProtectionPolicy = ProtectionPolicy()
    reconcile: ReconcilePolicy = ReconcilePolicy()
