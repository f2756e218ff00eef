"""What takers and makers get."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.errors import VenueError


def _bob(bench):
    return bench.venue.open_account("bob", Decimal(1_000_000))


def test_a_market_order_pays_the_best_offers_from_the_inside_out(bench):
    asks = bench.venue.market("BTCUSDT").depth(3, asks=True)
    order = bench.market("BUY", str(asks[0][1] + Decimal("0.001")))
    trades = bench.account.trades["BTCUSDT"]
    assert order.status == "FILLED"
    assert [(trade.price, trade.quantity) for trade in trades] == [asks[0], (asks[1][0], Decimal("0.001"))]


def test_a_market_order_beyond_the_book_ends_expired_with_its_executed_part(thin):
    order = thin.market("BUY", "100")
    assert order.status == "EXPIRED"
    assert Decimal(0) < order.executed < Decimal(100)
    assert thin.amount() == order.executed
    assert thin.story()[-1] == "EXPIRED/EXPIRED/MARKET"


def test_a_market_order_stops_at_the_take_bound(thin):
    bob = _bob(thin)
    far = thin.limit("SELL", "1", "98500", bob)
    order = thin.market("BUY", "100")
    assert order.status == "EXPIRED"
    assert far.executed == 0
    assert max(trade.price for trade in thin.account.trades["BTCUSDT"]) <= Decimal(96000) * Decimal("1.02")


def test_older_orders_fill_first_at_one_price(bench):
    bob = _bob(bench)
    first = bench.limit("SELL", "0.010", "96001", bob)
    second = bench.limit("SELL", "0.010", "96001", bob)
    bench.market("BUY", "0.015")
    assert (first.status, second.executed) == ("FILLED", Decimal("0.005"))
    assert bench.account.trades["BTCUSDT"][0].price == Decimal("96001.0")


def test_a_maker_is_told_of_its_fill_and_pays_no_commission(bench):
    bob = _bob(bench)
    bench.limit("SELL", "0.010", "96001", bob)
    bench.market("BUY", "0.010")
    trade = bob.trades["BTCUSDT"][0]
    assert trade.maker
    assert trade.commission == 0
    frames = [event.payload for event in bench.venue.take_events() if event.account == "bob"]
    assert [frame["e"] for frame in frames] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert "n" not in frames[-1]["o"]
    assert frames[-1]["o"]["m"] is True


def test_a_resting_order_fills_at_its_own_price_when_the_market_reaches_it(bench):
    order = bench.limit("BUY", "0.010", "95000")
    bench.jump("95100")
    assert order.executed == 0
    bench.jump("94000")
    assert order.status == "FILLED"
    assert bench.account.trades["BTCUSDT"][0].price == Decimal("95000.0")


def test_a_resting_order_fills_by_parts_when_the_crossed_depth_is_smaller(thin):
    order = thin.limit("BUY", "5", "95500")
    ask = thin.venue.market("BTCUSDT").depth(1, asks=True)[0][0]
    thin.jump(str(Decimal(95500) - (ask - Decimal(96000)) - 1))
    assert order.status == "PARTIALLY_FILLED"
    assert Decimal(0) < order.executed < Decimal(5)


def test_ioc_takes_what_there_is_and_expires(bench):
    ask, quantity = bench.venue.market("BTCUSDT").depth(1, asks=True)[0]
    order = bench.limit("BUY", str(quantity + 1), str(ask), timeInForce="IOC")
    assert (order.status, order.executed) == ("EXPIRED", quantity)


def test_fok_fills_whole_or_not_at_all(bench):
    ask, quantity = bench.venue.market("BTCUSDT").depth(1, asks=True)[0]
    refused = bench.limit("BUY", str(quantity + 1), str(ask), timeInForce="FOK")
    filled = bench.limit("BUY", str(quantity), str(ask), timeInForce="FOK")
    assert (refused.status, refused.executed) == ("EXPIRED", Decimal(0))
    assert filled.status == "FILLED"


def test_gtx_that_would_take_expires(bench):
    ask = bench.venue.market("BTCUSDT").depth(1, asks=True)[0][0]
    assert bench.limit("BUY", "0.010", str(ask), timeInForce="GTX").status == "EXPIRED"
    assert bench.limit("BUY", "0.010", "95900", timeInForce="GTX").status == "NEW"


def test_a_cancelled_order_is_gone_and_a_second_cancel_is_refused(bench):
    order = bench.limit("BUY", "0.010", "95000", newClientOrderId="mine")
    assert bench.venue.cancel(bench.account, "BTCUSDT", None, "mine").status == "CANCELED"
    with pytest.raises(VenueError) as refusal:
        bench.venue.cancel(bench.account, "BTCUSDT", order.order_id, None)
    assert refusal.value.code == -2011
    bench.jump("94000")
    assert order.executed == 0


def test_an_amended_order_keeps_its_ids_and_loses_its_priority(bench):
    bob = _bob(bench)
    first = bench.limit("SELL", "0.010", "96001", bob)
    second = bench.limit("SELL", "0.010", "96001", bob)
    bench.venue.amend(bob, "BTCUSDT", first.order_id, None, Decimal("0.020"), Decimal(96001))
    bench.market("BUY", "0.010")
    assert (first.executed, second.status) == (Decimal(0), "FILLED")
    assert first.quantity == Decimal("0.020")


def test_a_refused_amendment_leaves_the_order_as_it_was(bench):
    order = bench.limit("BUY", "0.010", "95000")
    for quantity, price, code in (("0.010", "95000.05", -1111), ("0.010", "99000", -4016), ("900", "95000", -2019)):
        with pytest.raises(VenueError) as refusal:
            bench.venue.amend(bench.account, "BTCUSDT", order.order_id, None, Decimal(quantity), Decimal(price))
        assert refusal.value.code == code
    assert (order.quantity, order.price, order.status) == (Decimal("0.010"), Decimal("95000.0"), "NEW")
    bench.jump("94000")
    assert order.status == "FILLED"


def test_an_amendment_that_crosses_takes(bench):
    order = bench.limit("BUY", "0.010", "95000")
    bench.events()
    bench.venue.amend(bench.account, "BTCUSDT", order.order_id, None, Decimal("0.010"), Decimal(96500))
    assert order.status == "FILLED"
    assert bench.story() == ["AMENDMENT/NEW/LIMIT", "ACCOUNT", "TRADE/FILLED/LIMIT"]


def test_unfilled_final_orders_are_forgotten_after_seven_days(bench):
    order = bench.limit("BUY", "0.010", "95000")
    bench.venue.cancel(bench.account, "BTCUSDT", order.order_id, None)
    filled = bench.market("BUY", "0.010")
    bench.now_us += 8 * 24 * 3600 * 1_000_000
    with pytest.raises(VenueError) as refusal:
        bench.venue.query(bench.account, "BTCUSDT", order.order_id, None)
    assert refusal.value.code == -2013
    assert bench.venue.query(bench.account, "BTCUSDT", filled.order_id, None) is filled
