"""Commission: what executions cost, by asset; amounts in different assets are never added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.reports import FillReport


@dataclass(frozen=True, slots=True)
class Commission:
    """What was paid in one asset, in units of the asset; negative: received."""

    asset: str
    amount: Decimal


def commissions_of(fills: Iterable[FillReport]) -> tuple[Commission, ...]:
    """The commission of executions, by the names of the assets; where all of it is zero, one asset stands for it."""
    amounts: dict[str, Decimal] = {}
    for fill in fills:
        if fill.commission_asset or fill.commission:
            amounts[fill.commission_asset] = amounts.get(fill.commission_asset, ZERO) + fill.commission
    paid = {asset: amount for asset, amount in amounts.items() if amount} or dict(sorted(amounts.items())[:1])
    return tuple(Commission(asset, amount) for asset, amount in sorted(paid.items()))
