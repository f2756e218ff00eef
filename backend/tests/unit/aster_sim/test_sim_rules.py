"""Priority, self-trade prevention, hidden orders, limits on orders, and what sources disagree about."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.errors import VenueError
from aster_sim.core.open_interest import openable


@pytest.fixture
def bob(bench):
    return bench.venue.open_account("bob", Decimal(100_000))


def _inside(bench) -> str:
    """A price between best bid and best ask of the synthetic book."""
    return str(bench.venue.market("BTCUSDT").prices.mark)


def _fills(account) -> list[tuple[int, Decimal]]:
    return [(trade.order_id, trade.quantity) for trade in account.trades.get("BTCUSDT", [])]


def test_clients_trade_with_each_other_by_price_then_time(bench, bob):
    carol = bench.venue.open_account("carol", Decimal(100_000))
    dave = bench.venue.open_account("dave", Decimal(100_000))
    first = bench.limit("SELL", "0.010", "96000.1", bob)
    second = bench.limit("SELL", "0.010", "96000.1", carol)
    better = bench.limit("SELL", "0.010", "96000.0", dave)
    taker = bench.market("BUY", "0.025")
    assert [better.status, first.status, second.status] == ["FILLED", "FILLED", "PARTIALLY_FILLED"]
    assert second.executed == Decimal("0.005")
    assert taker.average_price(1) == Decimal("96000.06000")
    assert {trade.maker for rows in (bob, carol, dave) for trade in rows.trades["BTCUSDT"]} == {True}


@pytest.mark.parametrize(
    ("quantity", "price", "keeps"),
    [("0.005", "96000.1", True), ("0.020", "96000.1", False), ("0.010", "96000.0", False)],
)
def test_an_amended_order_keeps_its_place_only_when_it_shrinks(bench, bob, quantity, price, keeps):
    carol = bench.venue.open_account("carol", Decimal(100_000))
    order = bench.limit("SELL", "0.010", "96000.1", bob)
    rival = bench.limit("SELL", "0.010", price, carol)
    bench.venue.amend(bob, "BTCUSDT", order.order_id, None, Decimal(quantity), Decimal(price))
    bench.market("BUY", "0.004")
    assert (order.executed, rival.executed) == ((Decimal("0.004"), 0) if keeps else (0, Decimal("0.004")))


def test_a_refused_amendment_changes_nothing_not_even_the_place(bench, bob):
    carol = bench.venue.open_account("carol", Decimal(100_000))
    order = bench.limit("SELL", "0.010", "96000.1", bob, timeInForce="GTX")
    bench.limit("SELL", "0.010", "96000.1", carol)
    with pytest.raises(VenueError, match=r"^-5022 "):
        bench.venue.amend(bob, "BTCUSDT", order.order_id, None, Decimal("0.010"), Decimal("95900.0"))
    bench.market("BUY", "0.004")
    assert order.executed == Decimal("0.004")


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
    ],
)
@pytest.mark.parametrize("by_account", [True, False])
def test_orders_of_one_account_never_trade_with_each_other(bench, mode, maker, taker, by_account):
    resting = bench.limit("SELL", "0.010", _inside(bench))
    if by_account:
        bench.venue.settings.set_stp_mode(bench.account, mode)
    order = bench.market("BUY", "0.010", **({} if by_account else {"stpMode": mode}))
    assert (resting.status, order.status) == (maker, taker)
    assert resting.executed == 0
    assert (order.executed > 0) == (taker == "FILLED")


def test_an_unknown_stp_mode_is_refused(bench):
    assert bench.code_of(side="BUY", type="MARKET", quantity="0.010", stpMode="NONE") == -1130
    with pytest.raises(VenueError, match=r"^-1130 "):
        bench.venue.settings.set_stp_mode(bench.account, "NONE")


def test_a_hidden_order_is_traded_but_never_shown_and_comes_after_the_visible(bench, bob):
    market, price = bench.venue.market("BTCUSDT"), _inside(bench)
    ask = market.best(asks=True)
    hidden = bench.limit("SELL", "0.010", price, bob, timeInForce="HIDDEN")
    assert market.best(asks=True) == ask
    assert all(level != Decimal(price) for level, _ in market.depth(20, asks=True))
    visible = bench.limit("SELL", "0.010", price, bob)
    bench.market("BUY", "0.015")
    assert (visible.status, hidden.executed) == ("FILLED", Decimal("0.005"))


def test_a_post_only_order_is_stopped_by_a_hidden_one_too(bench, bob):
    bench.limit("SELL", "0.010", _inside(bench), bob, timeInForce="HIDDEN")
    assert bench.limit("BUY", "0.010", _inside(bench), timeInForce="GTX").status == "EXPIRED"


def test_unfillable_orders_expire_or_are_refused_as_the_rules_say(bench):
    params = {"side": "BUY", "type": "LIMIT", "quantity": "0.010"}
    assert bench.place(**params, timeInForce="FOK", price="95000").status == "EXPIRED"
    assert bench.place(**params, timeInForce="GTX", price="96500").status == "EXPIRED"
    bench.venue.state.rules.refuse_unfillable = True
    assert bench.code_of(**params, timeInForce="FOK", price="95000") == -5021
    assert bench.code_of(**params, timeInForce="GTX", price="96500") == -5022
    assert bench.place(**params, timeInForce="FOK", price="96500").status == "FILLED"


def test_the_eleventh_conditional_order_of_a_symbol_is_refused(bench):
    for number in range(10):
        bench.stop("SELL", str(90_000 + number), quantity="0.001")
    assert bench.code_of(side="SELL", type="STOP_MARKET", stopPrice="89000", quantity="0.001") == -4045
    assert bench.limit("BUY", "0.001", "95000").open


def test_conditional_orders_count_among_the_open_orders(bench):
    for number in range(10):
        bench.stop("SELL", str(90_000 + number), quantity="0.001")
    for number in range(190):
        bench.limit("BUY", "0.001", str(95_000 + number))
    assert bench.code_of(side="BUY", type="LIMIT", timeInForce="GTC", price="94999", quantity="0.001") == -2025


def test_a_full_manual_close_ends_bound_orders_before_it_begins(bench):
    bench.market("BUY", "0.010")
    bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true", timeInForce="GTE_GTC")
    bench.events()
    bench.market("SELL", "0.010", reduceOnly="true")
    assert bench.story() == ["EXPIRED/EXPIRED/STOP_MARKET", "NEW/NEW/MARKET", "ACCOUNT", "TRADE/FILLED/MARKET"]


def test_a_partial_manual_close_leaves_bound_orders_alone(bench):
    bench.market("BUY", "0.010")
    stop = bench.stop("SELL", "94000", quantity="0.010", reduceOnly="true", timeInForce="GTE_GTC")
    bench.market("SELL", "0.004", reduceOnly="true")
    assert stop.open


def test_a_trailing_stop_without_activation_starts_at_the_price_of_its_placement(bench):
    bench.market("BUY", "0.010")
    order = bench.place(
        side="SELL", type="TRAILING_STOP_MARKET", quantity="0.010", callbackRate="1", workingType="MARK_PRICE"
    )
    assert order.activation_price == Decimal(96_000)
    bench.jump("95039")
    assert order.status == "FILLED"


def test_a_trailing_stop_fires_at_its_turn_in_a_gliding_market(bench):
    bench.market("BUY", "0.010")
    order = bench.place(
        side="SELL", type="TRAILING_STOP_MARKET", quantity="0.010", callbackRate="1", workingType="MARK_PRICE"
    )
    bench.venue.glide("BTCUSDT", Decimal(98_000))
    bench.venue.glide("BTCUSDT", Decimal(90_000))
    assert Decimal(96_980) < order.cum_quote / order.executed <= Decimal(97_020)


# -- orders for retail, pegs, caps ------------------------------------------------------------------


def _by_hand(bench, account, side: str, quantity: str):
    order = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": quantity}
    return bench.venue.place(account, order, retail=True)


def test_an_rpi_order_trades_with_people_and_never_with_clients(bench, bob):
    inside = _inside(bench)
    order = bench.limit("SELL", "0.010", inside, bob, timeInForce="RPI")
    assert bench.market("BUY", "0.010").average_price(1) > Decimal(inside)
    assert order.executed == 0
    assert _by_hand(bench, bench.account, "BUY", "0.004").average_price(1) == Decimal(inside)
    assert order.executed == Decimal("0.004")


def test_an_rpi_order_is_not_in_the_public_book_and_comes_last_at_its_price(bench, bob):
    inside, carol = _inside(bench), bench.venue.open_account("carol", Decimal(100_000))
    before = bench.venue.market("BTCUSDT").depth(5, asks=True)
    retail = bench.limit("SELL", "0.010", inside, bob, timeInForce="RPI")
    assert bench.venue.market("BTCUSDT").depth(5, asks=True) == before
    later = bench.limit("SELL", "0.010", inside, carol)
    _by_hand(bench, bench.account, "BUY", "0.010")
    assert (later.status, retail.executed) == ("FILLED", 0)


def test_an_rpi_order_that_would_take_expires(bench):
    assert bench.limit("BUY", "0.010", "97000", timeInForce="RPI").status == "EXPIRED"


def test_an_rpi_order_is_filled_when_the_market_crosses_it(bench):
    order = bench.limit("BUY", "0.010", "95000", timeInForce="RPI")
    bench.jump("94000")
    assert order.status == "FILLED"


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_pegged_order_takes_its_price_from_the_book(bench, side):
    market = bench.venue.market("BTCUSDT")
    own, other = market.best(asks=side == "SELL")[0], market.best(asks=side == "BUY")[0]
    rows = {"side": side, "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
    behind = "-5.0" if side == "BUY" else "5.0"
    queued = bench.place(**rows, pegPriceType="QUEUE_1", pegOffset=behind)
    assert (queued.price, queued.status) == (own + Decimal(behind), "NEW")
    assert bench.place(**rows, pegPriceType="COUNTERPARTY_1").average_price(1) == other


def test_a_pegged_price_does_not_follow_the_book(bench):
    order = bench.place(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", pegPriceType="QUEUE_1")
    before = order.price
    bench.jump("96500")
    assert order.price == before


def test_a_pegged_price_obeys_the_filters(bench):
    rows = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "pegPriceType": "QUEUE_1"}
    assert bench.code_of(**rows, pegOffset="0.05") == -1111
    assert bench.code_of(**rows, pegOffset="9000") == -4016


def test_only_limit_orders_are_pegged(bench):
    assert bench.code_of(side="BUY", type="MARKET", quantity="0.010", pegPriceType="QUEUE_1") == -1106


def test_a_cap_on_open_interest_refuses_what_opens_beyond_it(bench, bob):
    market = bench.venue.market("BTCUSDT")
    bench.market("BUY", "0.500", bob)
    market.interest_cap = Decimal(60_000)
    assert openable(bench.venue.state, market, 20) == Decimal(60_000) - Decimal("0.500") * market.prices.mark
    assert bench.code_of(side="BUY", type="MARKET", quantity="0.200") == -5018
    assert bench.market("BUY", "0.100").status == "FILLED"
    assert bench.market("SELL", "0.100").status == "FILLED"


def test_leverage_cannot_be_raised_when_the_cap_is_reached(bench):
    market, settings = bench.venue.market("BTCUSDT"), bench.venue.settings
    bench.market("BUY", "0.500")
    market.interest_cap = Decimal(40_000)
    with pytest.raises(VenueError, match=r"^-5018 "):
        settings.set_leverage(bench.account, market, 50)
    settings.set_leverage(bench.account, market, 10)
    assert openable(bench.venue.state, market, 10) == 0
