"""State and control as the API shows them: halts, readiness, reconciliations (contract, section 6)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.fields import UtcTime
from app.schemas.result import AssetResult


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class HaltDocument(_Document):
    """Why no entry is sent, and since when."""

    reason: str
    since: UtcTime
    is_automatic: bool = Field(description="whether the service stopped by itself")
    flatten: bool = Field(description="whether everything was closed as well")


class AccountState(_Document):
    """Whether an account takes decisions."""

    account_id: str
    is_ready: bool
    reasons: tuple[str, ...] = Field(description="why it is not ready")
    halt: HaltDocument | None = Field(description="null: entries are accepted")
    is_halt_recorded: bool = Field(
        default=True,
        description="only there when false: the halt holds for this process until the database takes the record",
        exclude_if=lambda value: value,
    )


class StatusDocument(_Document):
    """Mode, readiness, halts and the event log's head."""

    version: str
    venue: str = Field(description="paper, testnet or live")
    is_paper: bool
    is_ready: bool = Field(description="every account is ready")
    is_halted: bool = Field(description="any account is halted")
    last_seq: int = Field(description="seq of the newest event; 0 before the first")
    generation: str = Field(default="", description="which event log it is: a restored copy begins another")
    accounts: tuple[AccountState, ...]


class ClosedPosition(AssetResult):
    """What became of a close, and on which account."""

    account_id: str


class ResumedDocument(_Document):
    """The state of each account that was meant."""

    accounts: tuple[AccountState, ...]


class HaltedDocument(ResumedDocument):
    """The state of each account that was meant, and what became of the closes when everything was to be closed."""

    is_recorded: bool = Field(default=True, description="whether the halt holds over a restart")
    warning: str | None = Field(
        default=None, description="what that means when it does not", exclude_if=lambda value: value is None
    )
    closed: tuple[ClosedPosition, ...] = ()
    is_flat: bool | None = Field(default=None, description="with `flatten`: whether the exchange shows nothing of ours")
    left_open: tuple[str, ...] | None = Field(default=None, description="with `flatten`: what it still shows")
    external: tuple[str, ...] | None = Field(
        default=None, description="with `flatten`: the positions that the service did not open, which stay open"
    )


class DifferenceDocument(_Document):
    """A difference between the record and the exchange (`docs/reconciliation.md`)."""

    kind: str
    asset: str
    detail: str = Field(description="what differs")
    action: str = Field(description="what is done about it")
    trade_id: str | None
    client_order_id: str | None


class ReconciliationDocument(_Document):
    """What one comparison with the exchange found and did."""

    account_id: str
    started_at: UtcTime
    completed_at: UtcTime
    differences: tuple[DifferenceDocument, ...]
    positions: int = Field(description="open at the exchange")
    open_orders: int = Field(description="resting at the exchange")
