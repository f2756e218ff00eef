"""Strategy orders: who places whom, who cancels whom, and what is told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.errors import VenueError
from aster_sim.core.strategy_updates import update_sub_order
from aster_sim.core.strategy_views import placed_body, strategy_body
from support.sim_bench import Bench


def _sub(number: int, **params: str) -> dict[str, str]:
    return {"strategySubId": str(number), "securityType": "USDT_FUTURES", "symbol": "BTCUSDT", **params}


def _entry(number: int = 1, **params: str) -> dict[str, str]:
    return _sub(number, **{"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", **params})


def _exit(number: int, kind: str, stop_price: str, **params: str) -> dict[str, str]:
    rows = {"side": "SELL", "type": kind, "stopPrice": stop_price, "quantity": "0.010", "reduceOnly": "true"}
    return _sub(number, **rows, workingType="MARK_PRICE", **params)


def _bracket(price: str = "95000") -> list[dict[str, str]]:
    return [_entry(price=price), _exit(2, "TAKE_PROFIT_MARKET", "98000"), _exit(3, "STOP_MARKET", "94000")]


def _place(bench: Bench, kind: str, rows: list[dict[str, str]], client_id: str = ""):
    return bench.venue.strategies.place(bench.account, kind, client_id, rows)


def _statuses(bench: Bench, strategy) -> list[str]:
    body = strategy_body(bench.venue.state, bench.account, strategy)
    return [sub["status"] for sub in body["subOrders"]]


def _refused(bench: Bench, kind: str, rows: list[dict[str, str]]) -> int:
    with pytest.raises(VenueError) as refusal:
        _place(bench, kind, rows)
    return refusal.value.code


def test_the_exits_of_an_otoco_wait_for_the_entry_and_end_each_other(bench):
    strategy = _place(bench, "OTOCO", _bracket())
    assert _statuses(bench, strategy) == ["NEW", "PENDING", "PENDING"]
    bench.jump("94990")
    assert _statuses(bench, strategy) == ["FILLED", "NEW", "NEW"]
    bench.jump("93990")
    assert _statuses(bench, strategy) == ["FILLED", "CANCELED", "FILLED"]
    assert (strategy.status, bench.amount()) == ("EXPIRED", 0)


def test_orders_of_a_strategy_say_so_in_their_frames(bench):
    strategy = _place(bench, "OTOCO", _bracket("97000"))
    frames = [frame["o"] for frame in bench.events() if frame["e"] == "ORDER_TRADE_UPDATE"]
    assert {(frame["si"], frame["st"]) for frame in frames} == {(strategy.strategy_id, "OTOCO")}
    assert [(frame["ss"], frame["x"]) for frame in frames] == [(1, "NEW"), (1, "TRADE"), (2, "NEW"), (3, "NEW")]
    bench.market("BUY", "0.001")
    [frame, *_] = [frame["o"] for frame in bench.events() if frame["e"] == "ORDER_TRADE_UPDATE"]
    assert (frame["si"], frame["ss"], "st" in frame) == (0, 0, False)


def test_a_canceled_entry_ends_the_strategy_and_places_nothing(bench):
    strategy = _place(bench, "OTO", [_entry(price="95000"), _exit(2, "STOP_MARKET", "94000")])
    bench.venue.cancel(bench.account, "BTCUSDT", strategy.subs[0].order_id, None)
    assert _statuses(bench, strategy) == ["CANCELED", "EXPIRED"]
    assert strategy.status == "CANCELED"


def test_either_side_of_an_oco_cancels_the_other(bench):
    rows = [_entry(price="95000"), _entry(2, price="94000")]
    strategy = _place(bench, "OCO", rows)
    assert _statuses(bench, strategy) == ["NEW", "NEW"]
    bench.jump("94990")
    assert _statuses(bench, strategy) == ["FILLED", "CANCELED"]


def test_named_conditions_replace_the_usual_ones(bench):
    drives = {"firstDrivenId": "1", "firstDrivenOn": "CANCELED", "firstTrigger": "PLACE_ORDER"}
    strategy = _place(bench, "OTO", [_entry(price="95000"), _entry(2, price="94000", **drives)])
    bench.venue.cancel(bench.account, "BTCUSDT", strategy.subs[0].order_id, None)
    assert _statuses(bench, strategy) == ["CANCELED", "NEW"]
    assert strategy.status == "WORKING"


def test_a_refused_exit_is_told_and_ends_its_part(bench):
    rows = [_entry(price="97000"), _exit(2, "STOP_MARKET", "96500")]
    strategy = _place(bench, "OTO", rows)
    assert _statuses(bench, strategy) == ["FILLED", "REJECTED"]
    assert (strategy.failure_code, placed_body(strategy)["failureCode"]) == (-4142, -4142)


def test_a_strategy_is_taken_whole_or_not_at_all(bench):
    rows = [_entry(price="95000"), _sub(2, side="SELL", type="STOP_MARKET", stopPrice="97000", quantity="0.010")]
    assert _refused(bench, "OCO", rows) == -4142
    assert bench.account.open_orders == {}
    assert bench.account.strategies == {}


@pytest.mark.parametrize(
    ("kind", "rows", "code"),
    [
        ("OTTO", [_entry(price="95000")], -1130),
        ("OTO", [_entry(price="95000")], -1130),
        ("OTO", [_entry(2, price="95000"), _entry(1, price="95000")], -1130),
        ("OTO", [_entry(price="95000", timeInForce="IOC"), _entry(2, price="94000")], -1115),
        ("OTO", [_entry(price="95000", securityType="OPTIONS"), _entry(2, price="94000")], -1130),
        ("OTO", [_entry(price="95000"), _entry(2, price="94000", firstDrivenId="2")], -1130),
        ("OTO", [_entry(), _entry(2, price="94000")], -1102),
    ],
)
def test_a_malformed_strategy_is_refused(bench, kind, rows, code):
    assert _refused(bench, kind, rows) == code


def test_a_waiting_exit_and_a_resting_entry_can_be_changed(bench):
    strategy = _place(bench, "OTOCO", _bracket())
    update_sub_order(bench.venue, bench.account, strategy, {"strategySubId": "1", "price": "94900"})
    update_sub_order(bench.venue, bench.account, strategy, {"strategySubId": "3", "stopPrice": "93000"})
    bench.jump("94880")
    stop = bench.account.orders[strategy.subs[2].order_id]
    assert stop.stop_price == Decimal(93_000)
    update_sub_order(bench.venue, bench.account, strategy, {"strategySubId": "3", "stopPrice": "94500"})
    with pytest.raises(VenueError, match=r"^-2021 "):
        update_sub_order(bench.venue, bench.account, strategy, {"strategySubId": "3", "stopPrice": "95000"})
    bench.jump("94490")
    assert _statuses(bench, strategy) == ["FILLED", "CANCELED", "FILLED"]


def test_a_strategy_is_found_by_exactly_one_id(bench):
    strategy = _place(bench, "OCO", [_entry(price="95000"), _entry(2, price="94000")], "mine")
    find = bench.venue.strategies.find
    assert find(bench.account, "OCO", None, "mine") is strategy
    assert find(bench.account, "OCO", strategy.strategy_id, None) is strategy
    for arguments, code in (((None, None), -1128), ((1, "mine"), -1128), ((1, None), -2013)):
        with pytest.raises(VenueError, match=f"^{code} "):
            find(bench.account, "OCO", *arguments)
    with pytest.raises(VenueError, match=r"^-4116 "):
        _place(bench, "OCO", [_entry(price="95000"), _entry(2, price="94000")], "mine")


def test_a_countdown_cancels_the_orders_of_its_symbol_only(bench):
    order, other = (
        bench.limit("BUY", "0.010", "95000"),
        bench.place(symbol="ETHUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="3390"),
    )
    bench.venue.countdowns.wind(bench.account, "BTCUSDT", 1_000)
    bench.now_us += 999_000
    bench.venue.advance()
    assert order.open
    bench.now_us += 1_000
    bench.venue.advance()
    assert (order.status, other.status) == ("CANCELED", "NEW")
    assert not bench.venue.countdowns.armed


def test_a_countdown_is_wound_up_again_or_stopped(bench):
    order = bench.limit("BUY", "0.010", "95000")
    bench.venue.countdowns.wind(bench.account, "BTCUSDT", 1_000)
    bench.now_us += 900_000
    bench.venue.countdowns.wind(bench.account, "BTCUSDT", 1_000)
    bench.now_us += 900_000
    bench.venue.advance()
    assert order.open
    bench.venue.countdowns.wind(bench.account, "BTCUSDT", 0)
    bench.now_us += 10_000_000
    bench.venue.advance()
    assert order.open
