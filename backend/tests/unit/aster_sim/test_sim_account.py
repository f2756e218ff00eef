"""Positions, money and margin."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core import views
from aster_sim.core.account import Position
from aster_sim.core.brackets import bracket_at, brackets_for, maintenance_margin, max_notional
from aster_sim.core.errors import VenueError
from aster_sim.core.margin import summarise


def _wallet_by_history(account) -> Decimal:
    return sum((income.income for income in account.incomes), Decimal(0))


def _refused(code: int):
    return pytest.raises(VenueError, match=f"^{code} ")


def test_a_round_trip_realises_exactly_its_cash_flow():
    position = Position("X", "BOTH")
    for quantity, price in (("3", "0.07"), ("4", "0.11"), ("-2", "0.13"), ("-5", "0.05")):
        position.apply(Decimal(quantity), Decimal(price))
    cash = -3 * Decimal("0.07") - 4 * Decimal("0.11") + 2 * Decimal("0.13") + 5 * Decimal("0.05")
    assert (position.amount, position.cost, position.realised) == (Decimal(0), Decimal(0), cash)


def test_a_fill_beyond_flat_opens_the_other_side_at_its_own_price():
    position = Position("X", "BOTH")
    position.apply(Decimal(2), Decimal(100))
    assert position.apply(Decimal(-5), Decimal(110)) == Decimal(20)
    assert (position.amount, position.entry_price) == (Decimal(-3), Decimal(110))
    assert position.unrealised(Decimal(100)) == Decimal(30)


def test_wallet_is_deposit_plus_realised_minus_commission(bench):
    bench.market("BUY", "0.100")
    bench.jump("97000")
    bench.market("SELL", "0.040")
    bench.market("SELL", "0.060")
    trades = bench.account.trades["BTCUSDT"]
    realised = sum((trade.realised_pnl for trade in trades), Decimal(0))
    commission = sum((trade.commission for trade in trades), Decimal(0))
    assert realised > 90
    assert commission == sum((trade.quote * Decimal("0.0004") for trade in trades), Decimal(0))
    assert bench.account.wallet == Decimal(100000) + realised - commission == _wallet_by_history(bench.account)


def test_commission_comes_from_the_fee_asset_until_that_is_used_up(bench):
    bench.account.fee_asset, bench.account.fee_balance = "BNB", Decimal("0.007")
    bench.market("BUY", "0.100")
    bench.market("SELL", "0.100")
    first, second = bench.account.trades["BTCUSDT"]
    price = bench.venue.state.markets["BNBUSDT"].prices.mark
    assert first.commission_asset == "BNB"
    assert abs(first.commission - first.quote * Decimal("0.0004") / price) < Decimal("1e-7")
    assert (second.commission_asset, second.commission) == ("USDT", second.quote * Decimal("0.0004"))
    assert bench.account.fee_balance == Decimal("0.007") - first.commission
    assert bench.account.wallet == Decimal(100000) + second.realised_pnl - second.commission
    assert [row.asset for row in bench.account.incomes if row.income_type == "COMMISSION"] == ["BNB", "USDT"]


def test_reduce_only_needs_something_to_reduce(bench):
    params = {"side": "SELL", "quantity": "0.010", "reduceOnly": "true"}
    assert bench.code_of(**params, type="MARKET") == -2022
    assert bench.code_of(**params, type="STOP_MARKET", stopPrice="90000") == -2022
    bench.market("BUY", "0.010")
    assert bench.code_of(**{**params, "side": "BUY"}, type="MARKET") == -2022


def test_resting_exits_that_cover_the_position_block_a_further_close(bench):
    bench.market("BUY", "0.010")
    exit_order = bench.limit("SELL", "0.010", "97000", reduceOnly="true")
    assert bench.code_of(side="SELL", type="MARKET", quantity="0.010", reduceOnly="true") == -2022
    bench.venue.cancel(bench.account, "BTCUSDT", exit_order.order_id, None)
    bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true")
    assert bench.market("SELL", "0.010", reduceOnly="true").status == "FILLED"


def test_any_resting_order_on_its_side_blocks_a_reduce_only_close(bench):
    """Facts section 13: a limit that is not reduce-only counts as well; one on the other side, or a stop, does not."""
    bench.market("BUY", "0.010")
    close = {"side": "SELL", "type": "MARKET", "quantity": "0.010", "reduceOnly": "true"}
    bench.limit("BUY", "0.010", "95000")
    bench.stop("SELL", "94000", quantity="0.010")
    foreign = bench.limit("SELL", "0.009", "97000")
    assert bench.place(**close).status == "FILLED"
    bench.market("BUY", "0.010")
    bench.limit("SELL", "0.001", "97000")
    assert bench.code_of(**close) == -2022
    assert bench.code_of(**close | {"type": "LIMIT", "timeInForce": "IOC", "price": "96000"}) == -2022
    assert bench.stop("SELL", "93000", quantity="0.010", reduceOnly="true").open
    bench.venue.state.rules.only_closing_orders_cover = True
    assert bench.place(**close).status == "FILLED"
    assert foreign.open


def test_a_plain_market_order_closes_what_a_foreign_limit_covers(bench):
    bench.market("BUY", "0.010")
    bench.limit("SELL", "0.010", "97000")
    assert bench.market("SELL", "0.010").status == "FILLED"
    assert bench.amount() == 0


def test_in_hedge_mode_the_other_sides_orders_cover_nothing(bench):
    bench.venue.settings.set_dual_side(bench.account, dual_side=True)
    bench.market("BUY", "0.010", positionSide="LONG")
    bench.limit("SELL", "0.010", "97000", positionSide="SHORT")
    assert bench.market("SELL", "0.010", positionSide="LONG").status == "FILLED"


def test_a_reduce_only_order_is_cut_to_the_position(bench):
    bench.market("BUY", "0.010")
    order = bench.market("SELL", "0.500", reduceOnly="true")
    assert (order.status, order.executed, bench.amount()) == ("FILLED", Decimal("0.010"), Decimal(0))


def test_hedge_mode_keeps_two_positions_and_wants_a_position_side(bench):
    bench.venue.settings.set_dual_side(bench.account, dual_side=True)
    assert bench.code_of(side="BUY", type="MARKET", quantity="0.010") == -4061
    bench.market("BUY", "0.010", positionSide="LONG")
    bench.market("SELL", "0.020", positionSide="SHORT")
    assert (bench.amount(side="LONG"), bench.amount(side="SHORT")) == (Decimal("0.010"), Decimal("-0.020"))
    assert bench.code_of(side="BUY", type="MARKET", quantity="1", positionSide="LONG", reduceOnly="true") == -1106
    bench.market("SELL", "0.010", positionSide="LONG")
    assert bench.code_of(side="SELL", type="MARKET", quantity="0.010", positionSide="LONG") == -2022
    wrong = {"side": "BUY", "type": "STOP_MARKET", "stopPrice": "99000", "closePosition": "true"}
    assert bench.code_of(**wrong, positionSide="LONG") == -2022


def test_margin_bounds_what_can_be_opened_and_is_freed_by_closing(bench):
    assert bench.code_of(side="BUY", type="MARKET", quantity="25") == -2019
    bench.market("BUY", "20")
    assert bench.code_of(side="BUY", type="MARKET", quantity="1") == -2019
    assert bench.market("SELL", "20").status == "FILLED"


def test_flipping_needs_margin_for_the_new_side_only(bench):
    bench.market("BUY", "15")
    assert bench.market("SELL", "28").status == "FILLED"
    assert bench.amount() == Decimal(-13)


def test_resting_orders_bind_margin_until_they_end(bench):
    order = bench.limit("BUY", "10", "95000")
    bound = summarise(bench.account, bench.venue.state.markets)
    assert bound.order_initial == Decimal(47_500)
    assert bench.code_of(side="BUY", type="LIMIT", timeInForce="GTC", quantity="12", price="95000") == -2019
    bench.venue.cancel(bench.account, "BTCUSDT", order.order_id, None)
    assert summarise(bench.account, bench.venue.state.markets).available == Decimal(100_000)


def test_the_position_cap_of_the_leverage_holds(bench):
    rich = bench.venue.open_account("rich", Decimal(100_000_000))
    bench.venue.settings.set_leverage(rich, bench.venue.market("BTCUSDT"), 125)
    with _refused(-2027):
        bench.market("BUY", "2", rich)
    bench.venue.settings.set_leverage(rich, bench.venue.market("BTCUSDT"), 100)
    assert bench.market("BUY", "2", rich).status == "FILLED"
    with _refused(-2027):
        bench.venue.settings.set_leverage(rich, bench.venue.market("BTCUSDT"), 125)


def test_settings_refuse_what_the_exchange_refuses(bench):
    settings, market = bench.venue.settings, bench.venue.market("BTCUSDT")
    for leverage in (0, 126):
        with _refused(-4028):
            settings.set_leverage(bench.account, market, leverage)
    with _refused(-4046):
        settings.set_margin_type(bench.account, market, "CROSSED")
    with _refused(-4059):
        settings.set_dual_side(bench.account, dual_side=False)
    order = bench.limit("BUY", "0.010", "95000")
    with _refused(-4047):
        settings.set_margin_type(bench.account, market, "ISOLATED")
    with _refused(-4067):
        settings.set_dual_side(bench.account, dual_side=True)
    bench.venue.cancel(bench.account, "BTCUSDT", order.order_id, None)
    bench.market("BUY", "0.010")
    with _refused(-4048):
        settings.set_margin_type(bench.account, market, "ISOLATED")
    with _refused(-4068):
        settings.set_dual_side(bench.account, dual_side=True)


def test_lower_leverage_needs_its_margin(bench):
    bench.market("BUY", "15")
    with _refused(-2028):
        bench.venue.settings.set_leverage(bench.account, bench.venue.market("BTCUSDT"), 10)
    assert bench.account.leverage_of("BTCUSDT", 125) == 20


def test_isolated_leverage_is_not_cut_with_a_position(bench):
    market = bench.venue.market("BTCUSDT")
    bench.venue.settings.set_margin_type(bench.account, market, "ISOLATED")
    bench.market("BUY", "1")
    with _refused(-4161):
        bench.venue.settings.set_leverage(bench.account, market, 5)
    bench.market("SELL", "1")
    assert bench.account.position("BTCUSDT", "BOTH").isolated_wallet == 0


def test_maintenance_margin_has_no_steps_at_the_tier_floors():
    for base in ("BTC", "SOL", "ANYTHING"):
        table = brackets_for(base)
        for row in table[:-1]:
            below = maintenance_margin(table, row.cap)
            above = maintenance_margin(table, row.cap + Decimal("0.00001"))
            assert abs(above - below) < Decimal("0.0001")
        assert max_notional(table, table[0].max_leverage) == table[0].cap


def test_at_the_liquidation_price_margin_equals_maintenance(bench):
    bench.market("BUY", "15")
    markets = bench.venue.state.markets
    row = views.position_risk_rows(bench.account, markets, ["BTCUSDT"])[0]
    price = Decimal(row["liquidationPrice"])
    assert Decimal(80_000) < price < Decimal(96_000)
    position = bench.account.position("BTCUSDT", "BOTH")
    equity = bench.account.wallet + position.unrealised(price)
    tier = bracket_at(markets["BTCUSDT"].brackets, position.amount * Decimal(96_000))
    assert abs(equity - (position.amount * price * tier.maint_ratio - tier.cum)) < Decimal("0.00001")


def test_flat_rows_look_as_recorded(bench):
    row = views.position_risk_rows(bench.account, bench.venue.state.markets, ["BTCUSDT"])[0]
    recorded = {"positionAmt": "0.000", "entryPrice": "0.0", "markPrice": "0.00000000", "liquidationPrice": "0"}
    assert {key: row[key] for key in recorded} == recorded
