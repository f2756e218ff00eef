"""``Explanation``: what a decision would do, if it were sent now. Nothing of it is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from app.domain.errors import ErrorCode
from app.schemas.decision import Action
from app.schemas.fields import Number


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    REFUSED = "refused"
    NOT_CHECKED = "not_checked"
    """There is nothing to check it against: an earlier check that it needs failed, or the exchange can't be read."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class CheckExplained(_Value):
    """One check with its numbers."""

    check: str
    verdict: Verdict
    message: str
    code: ErrorCode | None = None
    retry_after_seconds: float | None = None


class ExitExplained(_Value):
    """An exit: ``distance_bps`` from the mark price, ``result_usd`` what it would bring from there, before fees."""

    price: Number
    distance_bps: Number
    result_usd: Number


class PlanExplained(_Value):
    """What would be sent. ``position_quantity`` is what would be held afterwards; money in US dollars."""

    side: str
    quantity: Number
    notional: Number
    position_quantity: Number
    mark_price: Number
    leverage: int
    requested_leverage: int | None = None
    margin: Number | None = None
    fees: Number | None = None
    expected_price: Number | None = None
    liquidation_price: Number | None = None
    take_profit: ExitExplained | None = None
    stop_loss: ExitExplained | None = None


class AssetExplained(_Value):
    """One asset: ``verdict`` is that of the first check that refuses."""

    asset: str
    action: Action | None
    would: str
    verdict: Verdict
    plan: PlanExplained | None = None
    notes: tuple[str, ...] = ()
    checks: tuple[CheckExplained, ...] = ()


class Explanation(_Value):
    """A whole decision, explained; assets in the order in which they would be carried out."""

    dry_run: bool = True
    account_id: str
    is_paper: bool
    is_ready: bool
    reasons: tuple[str, ...]
    halt: dict[str, Any] | None
    assets: tuple[AssetExplained, ...]
