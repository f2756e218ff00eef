"""A setting that changed while positions were being read is not undone by what was read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from app.domain.policy import RiskPolicy
from app.domain.reports import AccountConfigUpdate, MarginType, PositionReport, PositionSide
from app.services.execution.market import Market

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROW = PositionReport(
    symbol="BTCUSDT",
    position_side=PositionSide.BOTH,
    quantity=Decimal(0),
    entry_price=Decimal(0),
    mark_price=Decimal(0),
    unrealised_pnl=Decimal(0),
    liquidation_price=Decimal(0),
    leverage=5,
    margin_type=MarginType.CROSSED,
    isolated_margin=Decimal(0),
    maximum_notional=Decimal(0),
    updated_at=NOW,
)
HEDGED = AccountConfigUpdate(event_time=NOW, symbol=None, leverage=None, is_multi_asset=None, is_hedge_mode=True)


def test_rows_read_before_the_mode_changed_do_not_change_it_back() -> None:
    """L4, Z6: the stream was faster than the reply."""
    nothing: Any = None
    market = Market(nothing, nothing, RiskPolicy(), list, nothing)
    before = market.config_changes
    market.on_config(HEDGED)
    market.learn_positions([ROW], before)
    assert market.is_hedge_mode
    market.learn_positions([ROW], market.config_changes)
    assert not market.is_hedge_mode
