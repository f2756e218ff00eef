"""Which funding belongs to a trade: that of the full hours at which its position was held (scenario H5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.funding import funding_of, may_have_funding
from app.domain.reports import FillReport, IncomeReport, PositionSide, Side


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{clock}").replace(tzinfo=UTC)


def fills(*clocks: str) -> Sequence[FillReport]:
    return [
        FillReport(
            symbol="BTCUSDT",
            exchange_trade_id=number,
            order_id=number,
            client_order_id=None,
            side=Side.BUY,
            position_side=PositionSide.BOTH,
            price=Decimal(96_000),
            quantity=Decimal("0.010"),
            commission=Decimal("0.01"),
            commission_asset="USDT",
            realised_pnl=Decimal(0),
            is_maker=False,
            time=at(clock),
        )
        for number, clock in enumerate(clocks)
    ]


def row(clock: str) -> IncomeReport:
    return IncomeReport(
        symbol="BTCUSDT",
        kind="FUNDING_FEE",
        amount=Decimal(-1),
        asset="USDT",
        time=at(clock),
        transfer_id=clock,
        exchange_trade_id="",
    )


@pytest.mark.parametrize(
    ("held", "booked", "sum_"),
    [
        (("15:59:58", "16:00:02"), ("16:00:00",), -1),
        (("15:59:58", "16:00:02"), ("16:00:09",), -1),  # booked when it was over
        (("15:59:58", "18:30:00"), ("16:00:09", "17:00:01", "18:00:00.001"), -3),
        (("16:00:02", "17:00:01"), ("16:00:09", "17:00:05"), -1),  # the first is of whoever held it before
        (("15:30:00", "16:59:59"), ("15:00:09", "17:00:00"), 0),
    ],
)
def test_a_row_belongs_to_the_hour_before_it(held: Sequence[str], booked: Sequence[str], sum_: int) -> None:
    assert funding_of(fills(*held), [row(clock) for clock in booked]) == sum_


def test_without_a_full_hour_there_is_none_to_look_for() -> None:
    assert not may_have_funding(())
    assert not may_have_funding(fills("16:00:00", "16:59:59.999"))
    assert may_have_funding(fills("15:59:59.999", "16:00:00"))
