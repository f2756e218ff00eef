"""Values: what a unit of an asset is worth in dollars, by the exchange's own prices.

Dollars are USDT, as everywhere in the service: amounts of decisions, limits and notionals are in it.
"""

from __future__ import annotations

from decimal import Decimal

from app.domain.money import ZERO
from app.services.execution.market import Market

DOLLAR = "USDT"
_CALLED_AFTER_IT = "USD"


class AssetValues:
    """Values assets by the newest prices that the market stream has told."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def in_dollars(self, asset: str) -> Decimal | None:
        """What a unit is worth: its own price, or that of a coin that trades against both it and USDT.

        Where the exchange tells neither, an asset that is called after the dollar counts one to one; of others the
        value is not known.
        """
        if asset == DOLLAR:
            return Decimal(1)
        return self._price(f"{asset}{DOLLAR}") or self._cross_rate(asset) or self._by_name(asset)

    def margin_asset(self, symbol: str) -> str:
        """The asset that profits and losses on a symbol are booked in; empty when the exchange does not tell."""
        instrument = self._market.instrument(symbol)
        return instrument.margin_asset if instrument is not None else ""

    def _cross_rate(self, asset: str) -> Decimal | None:
        for symbol, instrument in sorted(self._market.instruments.items()):
            if instrument.quote_asset != asset:
                continue
            dollars, units = self._price(f"{instrument.base_asset}{DOLLAR}"), self._price(symbol)
            if dollars is not None and units is not None:
                return dollars / units
        return None

    def _price(self, symbol: str) -> Decimal | None:
        """The index price, which comes from spot markets, or else the mark price; 0 is none."""
        mark = self._market.prices.last_mark(symbol)
        if mark is None:
            return None
        price = mark.index_price or mark.mark_price
        return price if price > ZERO else None

    def _by_name(self, asset: str) -> Decimal | None:
        return Decimal(1) if asset.startswith(_CALLED_AFTER_IT) else None
