"""What an alert of TradingView means, by its action and the positions before and after it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.errors import DecisionRefused
from app.schemas.tradingview import TradingViewAlert, parse_alert

SECRET = "a-webhook-secret-of-length"


def alert(**fields: Any) -> TradingViewAlert:
    said = {"time": "2026-11-30T10:00:00Z", "ticker": "BTCUSDT.P", "action": "buy", **fields}
    return parse_alert(json.dumps({name: value for name, value in said.items() if value is not None}).encode())


def meant(**fields: Any) -> tuple[str, str | None]:
    one = alert(allocation_usd=500, **fields).decision().decisions[0]
    return one.action.value, one.expected_position and one.expected_position.value


ENTRIES = [("buy", "long", "short"), ("sell", "short", "long")]


@pytest.mark.parametrize(("action", "own", "other"), ENTRIES)
def test_each_story_has_one_meaning(action: str, own: str, other: str) -> None:
    table: dict[tuple[str | None, str | None], tuple[str, str | None]] = {
        (None, None): (action, None),
        (None, own): (action, None),
        ("flat", None): (action, "flat"),
        ("flat", own): (action, "flat"),
        (own, None): (action, own),
        (own, own): (action, own),
        (other, own): (action, other),
        (None, other): ("adjust_position", other),
        (other, other): ("adjust_position", other),
        (None, "flat"): ("close_position", None),
        ("flat", "flat"): ("close_position", "flat"),
        (other, "flat"): ("close_position", other),
    }
    impossible = {(other, None), (own, "flat"), (own, other), ("flat", other)}
    positions = (None, "flat", own, other)
    for before in positions:
        for after in positions:
            fields = {"action": action, "prev_market_position": before, "market_position": after}
            if (before, after) in impossible:
                with pytest.raises(DecisionRefused, match="market_position"):
                    meant(**fields)
            else:
                assert meant(**fields) == table[before, after], (before, after)


@pytest.mark.parametrize(
    ("fields", "meaning"),
    [
        ({"action": "sell", "position_size": "0.005"}, ("adjust_position", "long")),
        ({"action": "buy", "position_size": -0.005}, ("adjust_position", "short")),
        ({"action": "sell", "position_size": "-0.005"}, ("sell", None)),
        ({"action": "buy", "position_size": "0.005"}, ("buy", None)),
        ({"action": "sell", "position_size": "0"}, ("close_position", None)),
        ({"action": "sell", "market_position_size": 0}, ("close_position", None)),
        ({"action": "sell", "position_size": "0.005", "prev_market_position": "long"}, ("adjust_position", "long")),
        ({"action": "sell", "market_position": "long", "position_size": "0.005"}, ("adjust_position", "long")),
        ({"action": "sell", "market_position": "long", "position_size": "x"}, ("adjust_position", "long")),
        ({"action": "sell", "position_size": "", "market_position_size": ""}, ("sell", None)),
        ({"action": "sell", "market_position_size": 5, "prev_market_position_size": 0}, ("sell", "flat")),
        ({"action": "sell", "market_position_size": 5, "prev_market_position": "short"}, ("sell", "short")),
    ],
)
def test_a_size_says_the_position_where_it_can(fields: dict[str, Any], meaning: tuple[str, str | None]) -> None:
    """P16: the sign of the position's size, and a size of 0, tell what `market_position` would."""
    assert meant(**fields) == meaning


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"market_position_size": "5", "prev_market_position_size": "10"}, "market_position_size has no side"),
        ({"market_position_size": "5"}, "market_position_size has no side"),
        ({"market_position_size": "5", "prev_market_position": "long"}, "market_position_size has no side"),
        ({"prev_market_position_size": "5"}, "prev_market_position_size has no side"),
        ({"position_size": "half of it"}, "^position_size: "),
        ({"position_size": "5", "market_position": "short"}, "contradicts itself"),
        ({"position_size": "5", "market_position_size": "0"}, "contradicts itself"),
        ({"position_size": "5", "prev_market_position": "short"}, "contradicts itself"),
        ({"position_size": "5", "prev_market_position_size": "0"}, "contradicts itself"),
        ({"position_size": "5", "prev_market_position_size": "4"}, "contradicts itself"),
        ({"position_size": "-5", "prev_market_position": "short", "prev_market_position_size": "9"}, "contradicts"),
        ({"position_size": "5", "strategy": {"position_size": "-5"}}, "said twice"),
    ],
)
def test_sizes_that_cannot_say_it_are_refused(fields: dict[str, Any], sentence: str) -> None:
    """P16: a sell of which nobody can say whether it reduces or opens is not sent."""
    with pytest.raises(DecisionRefused, match=sentence):
        meant(action="sell", **fields)


