"""What engines and alerts really send: inputs in their shapes, each with its right meaning.

Ours lie in ``tests/samples/payloads``; where the collection lies beside the checkout, its files are read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import DecisionRefused
from app.domain.formats import DecisionFormat
from app.schemas.decision import AssetDecision, TradingDecision, parse_decision
from app.schemas.tradingview import parse_alert
from support.samples import payloads

BUY = "BTCUSDT buy 1000"
BRACKET = f"{BUY} tp 99000 sl 94000"
MEANT: dict[str, list[str]] = {
    "d-bom.json": [f"{BUY} sl 94000"],
    "d-close-beside-hold-of-zeros.json": ["SOLUSDT close_position", "ETHUSDT hold"],
    "d-fenced.txt": [f"{BUY} sl 94000"],
    "d-nofx.json": [BRACKET, "ETHUSDT hold"],
    "d-nocturne.json": ["BTC buy 300 tp 99000 sl 94000", "ETH hold"],
    "d-percent-as-price.json": [f"{BUY} tp 99000 sl 2", "ETHUSDT sell 600 tp 5 sl 3100"],
    "d-vibex-account-number.json": [f"{BUY} sl 94000"],
    "d-vibex-adjust-orders.json": ["BTCUSDT adjust_orders tp 99500"],
    "d-vibex-decision-result.json": [BRACKET],
    "w-common-extras.json": ["BTCUSDT buy 500 if flat"],
    "w-partial-cover.json": ["BTCUSDT adjust_position decrease 500 if short"],
    "w-partial-exit.json": ["BTCUSDT adjust_position decrease 500 if long"],
    "w-passphrase-template.json": ["BTCUSDT buy 960 if flat"],
    "w-signed-size.json": ["BTCUSDT adjust_position decrease 480 if long"],
}
"""Distances of prices from the market (``d-percent-as-price``) are judged later, with the price."""
REFUSED = {
    "d-duplicate-action.json": "'action' comes twice",
    "d-duplicate-key.json": "'sl_price' comes twice",
    "d-exits-in-order-adjustment.json": "new_sl_price: buy does not use this field; .* belongs in sl_price",
    "d-nof1.json": "looks like the signals of nof1",
    "d-roma.json": "looks like ROMA's decisions",
    "d-thousands.json": "sl_price",
    "w-sizes-without-a-side.json": "market_position_size has no side",
}
FORMATS = {"d-nofx.json": DecisionFormat.NOFX, "d-nocturne.json": DecisionFormat.NOCTURNE}


def read(path: Path) -> TradingDecision:
    body = path.read_bytes()
    if path.name.startswith("w-"):
        return parse_alert(body.replace(b"{{timenow}}", b"2026-11-30T10:00:00Z")).decision()
    return parse_decision(body, FORMATS.get(path.name))


def in_words(item: AssetDecision) -> str:
    change: Any = item.position_adjustment
    moved: Any = item.order_adjustment
    parts: list[tuple[str, Any]] = [
        ("", item.asset),
        ("", item.action),
        ("", change and change.adjustment_type),
        ("", change.adjustment_amount_usd if change else item.allocation_usd or None),
        ("tp ", moved.moved_target if moved else item.tp_price),
        ("sl ", moved.moved_stop if moved else item.sl_price),
        ("if ", item.expected_position),
    ]
    return " ".join(f"{name}{_plain(value)}" for name, value in parts if value is not None)


def _plain(value: Any) -> str:
    return f"{value.normalize():f}" if hasattr(value, "normalize") else str(value)


@pytest.mark.parametrize("path", payloads())
def test_what_is_really_sent_has_its_right_meaning(path: Path) -> None:
    if path.name in REFUSED:
        with pytest.raises(DecisionRefused, match=REFUSED[path.name]):
            read(path)
    else:
        assert [in_words(item) for item in read(path).decisions] == MEANT[path.name]
        assert not read(path).unreadable


@pytest.mark.parametrize("path", [one for one in payloads() if one.values[0].name in FORMATS])
def test_another_engines_shape_names_its_option(path: Path) -> None:
    """Without the option it is refused by a sentence that recognises it."""
    with pytest.raises(DecisionRefused, match=f"format={FORMATS[path.name]}"):
        parse_decision(path.read_bytes())
