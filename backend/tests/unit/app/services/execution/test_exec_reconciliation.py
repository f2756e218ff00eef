"""Each difference between the record and the exchange has its name, and agreement has none."""

from __future__ import annotations

from decimal import Decimal

import pytest
from story import MARK, START, WHOLE, Story, submitted

from app.domain.money import ZERO
from app.domain.reports import ExchangeOrderStatus, MarginType, OrderReport, PositionReport, PositionSide
from app.domain.trades import Trade
from app.services.execution.reconciliation import DifferenceKind, ExchangeView, confirmed, differences

X, K = ExchangeOrderStatus, DifferenceKind


def position(quantity: str, symbol: str = "BTCUSDT", side: PositionSide = PositionSide.BOTH) -> PositionReport:
    return PositionReport(
        symbol=symbol,
        position_side=side,
        quantity=Decimal(quantity),
        entry_price=MARK,
        mark_price=MARK,
        unrealised_pnl=ZERO,
        liquidation_price=ZERO,
        leverage=10,
        margin_type=MarginType.CROSSED,
        isolated_margin=ZERO,
        maximum_notional=ZERO,
        updated_at=START,
    )


def view(*quantities: PositionReport, orders: tuple[OrderReport, ...] = ()) -> ExchangeView:
    return ExchangeView(positions=quantities, open_orders=orders, balances=())


def exits(story: Story) -> tuple[OrderReport, ...]:
    return story.report(story.stop), story.report(story.target)


def kinds(trades: list[Trade], exchange: ExchangeView) -> list[DifferenceKind]:
    return [difference.kind for difference in differences(trades, exchange)]


@pytest.mark.parametrize(("action", "sign"), [("buy", 1), ("sell", -1)])
def test_agreement_is_no_difference(action: str, sign: int) -> None:
    story = Story(submitted(action=action)).protect().book_entry()
    assert differences([story.trade], view(position(str(WHOLE * sign)), orders=exits(story))) == []


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ("0", [K.POSITION_GONE]),
        ("0.004", [K.POSITION_SMALLER]),
        ("0.025", [K.POSITION_LARGER]),
        ("-0.010", [K.POSITION_GONE, K.POSITION_EXTERNAL]),
    ],
)
def test_each_way_in_which_a_position_differs(held: str, found: list[DifferenceKind]) -> None:
    """Scenario H1; the reversed position belongs to the person."""
    story = Story().protect().book_entry()
    assert kinds([story.trade], view(position(held), orders=exits(story))) == found


def test_a_position_nobody_here_opened_is_external() -> None:
    """Scenario H2."""
    (difference,) = differences([], view(position("3", "ETHUSDT"), position("0", "SOLUSDT")))
    assert (difference.kind, difference.asset, difference.trade_id) == (K.POSITION_EXTERNAL, "ETHUSDT", None)
    assert "did not open" in difference.detail


def test_a_position_of_an_entry_on_its_way_is_not_external() -> None:
    """Scenario U10: what bears our mark is never foreign."""
    story = Story()
    story.lose(story.entry)
    assert differences([story.trade], view(position("0.010"))) == []


def test_hedge_mode_rows_are_told_apart() -> None:
    story = Story(submitted(position_side=PositionSide.LONG)).protect().book_entry()
    rows = (position("0.010", side=PositionSide.LONG), position("-0.5", side=PositionSide.SHORT))
    assert kinds([story.trade], view(*rows, orders=exits(story))) == [K.POSITION_EXTERNAL]


def test_an_exit_that_is_not_open_is_found() -> None:
    """Scenario P5."""
    story = Story().protect().book_entry()
    (difference,) = differences([story.trade], view(position("0.010"), orders=exits(story)[:1]))
    assert difference.kind is K.ORDER_NOT_OPEN
    assert difference.client_order_id == story.target.client_order_id


def test_an_open_order_recorded_otherwise_is_found() -> None:
    story = Story().fill_entry().book_entry()
    story.accept(story.stop)
    story.lose(story.target)
    (difference,) = differences([story.trade], view(position("0.010"), orders=exits(story)))
    assert difference.kind is K.ORDER_UNRECORDED
    assert "RESUBMITTING" in difference.detail


def test_an_order_of_ours_without_a_trade_is_an_orphan_and_foreign_ones_are_nobodys_business() -> None:
    """Scenarios O1, O2, H2."""
    story = Story().protect().book_entry()
    ours, _ = exits(story)
    foreign = [
        OrderReport(**{**{name: getattr(ours, name) for name in ours.__slots__}, "client_order_id": name})
        for name in ("web_1", "autoclose-1", "tes.something.else")
    ]
    (difference,) = differences([], view(orders=(ours, *foreign)))
    assert (difference.kind, difference.client_order_id) == (K.ORDER_ORPHANED, ours.client_order_id)


def test_only_what_both_comparisons_show_is_a_difference() -> None:
    """Trades go on while the exchange is read."""
    story = Story().protect().book_entry()
    early = differences([story.trade], view(position("0"), orders=exits(story)))
    late = differences([story.trade], view(position("0.004"), orders=()))
    assert confirmed(early, early) == early
    assert confirmed(early, late) == []
    assert confirmed(late, early) == []


def test_executions_that_nobody_described_are_missed() -> None:
    """H5, C1: their frames got lost in a crash; price and fee are the exchange's, so they are read."""
    story = Story().protect()
    (difference,) = differences([story.trade], view(position(str(WHOLE)), orders=exits(story)))
    assert (difference.kind, difference.trade_id) == (K.FILLS_MISSING, story.trade.id)


def test_a_difference_is_json() -> None:
    (difference,) = differences([], view(position("3", "ETHUSDT")))
    assert set(difference.as_dict()) == {"kind", "asset", "detail", "action", "trade_id", "client_order_id"}