def test_a_close_closes_unless_the_position_is_said_to_stay() -> None:
    assert meant(action="close") == ("close_position", None)
    assert meant(action="close", market_position="flat", prev_market_position="long") == ("close_position", "long")
    with pytest.raises(DecisionRefused, match="contradicts itself"):
        meant(action="close", market_position="long")


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"allocation_usd": 500}, {"adjustment_amount_usd": "500"}),
        ({"contracts": "0.01", "price": "96000"}, {"adjustment_amount_usd": "960"}),
        (
            {"prev_market_position_size": "0.03", "market_position_size": "0.01", "allocation_usd": 500},
            {"adjustment_percentage": "66.666667"},
        ),
        ({"prev_market_position_size": "0.04", "position_size": "0.03"}, {"adjustment_percentage": "25"}),
        (
            {"prev_market_position_size": "", "market_position_size": "x", "allocation_usd": 5},
            {"adjustment_amount_usd": "5"},
        ),
    ],
)
def test_how_much_a_partial_exit_takes_off(fields: dict[str, Any], change: dict[str, str]) -> None:
    body = alert(action="sell", market_position="long", **fields).decision().body()
    assert body["decisions"][0]["position_adjustment"] == {"adjustment_type": "decrease", **change}


def test_a_partial_exit_without_a_size_is_refused() -> None:
    with pytest.raises(DecisionRefused, match="by how much"):
        alert(action="sell", market_position="long").decision()


def test_a_nested_template_is_understood_and_its_extras_kept() -> None:
    template = {
        "action": None,
        "passphrase": SECRET,
        "exchange": "BINANCE",
        "bar": {"time": "2026-11-30T10:00:00Z", "open": 96100, "volume": 7},
        "strategy": {
            "position_size": -0.02,
            "order_action": "sell",
            "order_contracts": 0.02,
            "order_price": 96100,
            "order_id": "Short",
            "market_position": "short",
            "prev_market_position": "flat",
        },
    }
    read = alert(**template)
    body = read.decision().body()
    assert read.secret is not None
    assert read.secret.get_secret_value() == SECRET
    item = body["decisions"][0]
    assert (item["action"], item["allocation_usd"], item["expected_position"]) == ("sell", "1922", "flat")
    assert read.is_sized_in_contracts
    assert (body["alert"]["exchange"], body["alert"]["order_id"]) == ("BINANCE", "Short")
    assert SECRET not in json.dumps(body)


def test_what_tradingview_offers_beside_is_kept_and_allocation_wins() -> None:
    extras = {
        "exchange": "X",
        "interval": "15",
        "close": "9.1",
        "comment": "",
        "plot_0": "1",
        "contracts": "7",
        "price": "2",
    }
    read = alert(allocation_usd=500, **extras)
    assert not read.is_sized_in_contracts
    body = read.decision().body()
    assert body["decisions"][0]["allocation_usd"] == "500"
    assert extras.items() <= body["alert"].items()


@pytest.mark.parametrize(
    "name", ["sl", "sl_prise", "stop_loss", "take_profit", "qty", "plot_x", "trailing_stop", "risk_usd"]
)
def test_any_other_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(DecisionRefused, match=f"^{name}: unknown field") as caught:
        alert(**{name: 1})
    assert caught.value.field == name


@pytest.mark.parametrize(
    "fields",
    [
        {"strategy": {"order_action": "sell"}},
        {"strategy": {"order": {"action": "sell"}}},
        {"order_action": "sell"},
        {"secret": "one", "passphrase": "another"},
        {"sl_price": 1, "strategy": {"sl_price": 2}},
    ],
)
def test_what_is_said_twice_and_differently_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DecisionRefused, match="said twice"):
        alert(**fields)


@pytest.mark.parametrize(
    "ticker",
    ["BTCUSDT", "btcusdt", "BTCUSDT.P", "BTCUSDTPERP", "BTCUSDT_PERP", "ASTERDEX:BTCUSDT.P", "BINANCE:BTCUSDT"],
)
def test_a_ticker_is_read_without_its_exchange_and_ending(ticker: str) -> None:
    assert alert(ticker=ticker).asset == "BTCUSDT"
