"""ccxt trades on the venue: what it parses is asserted, not only that it does not fail."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from aster_sim.server import RunningVenue
from support.ccxt_settings import settings

pytestmark = pytest.mark.long

BTC = "BTC/USDT:USDT"


async def bought(exchange: Any, amount: float = 0.01) -> Any:
    return await exchange.create_order(BTC, "market", "buy", amount, None, {"newOrderRespType": "RESULT"})


async def test_markets_are_loaded_with_their_limits(exchange):
    assert len(exchange.symbols) == 8
    market = exchange.market(BTC)
    assert (market["id"], market["type"], market["linear"], market["active"]) == ("BTCUSDT", "swap", True, True)
    assert market["precision"]["price"] == 0.1
    assert market["precision"]["amount"] == 0.001
    assert market["limits"]["amount"] == {"min": 0.001, "max": 1000.0}
    assert market["limits"]["market"]["max"] == 120.0
    assert market["limits"]["cost"]["min"] == 5.0


async def test_ccxt_needs_no_option_but_its_addresses(ccxt, venue):
    """With its builder fee left on, ccxt asks for an approval, is told that there is none, and goes on without."""
    config = settings(venue)
    del config["options"]["builderFee"]
    client = ccxt.async_support.aster(config)
    try:
        order = await client.create_order(BTC, "limit", "buy", 0.01, 95_000)
        assert order["status"] == "open"
    finally:
        await client.close()


async def test_the_time_is_the_venues(exchange, venue):
    assert abs(await exchange.fetch_time() - venue.venue.state.now_ms()) < 30_000


async def test_a_ticker_has_the_last_price_and_a_day_around_it(exchange, human):
    await human.set_prices(BTCUSDT="99000")
    ticker = await exchange.fetch_ticker(BTC)
    assert (ticker["symbol"], ticker["last"]) == (BTC, 99_000.0)
    assert ticker["low"] < ticker["open"] < ticker["high"] == 99_000.0
    assert ticker["low"] < ticker["vwap"] < ticker["high"]
    assert ticker["change"] == pytest.approx(99_000 - ticker["open"])
    assert (ticker["baseVolume"] > 0, ticker["quoteVolume"] > 0) == (True, True)
    tickers = await exchange.fetch_tickers()
    assert set(tickers) == set(exchange.symbols)
    assert tickers[BTC]["last"] == 99_000.0


async def test_best_prices_stand_on_both_sides_of_the_mark(exchange):
    best = (await exchange.fetch_bids_asks([BTC]))[BTC]
    assert best["bid"] < 96_000 < best["ask"]
    assert (await exchange.fetch_last_prices([BTC]))[BTC]["price"] == 96_000.0


async def test_an_order_book_is_sorted_and_shows_the_clients_order(exchange):
    await exchange.create_order(BTC, "limit", "buy", 0.5, 95_995)
    book = await exchange.fetch_order_book(BTC, 20)
    assert (len(book["bids"]), len(book["asks"])) == (20, 20)
    assert book["bids"] == sorted(book["bids"], reverse=True)
    assert book["asks"] == sorted(book["asks"])
    assert [95_995.0, 0.5] in book["bids"]
    assert book["timestamp"] <= exchange.milliseconds()


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
async def test_candles_are_on_the_grid_up_to_now(exchange, timeframe):
    rows = await exchange.fetch_ohlcv(BTC, timeframe, limit=100)
    width = exchange.parse_timeframe(timeframe) * 1000
    assert len(rows) == 100
    assert {after[0] - before[0] for before, after in pairwise(rows)} == {width}
    assert rows[-1][4] == 96_000.0
    assert all(low <= min(opened, close) <= max(opened, close) <= high for _, opened, high, low, close, _ in rows)
    since = await exchange.fetch_ohlcv(BTC, timeframe, since=rows[10][0], limit=5)
    assert since == rows[10:15]


@pytest.mark.parametrize("price", ["mark", "index"])
async def test_mark_and_index_candles_follow_their_price(exchange, human, price):
    await human.set_prices(BTCUSDT={"mark": "96500", "last": "96400"})
    candle = (await exchange.fetch_ohlcv(BTC, "1m", limit=1, params={"price": price}))[0]
    assert candle[4] == 96_500.0


async def test_public_trades_are_those_that_happened(exchange):
    await bought(exchange, 0.123)
    trade = (await exchange.fetch_trades(BTC, limit=1))[0]
    assert (trade["symbol"], trade["side"], trade["amount"]) == (BTC, "buy", 0.123)
    assert trade["price"] > 96_000


async def test_funding_rates_are_told_now_and_for_the_past(exchange):
    rate = await exchange.fetch_funding_rate(BTC)
    assert (rate["symbol"], rate["fundingRate"], rate["markPrice"]) == (BTC, 0.0001, 96_000.0)
    assert rate["nextFundingTimestamp"] % (8 * 3_600_000) == 0
    assert set(await exchange.fetch_funding_rates()) == set(exchange.symbols)
    past = await exchange.fetch_funding_rate_history(BTC, limit=3)
    assert [row["timestamp"] for row in past] == [rate["nextFundingTimestamp"] - k * 8 * 3_600_000 for k in (3, 2, 1)]
    assert (await exchange.fetch_funding_intervals([BTC]))[BTC]["interval"] == "8h"


async def test_a_balance_shows_what_an_order_binds(exchange):
    before = await exchange.fetch_balance()
    assert before["USDT"] == {"free": 100_000.0, "used": 0.0, "total": 100_000.0}
    await exchange.set_leverage(10, BTC)
    await exchange.create_order(BTC, "limit", "buy", 0.1, 95_000)
    after = await exchange.fetch_balance()
    assert after["USDT"] == {"free": 99_050.0, "used": 950.0, "total": 100_000.0}


async def test_a_position_has_its_entry_size_and_leverage(exchange, human):
    await exchange.set_leverage(10, BTC)
    order = await bought(exchange, 0.1)
    await human.set_prices(BTCUSDT="97000")
    (position,) = await exchange.fetch_positions([BTC])
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.1)
    assert position["entryPrice"] == order["average"]
    assert (position["leverage"], position["marginMode"], position["hedged"]) == (10.0, "cross", False)
    assert position["unrealizedPnl"] == pytest.approx((97_000 - order["average"]) * 0.1)
    assert position["notional"] == 9_700.0
    (same,) = await exchange.fetch_account_positions([BTC])
    assert (same["side"], same["contracts"], same["entryPrice"]) == ("long", 0.1, order["average"])


async def test_leverage_margin_mode_and_position_mode_are_set_and_read_back(ccxt, exchange):
    assert (await exchange.set_leverage(7, BTC))["leverage"] == "7"
    leverage = await exchange.fetch_leverage(BTC)
    assert (leverage["longLeverage"], leverage["shortLeverage"]) == (7, 7)
    await exchange.set_margin_mode("isolated", BTC)
    assert (await exchange.fetch_margin_mode(BTC))["marginMode"] == "isolated"
    with pytest.raises(ccxt.NoChange):
        await exchange.set_margin_mode("isolated", BTC)
    assert (await exchange.fetch_position_mode())["hedged"] is False
    await exchange.set_position_mode(True)
    assert (await exchange.fetch_position_mode())["hedged"] is True
    fee = await exchange.fetch_trading_fee(BTC)
    assert (fee["maker"], fee["taker"]) == (0.0, 0.0004)


async def test_hedged_positions_stand_side_by_side(exchange):
    await exchange.set_position_mode(True)
    await exchange.create_order(BTC, "market", "buy", 0.02, None, {"positionSide": "LONG"})
    await exchange.create_order(BTC, "market", "sell", 0.01, None, {"positionSide": "SHORT"})
    positions = {row["side"]: row["contracts"] for row in await exchange.fetch_positions([BTC])}
    assert positions == {"long": 0.02, "short": 0.01}


async def test_margin_is_added_to_an_isolated_position(exchange):
    await exchange.set_margin_mode("isolated", BTC)
    await bought(exchange)
    added = await exchange.add_margin(BTC, 10)
    assert (added["type"], added["amount"], added["status"]) == ("add", 10.0, "ok")
    await exchange.reduce_margin(BTC, 4)
    history = await exchange.fetch_margin_adjustment_history(BTC)
    assert [(row["type"], row["amount"]) for row in history] == [("add", 10.0), ("reduce", 4.0)]


async def test_a_market_order_is_filled_and_its_trades_add_up(exchange):
    ack = await exchange.create_order(BTC, "market", "buy", 0.01, None, {"clientOrderId": "my-first"})
    assert (ack["status"], ack["filled"], ack["clientOrderId"]) == ("open", 0.0, "my-first")
    order = await exchange.fetch_order(ack["id"], BTC)
    assert (order["status"], order["filled"], order["remaining"], order["type"]) == ("closed", 0.01, 0.0, "market")
    trades = await exchange.fetch_my_trades(BTC)
    assert sum(trade["amount"] for trade in trades) == 0.01
    assert {trade["order"] for trade in trades} == {order["id"]}
    assert (trades[0]["side"], trades[0]["takerOrMaker"]) == ("buy", "taker")
    cost = sum(trade["cost"] for trade in trades)
    assert sum(trade["fee"]["cost"] for trade in trades) == pytest.approx(cost * 0.0004)
    assert order["average"] == pytest.approx(cost / 0.01)
    by_id = await exchange.fetch_order(None, BTC, {"clientOrderId": "my-first"})
    assert by_id["id"] == order["id"]


async def test_a_limit_order_rests_and_is_canceled(ccxt, exchange):
    order = await exchange.create_order(BTC, "limit", "buy", 0.01, 95_000)
    assert (order["status"], order["price"], order["amount"], order["timeInForce"]) == ("open", 95_000.0, 0.01, "GTC")
    assert [row["id"] for row in await exchange.fetch_open_orders(BTC)] == [order["id"]]
    assert (await exchange.fetch_open_order(order["id"], BTC))["status"] == "open"
    canceled = await exchange.cancel_order(order["id"], BTC)
    assert (canceled["id"], canceled["status"]) == (order["id"], "canceled")
    assert await exchange.fetch_open_orders(BTC) == []
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.cancel_order(order["id"], BTC)


async def test_a_post_only_order_never_takes(exchange):
    order = await exchange.create_order(BTC, "limit", "buy", 0.01, 95_000, {"postOnly": True})
    assert (order["timeInForce"], order["status"]) == ("GTX", "open")


@pytest.mark.parametrize(
    ("kind", "price", "params", "sent"),
    [
        ("market", None, {"stopLossPrice": 94_000}, "STOP_MARKET"),
        ("market", None, {"takeProfitPrice": 99_000}, "TAKE_PROFIT_MARKET"),
        ("limit", 93_900, {"stopLossPrice": 94_000}, "STOP"),
        ("limit", 99_000, {"takeProfitPrice": 99_000}, "TAKE_PROFIT"),
    ],
)
async def test_stop_loss_and_take_profit_orders_wait_for_their_trigger(exchange, kind, price, params, sent):
    await bought(exchange)
    placed = await exchange.create_order(BTC, kind, "sell", 0.01, price, {**params, "reduceOnly": True})
    assert (placed["info"]["type"], placed["status"], placed["reduceOnly"]) == (sent, "open", True)
    assert placed["triggerPrice"] == float(next(iter(params.values())))
    (waiting,) = await exchange.fetch_open_orders(BTC)
    assert waiting["id"] == placed["id"]


async def test_a_stop_loss_closes_the_position_when_the_price_falls(exchange, human):
    await bought(exchange)
    stop = await exchange.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 94_000, "reduceOnly": True})
    await human.set_prices(BTCUSDT="93900")
    order = await exchange.fetch_order(stop["id"], BTC)
    assert (order["status"], order["filled"], order["side"]) == ("closed", 0.01, "sell")
    assert await exchange.fetch_positions([BTC]) == []
    trade = (await exchange.fetch_my_trades(BTC))[-1]
    assert trade["order"] == stop["id"]
    assert float(trade["info"]["realizedPnl"]) == pytest.approx((trade["price"] - 96_003.2) * 0.01)


async def test_a_closing_stop_needs_no_quantity(exchange, human):
    await bought(exchange)
    params = {"stopLossPrice": 94_000, "closePosition": True}
    stop = await exchange.create_order(BTC, "market", "sell", 0, None, params)
    await human.set_prices(BTCUSDT="93900")
    assert (await exchange.fetch_order(stop["id"], BTC))["filled"] == 0.01


async def test_a_trailing_stop_follows_and_fires(exchange, human):
    """ccxt sends no quantity with a trailing stop of its own; the exchange wants one."""
    await bought(exchange)
    params = {"trailingPercent": 1, "quantity": "0.010", "reduceOnly": True}
    placed = await exchange.create_order(BTC, "market", "sell", 0.01, None, params)
    assert (placed["info"]["type"], placed["info"]["priceRate"]) == ("TRAILING_STOP_MARKET", "1")
    await human.set_prices(BTCUSDT="98000")
    assert (await exchange.fetch_order(placed["id"], BTC))["status"] == "open"
    await human.set_prices(BTCUSDT="96900")
    assert (await exchange.fetch_order(placed["id"], BTC))["status"] == "closed"


async def test_batches_are_placed_and_canceled_with_their_verdicts_in_order(exchange):
    rows = [
        {"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": 95_000.0},
        {"symbol": BTC, "type": "limit", "side": "buy", "amount": 5_000, "price": 95_000.0},
        {"symbol": BTC, "type": "market", "side": "buy", "amount": 0.01},
    ]
    placed = await exchange.create_orders(rows)
    assert placed[1]["id"] is None
    assert [placed[0]["status"], placed[2]["type"]] == ["open", "market"]
    canceled = await exchange.cancel_orders([placed[0]["id"], "77"], BTC)
    assert [row["status"] for row in canceled] == ["canceled", None]


async def test_orders_are_listed_open_closed_and_all(exchange):
    resting = await exchange.create_order(BTC, "limit", "buy", 0.01, 95_000)
    filled = await bought(exchange)
    assert [row["id"] for row in await exchange.fetch_orders(BTC)] == [resting["id"], filled["id"]]
    assert [row["id"] for row in await exchange.fetch_closed_orders(BTC)] == [filled["id"]]
    assert [row["id"] for row in await exchange.fetch_open_orders(BTC)] == [resting["id"]]
    await exchange.cancel_all_orders(BTC)
    assert await exchange.fetch_open_orders(BTC) == []


async def test_the_ledger_holds_deposit_commission_and_profit(exchange, human):
    await bought(exchange)
    await human.set_prices(BTCUSDT="97000")
    await exchange.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
    rows = await exchange.fetch_ledger("USDT")
    kinds = [row["info"]["incomeType"] for row in rows]
    assert sorted(kinds) == ["COMMISSION", "COMMISSION", "REALIZED_PNL", "TRANSFER"]
    balance = await exchange.fetch_balance()
    total = sum(float(row["info"]["income"]) for row in rows)
    assert balance["USDT"]["total"] == pytest.approx(total, abs=1e-8)


async def test_refusals_arrive_as_ccxts_own_errors(ccxt, exchange):
    for error, attempt in [
        (ccxt.InsufficientFunds, lambda: exchange.create_order(BTC, "limit", "buy", 900, 95_000)),
        (ccxt.InvalidOrder, lambda: exchange.create_order(BTC, "limit", "buy", 5_000, 95_000)),
        (ccxt.OrderNotFound, lambda: exchange.fetch_order("77", BTC)),
    ]:
        with pytest.raises(error):
            await attempt()


async def test_two_accounts_are_kept_apart(ccxt, exchange, venue: RunningVenue):
    await bought(exchange)
    bob = ccxt.async_support.aster(settings(venue, 1))
    try:
        assert (await bob.fetch_balance())["USDT"]["total"] == 50_000.0
        assert await bob.fetch_positions([BTC]) == []
    finally:
        await bob.close()


async def test_a_stranger_is_turned_away(ccxt, venue: RunningVenue):
    stranger = ccxt.async_support.aster({**settings(venue), "privateKey": "0x" + "11" * 32})
    try:
        with pytest.raises(ccxt.ExchangeError, match="No agent found"):
            await stranger.fetch_balance()
    finally:
        await stranger.close()
