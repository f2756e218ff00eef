"""Commission as documents and events tell it: one amount with its asset, or where there are several, a list."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from app.domain.commissions import Commission
from app.domain.money import ZERO
from app.schemas.fields import Number


class CommissionDocument(BaseModel):
    """What was paid in one asset, in units of the asset; negative: received."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    asset: str
    amount: Number


class ToldCommission(NamedTuple):
    """The three fields that tell of commission (contract, section 9)."""

    commission: Decimal | None
    commission_asset: str | None
    commissions: tuple[CommissionDocument, ...]


def told(paid: Sequence[Commission]) -> ToldCommission:
    """``commission`` and ``commission_asset`` where it is one asset, ``commissions`` where there are several."""
    if len(paid) > 1:
        return ToldCommission(None, None, tuple(CommissionDocument.model_validate(one) for one in paid))
    if not paid:
        return ToldCommission(ZERO, None, ())
    return ToldCommission(paid[0].amount, paid[0].asset, ())
