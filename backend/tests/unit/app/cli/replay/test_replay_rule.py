"""The replay's rule: with the trend, never without a stop on the right side."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from app.cli.replay.rule import LOOKBACK_BARS, Bar, Size, TrendRule


def seen(closes: Iterable[int | str], asset: str = "BTCUSDT") -> TrendRule:
    rule = TrendRule(Size(Decimal("1E+5"), 10))
    for close in closes:
        price = Decimal(close)
        rule.see(asset, Bar(price + 5, price - 5, price.quantize(Decimal("0.1"))))
    return rule


RISING = range(1000, 1000 + LOOKBACK_BARS)
FALLING = range(1000, 1000 - LOOKBACK_BARS, -1)


def test_nothing_is_decided_before_enough_bars_were_seen() -> None:
    assert seen(list(RISING)[1:]).decide({}) == []


@pytest.mark.parametrize(("closes", "action", "sign"), [(RISING, "buy", 1), (FALLING, "sell", -1)])
def test_an_entry_follows_the_trend_with_exits_in_multiples_of_the_usual_bar(
    closes: range, action: str, sign: int
) -> None:
    (item,) = seen(closes).decide({})
    assert (item["asset"], item["action"]) == ("BTCUSDT", action)
    assert item["tp_price"] == f"{closes[-1] + sign * 50}.0"
    assert item["sl_price"] == f"{closes[-1] - sign * 40}.0"
    assert item["allocation_usd"] == "100000"


@pytest.mark.parametrize(
    ("closes", "side", "action"),
    [
        (RISING, "long", "hold"),
        (FALLING, "short", "hold"),
        (RISING, "short", "close_position"),
        (FALLING, "long", "close_position"),
    ],
)
def test_a_position_is_closed_when_the_trend_turns_against_it(closes: range, side: str, action: str) -> None:
    (item,) = seen(closes).decide({"BTCUSDT": side})
    assert item == {"asset": "BTCUSDT", "action": action}


def test_every_asset_is_decided_by_its_own_bars() -> None:
    rule = seen(RISING)
    for close in FALLING:
        price = Decimal(close)
        rule.see("ETHUSDT", Bar(price + 1, price - 1, price))
    assert [item["action"] for item in rule.decide({})] == ["buy", "sell"]
