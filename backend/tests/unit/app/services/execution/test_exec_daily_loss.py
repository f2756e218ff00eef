"""The day's result: what was realised in whatever asset, by the exchange's own prices (contract, section 9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from story import BITCOIN, START, Story, market

from app.domain.days import DayResult
from app.domain.errors import ErrorCode
from app.domain.policy import RiskPolicy
from app.domain.reports import IncomeReport
from app.services.execution.asset_values import AssetValues
from app.services.execution.daily_loss import DailyResult
from app.services.execution.risk import CheckFailed, Exposure, check_daily_loss

COIN_IN_U = replace(BITCOIN, symbol="BTCU", quote_asset="U", margin_asset="U")
PRICES = {"BTCUSDT": "96000", "BTCU": "100000", "BNBUSDT": "650", "USD1USDT": "0.5", "NEWUSDT": "0"}
LIMITED = RiskPolicy(maximum_daily_loss=Decimal(1000))


class Exchange:
    """The income history, the prices and the time."""

    def __init__(self) -> None:
        self.rows: list[IncomeReport] = []
        self.seconds = 0.0
        self.instruments = {one.symbol: one for one in (COIN_IN_U, BITCOIN)}
        self.instrument = self.instruments.get
        self.prices = SimpleNamespace(last_mark=self.last_mark)
        stand_in: Any = self
        self.daily = DailyResult(stand_in, stand_in, AssetValues(stand_in))

    def last_mark(self, symbol: str) -> Any:
        price = PRICES.get(symbol)
        return None if price is None else market(mark=Decimal(price)).mark

    async def income(self, since: datetime) -> list[IncomeReport]:
        return [row for row in self.rows if row.time >= since]

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def book(self, amount: str, asset: str, kind: str = "COMMISSION") -> None:
        self.rows.append(
            IncomeReport(
                symbol="BTCUSDT",
                kind=kind,
                amount=Decimal(amount),
                asset=asset,
                time=START,
                transfer_id=str(len(self.rows)),
                exchange_trade_id="",
            )
        )


@pytest.mark.parametrize(
    ("asset", "amount", "dollars"),
    [
        ("USDT", "-3", "-3"),
        ("BNB", "-0.01", "-6.50"),
        ("U", "-100", "-96.00"),  # BTC costs 100,000 of it and 96,000 USDT
        ("USD1", "-2", "-1.0"),  # what the exchange tells comes before the name
        ("USDC", "-2", "-2"),
        ("BTC", "0.001", "96.000"),
    ],
)
async def test_each_asset_counts_by_its_value_in_dollars(asset: str, amount: str, dollars: str) -> None:
    exchange = Exchange()
    exchange.book(amount, asset)
    exchange.book("5", "USDT", kind="TRANSFER")
    await exchange.daily.read()
    assert exchange.daily.realised == DayResult(Decimal(dollars))


@pytest.mark.parametrize("asset", ["NEW", "POINTS"])
async def test_of_what_has_no_price_a_loss_is_too_much_and_a_gain_is_nothing(asset: str) -> None:
    """On the safe side, and said: nobody knows how much it is."""
    exchange = Exchange()
    exchange.book("-0.00001", asset)
    exchange.book("50", "USDT", kind="REALIZED_PNL")
    await exchange.daily.read()
    with pytest.raises(CheckFailed) as caught:
        check_daily_loss(Exposure(notional_by_asset={}, realised_today=exchange.daily.realised), LIMITED, START)
    assert caught.value.refused.code is ErrorCode.DAILY_LOSS_LIMIT
    assert f"lost in {asset}" in caught.value.refused.message
    exchange.book("90", asset)
    await exchange.daily.read()
    assert exchange.daily.realised == DayResult(Decimal(50), {asset: Decimal("89.99999")})
    check_daily_loss(Exposure(notional_by_asset={}, realised_today=exchange.daily.realised), LIMITED, START)


async def test_executions_that_are_not_booked_yet_count_in_their_assets() -> None:
    exchange = Exchange()
    await exchange.daily.read()
    story = Story()
    fill = story.fill(story.entry, "0.010")
    paid = {"commission": Decimal("0.01"), "commission_asset": "BNB"}
    exchange.daily.learn_fill(replace(fill, symbol="BTCU", realised_pnl=Decimal(-100), **paid))
    assert exchange.daily.realised == DayResult(Decimal("-102.50"))
    exchange.daily.learn_fill(replace(fill, symbol="GONEUSDT", exchange_trade_id=99, realised_pnl=Decimal(-1)))
    assert exchange.daily.realised is not None
    assert exchange.daily.realised.unvalued_losses == [""]
