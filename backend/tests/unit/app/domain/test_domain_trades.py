"""The life of a trade: its table, and what follows from its facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.commissions import Commission, commissions_of
from app.domain.errors import IllegalTransition
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState
from app.domain.reports import FillReport, OrderRequest, OrderType, PositionSide, Side
from app.domain.trades import ENDED, TRADE_TABLE, Trade, TradeSide, TradeStatus, TradeTrigger, next_trade_status

S, T = TradeStatus, TradeTrigger
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TRADE_ID = "06ex5tn9g0000000abcd"

LEGAL = {
    (S.PENDING, T.SUBMIT): S.ENTERING,
    (S.PENDING, T.ENTRY_NOT_SENT): S.REJECTED,
    (S.PENDING, T.EXPOSED): S.PROTECTING,
    (S.ENTERING, T.EXPOSED): S.PROTECTING,
    (S.ENTERING, T.ENTRY_REFUSED): S.FAILED,
    (S.ENTERING, T.ENTRY_NOT_SENT): S.REJECTED,
    (S.PROTECTING, T.EXPOSED): S.PROTECTING,
    (S.PROTECTING, T.SECURED): S.OPEN,
    (S.PROTECTING, T.LAID_BARE): S.PROTECTING,
    (S.PROTECTING, T.CLOSE): S.CLOSING,
    (S.OPEN, T.EXPOSED): S.OPEN,
    (S.OPEN, T.SECURED): S.OPEN,
    (S.OPEN, T.LAID_BARE): S.PROTECTING,
    (S.OPEN, T.CLOSE): S.CLOSING,
    (S.CLOSING, T.EXPOSED): S.CLOSING,
    (S.CLOSING, T.CLOSE): S.CLOSING,
    (S.CLOSING, T.SETTLED): S.CLOSED,
    (S.CLOSING, T.ENTRY_REFUSED): S.FAILED,
    (S.CLOSED, T.EXPOSED): S.CLOSING,
    (S.REJECTED, T.EXPOSED): S.PROTECTING,
    (S.FAILED, T.EXPOSED): S.PROTECTING,
}


def order(role: OrderRole, attempt: int = 1, executed: str = "0", number: int | None = None) -> Order:
    key = ClientOrderId(TRADE_ID, role, attempt)
    side = Side.SELL if role.is_exit else Side.BUY
    request = OrderRequest(
        symbol="BTCUSDT", side=side, type=OrderType.MARKET, client_order_id=str(key), quantity=Decimal(10)
    )
    return Order(key=key, request=request, executed_quantity=Decimal(executed), exchange_order_id=number)


def fill(number: int, order_id: int, quantity: str, price: str = "100", **changes: object) -> FillReport:
    values: dict[str, object] = {
        "symbol": "BTCUSDT",
        "exchange_trade_id": number,
        "order_id": order_id,
        "client_order_id": None,
        "side": Side.BUY,
        "position_side": PositionSide.BOTH,
        "price": Decimal(price),
        "quantity": Decimal(quantity),
        "commission": Decimal("0.04"),
        "commission_asset": "USDT",
        "realised_pnl": Decimal(2),
        "is_maker": False,
        "time": NOON,
    }
    return FillReport(**(values | changes))  # type: ignore[arg-type]  # a test's short-hand


def trade(*orders: Order, fills: tuple[FillReport, ...] = (), reduced: str = "0") -> Trade:
    return Trade(
        id=TRADE_ID,
        account_id="default",
        decision_id="d-1",
        asset="BTCUSDT",
        side=TradeSide.LONG,
        quantity=Decimal(10),
        leverage=5,
        requested_leverage=None,
        reference_price=Decimal(100),
        received_at=NOON,
        created_at=NOON,
        orders=orders,
        fills=fills,
        externally_reduced=Decimal(reduced),
    )


@pytest.mark.parametrize("trigger", TradeTrigger)
@pytest.mark.parametrize("status", TradeStatus)
def test_each_pair_is_decided(status: TradeStatus, trigger: TradeTrigger) -> None:
    wanted = LEGAL.get((status, trigger))
    if wanted is None:
        with pytest.raises(IllegalTransition, match=rf"{status.value}.*{trigger.value}"):
            next_trade_status(status, trigger)
    else:
        assert next_trade_status(status, trigger) is wanted


def test_every_status_has_its_row() -> None:
    assert set(TRADE_TABLE) == set(TradeStatus)


@pytest.mark.parametrize("status", sorted(ENDED))
def test_only_an_exposure_reopens_what_is_over(status: TradeStatus) -> None:
    """Scenario U10: and then it is taken care of, never left."""
    assert set(TRADE_TABLE[status]) == {T.EXPOSED}
    assert TRADE_TABLE[status][T.EXPOSED] in (S.PROTECTING, S.CLOSING)


def test_nothing_but_closing_leads_to_closed() -> None:
    assert {status for (status, _), after in LEGAL.items() if after is S.CLOSED} == {S.CLOSING}


@pytest.mark.parametrize(("side", "entry", "exit_", "sign"), [("long", "BUY", "SELL", 1), ("short", "SELL", "BUY", -1)])
def test_sides(side: str, entry: str, exit_: str, sign: int) -> None:
    known = TradeSide(side)
    assert (known.entry_side, known.exit_side, known.sign) == (entry, exit_, sign)


def test_executed_is_the_larger_of_the_report_and_the_fills() -> None:
    """Scenario W4: whichever source is ahead."""
    entry = order(OrderRole.ENTRY, executed="4", number=1)
    assert trade(entry).entered_quantity == 4
    assert trade(entry, fills=(fill(1, 1, "3"), fill(2, 1, "3"))).entered_quantity == 6
    assert trade(entry, fills=(fill(1, 1, "3"), fill(2, 9, "30"))).entered_quantity == 4


def test_exposure_counts_every_exit_and_what_others_took() -> None:
    orders = (
        order(OrderRole.ENTRY, executed="10", number=1),
        order(OrderRole.STOP_LOSS, 1, "2", 2),
        order(OrderRole.STOP_LOSS, 2, "1", 3),
        order(OrderRole.CLOSE, 1, "3", 4),
    )
    assert trade(*orders, reduced="1.5").exposure == Decimal("2.5")
    assert trade(*orders, reduced="9").exposure == ZERO


@given(st.lists(st.tuples(st.decimals(1, 1000, places=3), st.decimals(1, 100_000, places=2)), min_size=1, max_size=8))
def test_the_entry_price_is_the_volume_weighted_average_and_lies_between_its_fills(
    parts: list[tuple[Decimal, Decimal]],
) -> None:
    fills = tuple(fill(n, 1, str(quantity), str(price)) for n, (quantity, price) in enumerate(parts))
    price = trade(order(OrderRole.ENTRY, number=1), fills=fills).entry_price
    assert price is not None
    prices = [price for _, price in parts]
    assert min(prices) - Decimal("1e-20") <= price <= max(prices) + Decimal("1e-20")


def test_the_exchanges_average_speaks_until_every_fill_is_known() -> None:
    entry = replace(order(OrderRole.ENTRY, executed="10", number=1), average_price=Decimal(101))
    assert trade(entry, fills=(fill(1, 1, "4", "99"),)).entry_price == 101
    assert trade(entry, fills=(fill(1, 1, "4", "99"), fill(2, 1, "6", "104"))).entry_price == 102
    assert trade(order(OrderRole.ENTRY, number=1)).entry_price is None


def test_the_exit_price_counts_what_others_reduced() -> None:
    entry = order(OrderRole.ENTRY, executed="10", number=1)
    fills = (fill(1, 1, "10", "100"), fill(2, 2, "5", "110"), fill(3, 77, "5", "120"))
    known = trade(entry, order(OrderRole.STOP_LOSS, number=2), fills=fills)
    assert known.exit_price == 115
    assert trade(entry, fills=fills[:1]).exit_price is None


def test_money_is_the_sum_of_the_exchanges_bookings() -> None:
    """Scenario H5: never computed from our own prices."""
    entry = order(OrderRole.ENTRY, executed="10", number=1)
    unbooked = fill(1, 1, "4", commission=ZERO, commission_asset="")
    known = trade(entry, fills=(unbooked, fill(2, 1, "6"), fill(3, 9, "10")))
    assert (known.realised_pnl, commissions_of(known.fills)) == (6, (Commission("USDT", Decimal("0.08")),))
    assert commissions_of(trade(entry).fills) == ()


def test_commission_is_summed_by_asset() -> None:
    """Amounts in different assets are never added up, and what cost nothing is not told beside what did."""
    mixed = (fill(1, 1, "4"), fill(2, 1, "6", commission=Decimal("0.5"), commission_asset="ASTER"), fill(3, 9, "10"))
    paid = commissions_of((*mixed, fill(4, 9, "1", commission=ZERO, commission_asset="BNB")))
    assert paid == (Commission("ASTER", Decimal("0.5")), Commission("USDT", Decimal("0.08")))
    free = (fill(1, 1, "4", commission=ZERO), fill(2, 1, "4", commission=ZERO, commission_asset="BNB"))
    assert commissions_of(free) == (Commission("BNB", ZERO),)


@pytest.mark.parametrize("state", OrderState)
def test_unknown_placements_are_those_whose_fate_nobody_knows(state: OrderState) -> None:
    known = trade(order(OrderRole.ENTRY), replace(order(OrderRole.STOP_LOSS), state=state))
    assert known.has_unknown_order is (state in (OrderState.UNKNOWN, OrderState.RESUBMITTING))


def test_an_order_takes_the_place_of_the_one_with_its_id_or_comes_last() -> None:
    known = trade(order(OrderRole.ENTRY), order(OrderRole.STOP_LOSS))
    known = known.with_order(order(OrderRole.STOP_LOSS, 2)).with_order(order(OrderRole.ENTRY, executed="3"))
    assert [str(one.key)[-2:] for one in known.orders] == ["e1", "s1", "s2"]
    assert known.entry.executed_quantity == 3
    latest = known.latest(OrderRole.STOP_LOSS)
    assert latest is not None
    assert latest.key.attempt == 2
    assert known.latest(OrderRole.CLOSE) is None
