"""The projection: what the exchange last said, from bulk reads and the stream, whichever is newer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from story import MARK, START, Story, market, submitted

from app.domain.money import ZERO
from app.domain.reports import (
    AccountUpdate,
    BalanceReport,
    MarginType,
    PositionReport,
    PositionSide,
    StreamBalance,
    StreamPosition,
)
from app.services.execution.projection import Projection

ROW = PositionReport(
    symbol="BTCUSDT",
    position_side=PositionSide.BOTH,
    quantity=Decimal("0.010"),
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
MONEY = BalanceReport(
    asset="USDT",
    wallet_balance=Decimal(1000),
    cross_wallet_balance=Decimal(1000),
    available_balance=Decimal(900),
)


def streamed(quantity: str, after_s: float, symbol: str = "BTCUSDT", wallet: str = "990") -> AccountUpdate:
    position = StreamPosition(
        symbol=symbol,
        position_side=PositionSide.BOTH,
        quantity=Decimal(quantity),
        entry_price=MARK,
        unrealised_pnl=ZERO,
        margin_type=MarginType.CROSSED,
    )
    balance = StreamBalance(asset="USDT", wallet_balance=Decimal(wallet), cross_wallet_balance=Decimal(wallet))
    time = START + timedelta(seconds=after_s)
    return AccountUpdate(event_time=time, reason="ORDER", balances=(balance,), positions=(position,))


def read(*rows: PositionReport) -> Projection:
    projection = Projection()
    projection.replace_all(list(rows), [MONEY], START)
    return projection


def test_the_stream_moves_positions_and_balances_and_leaves_the_available_balance() -> None:
    """Scenario Z4: the stream carries no available balance."""
    projection = read(ROW)
    (changed,) = projection.apply(streamed("0.004", 1), START)
    assert changed.quantity == Decimal("0.004")
    (held,) = projection.held("BTCUSDT")
    assert (held.quantity, held.leverage) == (Decimal("0.004"), 10)
    balance = projection.balance("USDT")
    assert balance is not None
    assert (balance.wallet_balance, balance.available_balance) == (990, 900)


def test_an_update_that_changes_nothing_is_no_news() -> None:
    assert read(ROW).apply(streamed("0.010", 1), START) == []


def test_a_read_that_was_overtaken_by_the_stream_does_not_undo_it() -> None:
    """Scenario W4."""
    projection = read(ROW)
    projection.apply(streamed("0.004", 5), START)
    projection.replace_all([replace(ROW, updated_at=START + timedelta(seconds=3))], [MONEY], START)
    assert [row.quantity for row in projection.held("BTCUSDT")] == [Decimal("0.004")]
    projection.replace_all([replace(ROW, updated_at=START + timedelta(seconds=6))], [MONEY], START)
    assert [row.quantity for row in projection.held("BTCUSDT")] == [Decimal("0.010")]


def test_an_update_that_comes_late_does_not_undo_a_newer_one() -> None:
    """Scenario W4: two sockets overlap at a rotation, and a frame may be overtaken."""
    projection = read(ROW)
    projection.apply(streamed("0.004", 5), START)
    assert projection.apply(streamed("0.007", 4), START) == []
    assert [row.quantity for row in projection.held("BTCUSDT")] == [Decimal("0.004")]


def test_a_position_first_seen_on_the_stream_is_held_and_a_flat_one_is_not() -> None:
    projection = read()
    projection.apply(streamed("-2", 1, "ETHUSDT"), START)
    assert [row.symbol for row in projection.all_held()] == ["ETHUSDT"]
    projection.apply(streamed("0", 2, "ETHUSDT"), START)
    assert projection.all_held() == []


def test_the_view_tells_ours_from_others() -> None:
    """Scenario H2, and a reversal by hand: the new side is the person's."""
    story = Story().protect()
    projection = read(ROW, replace(ROW, symbol="ETHUSDT", quantity=Decimal(-2), entry_price=Decimal(100)))
    at_90 = market(mark=Decimal(90)).mark
    ours, foreign = projection.view(
        {"BTCUSDT": story.trade}, lambda symbol: at_90 if symbol == "ETHUSDT" else None
    ).items
    assert (ours.trade_id, ours.side.value, ours.unrealised_pnl) == (story.trade.id, "long", ZERO)
    assert (foreign.trade_id, foreign.side.value, foreign.quantity) == (None, "short", 2)
    assert (foreign.mark_price, foreign.unrealised_pnl) == (90, 20)
    short = Story(submitted(action="sell")).protect()
    (reversed_,) = read(ROW).view({"BTCUSDT": short.trade}, lambda _: None).items
    assert reversed_.trade_id is None


def test_a_position_opened_since_the_last_read_has_its_value() -> None:
    """Z7: the exchange shows no mark price of a flat position, and the limits count what is held."""
    projection = read(replace(ROW, symbol="ETHUSDT", quantity=ZERO, mark_price=ZERO, entry_price=ZERO))
    projection.apply(streamed("2", 1, "ETHUSDT"), START)
    assert projection.notional_beside("BTCUSDT", {}, lambda _: None) == {"ETHUSDT": 2 * MARK}
    at_90 = market(mark=Decimal(90)).mark
    assert projection.notional_beside("BTCUSDT", {}, lambda _: at_90) == {"ETHUSDT": 180}


def test_before_the_first_read_nothing_is_claimed() -> None:
    view = Projection().view({}, lambda _: None)
    assert (view.as_of, view.items) == (None, ())
