"""The rule that trades the candles: follow the last half hour, stop and target in multiples of its usual bar. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LOOKBACK_BARS = 30
STOP_BARS = Decimal(4)
TARGET_BARS = Decimal(5)


@dataclass(frozen=True, slots=True)
class Bar:
    """One closed candle; prices in quote units."""

    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True)
class Size:
    """How large each entry is: notional in quote units, and leverage."""

    allocation_usd: Decimal
    leverage: int


class TrendRule:
    """Remembers the last bars of each asset and says what to do with it."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._bars: dict[str, deque[Bar]] = {}

    def see(self, asset: str, bar: Bar) -> None:
        """Take the next closed bar in."""
        self._bars.setdefault(asset, deque(maxlen=LOOKBACK_BARS)).append(bar)

    def decide(self, held: Mapping[str, str]) -> list[dict[str, Any]]:
        """An asset decision for each asset seen long enough; ``held`` is the side (``long``, ``short``) by asset."""
        known = {asset: bars for asset, bars in self._bars.items() if len(bars) == LOOKBACK_BARS}
        return [self._decide(asset, tuple(bars), held.get(asset)) for asset, bars in sorted(known.items())]

    def _decide(self, asset: str, bars: tuple[Bar, ...], side: str | None) -> dict[str, Any]:
        close = bars[-1].close
        usual_bar = sum((bar.high - bar.low for bar in bars), start=Decimal(0)) / len(bars)
        trend = close - sum((bar.close for bar in bars), start=Decimal(0)) / len(bars)
        if side is not None:
            is_against = (trend if side == "short" else -trend) > usual_bar
            return {"asset": asset, "action": "close_position" if is_against else "hold"}
        sign = 1 if trend > 0 else -1
        return {
            "asset": asset,
            "action": "buy" if sign > 0 else "sell",
            "allocation_usd": format(self._size.allocation_usd, "f"),
            "leverage": self._size.leverage,
            "tp_price": _price(close + sign * TARGET_BARS * usual_bar, close),
            "sl_price": _price(close - sign * STOP_BARS * usual_bar, close),
            "rationale": f"close {close} is {'above' if sign > 0 else 'not above'} the mean of {LOOKBACK_BARS} bars",
        }


def _price(price: Decimal, like: Decimal) -> str:
    """``price`` with the decimals of ``like``, half even; the service puts it on the tick."""
    return format(price.quantize(like), "f")
