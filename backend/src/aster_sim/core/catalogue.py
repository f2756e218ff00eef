"""The instruments of the venue: rules for one symbol, the built-in catalogue, recorded exchange infos.

The shape of ``exchangeInfo`` is asterdex-facts.md section 4, the filters section 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from aster_sim.core.instruments import BUILT_IN, BuiltIn
from aster_sim.core.numbers import decimals_of

ORDER_TYPES = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)
TIME_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "HIDDEN")
DELIVERY_NEVER_MS = 4_133_404_800_000


class CatalogueError(ValueError):
    """An exchange info that cannot be used; the message names the symbol and the field."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """The trading rules of one symbol, all prices and quantities in its own units."""

    symbol: str
    pair: str
    status: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    price_precision: int
    quantity_precision: int
    min_price: Decimal
    max_price: Decimal
    tick: Decimal
    min_qty: Decimal
    max_qty: Decimal
    step: Decimal
    market_min_qty: Decimal
    market_max_qty: Decimal
    market_step: Decimal
    min_notional: Decimal
    max_orders: int
    max_algo_orders: int
    multiplier_up: Decimal
    multiplier_down: Decimal
    trigger_protect: Decimal
    market_take_bound: Decimal
    order_types: frozenset[str]
    time_in_force: frozenset[str]
    price_decimals: int
    quantity_decimals: int
    raw: Mapping[str, Any]

    @property
    def trading(self) -> bool:
        """Whether orders are taken."""
        return self.status == "TRADING"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All instruments, in the order of the exchange info, and the info's other parts."""

    instruments: Mapping[str, Instrument]
    assets: tuple[Mapping[str, Any], ...]
    start_prices: Mapping[str, Decimal]


def _filters(symbol: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found = {str(row.get("filterType")): row for row in rows}
    needed = {"PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "MIN_NOTIONAL", "PERCENT_PRICE", "MAX_NUM_ORDERS"}
    missing = sorted((needed | {"MAX_NUM_ALGO_ORDERS"}) - found.keys())
    if missing:
        raise CatalogueError(f"exchange info: symbol {symbol} lacks the filter(s) {', '.join(missing)}")
    return found


def parse_instrument(raw: Mapping[str, Any]) -> Instrument:
    """One entry of ``symbols``.

    Raises CatalogueError, naming symbol and field, when something needed is missing or malformed.
    """
    symbol = str(raw.get("symbol", "?"))
    try:
        filters = _filters(symbol, raw["filters"])
        price, lot, market = filters["PRICE_FILTER"], filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
        percent = filters["PERCENT_PRICE"]
        tick, step = Decimal(price["tickSize"]), Decimal(lot["stepSize"])
        return Instrument(
            symbol=symbol,
            pair=raw["pair"],
            status=raw["status"],
            base_asset=raw["baseAsset"],
            quote_asset=raw["quoteAsset"],
            margin_asset=raw["marginAsset"],
            price_precision=int(raw["pricePrecision"]),
            quantity_precision=int(raw["quantityPrecision"]),
            min_price=Decimal(price["minPrice"]),
            max_price=Decimal(price["maxPrice"]),
            tick=tick,
            min_qty=Decimal(lot["minQty"]),
            max_qty=Decimal(lot["maxQty"]),
            step=step,
            market_min_qty=Decimal(market["minQty"]),
            market_max_qty=Decimal(market["maxQty"]),
            market_step=Decimal(market["stepSize"]),
            min_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
            max_orders=int(filters["MAX_NUM_ORDERS"]["limit"]),
            max_algo_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["limit"]),
            multiplier_up=Decimal(percent["multiplierUp"]),
            multiplier_down=Decimal(percent["multiplierDown"]),
            trigger_protect=Decimal(raw["triggerProtect"]),
            market_take_bound=Decimal(raw["marketTakeBound"]),
            order_types=frozenset(raw.get("orderTypes") or raw["OrderType"]),
            time_in_force=frozenset(raw["timeInForce"]),
            price_decimals=decimals_of(tick),
            quantity_decimals=decimals_of(step),
            raw=raw,
        )
    except (KeyError, TypeError, ArithmeticError, ValueError) as error:
        if isinstance(error, CatalogueError):
            raise
        raise CatalogueError(f"exchange info: symbol {symbol}: bad or missing field {error}") from error


def _built_in_raw(spec: BuiltIn) -> dict[str, Any]:
    return {
        "symbol": f"{spec.base}USDT",
        "pair": f"{spec.base}USDT",
        "contractType": "PERPETUAL",
        "deliveryDate": DELIVERY_NEVER_MS,
        "onboardDate": 1_627_628_400_000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": decimals_of(Decimal(spec.tick)),
        "quantityPrecision": decimals_of(Decimal(spec.step)),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "symbolType": 0,
        "tradingMode": 0,
        "name": spec.base,
        "channel": "",
        "sequenceNo": 10,
        "twapMinNotional": "1000",
        "settlePlan": 0,
        "triggerProtect": spec.band,
        "liquidationFee": "0.025000",
        "marketTakeBound": spec.band,
        "createTime": 1_630_045_468_108,
        "filters": [
            {
                "minPrice": spec.min_price,
                "maxPrice": spec.max_price,
                "filterType": "PRICE_FILTER",
                "tickSize": spec.tick,
            },
            {"stepSize": spec.step, "filterType": "LOT_SIZE", "maxQty": spec.max_qty, "minQty": spec.step},
            {
                "stepSize": spec.step,
                "filterType": "MARKET_LOT_SIZE",
                "maxQty": spec.market_max_qty,
                "minQty": spec.step,
            },
            {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
            {"limit": 10, "filterType": "MAX_NUM_ALGO_ORDERS"},
            {"notional": "5", "filterType": "MIN_NOTIONAL"},
            {
                "multiplierDown": str(1 - Decimal(spec.band)),
                "multiplierUp": str(1 + Decimal(spec.band)),
                "ltMultiplierDown": "0",
                "multiplierDecimal": "4",
                "filterType": "PERCENT_PRICE",
                "ltMultiplierUp": "0",
            },
        ],
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": list(TIME_IN_FORCE),
    }


_ASSETS: tuple[Mapping[str, Any], ...] = (
    {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"},
    {"asset": "BTC", "marginAvailable": True, "autoAssetExchange": "0"},
    {"asset": "BNB", "marginAvailable": True, "autoAssetExchange": "0"},
    {"asset": "ETH", "marginAvailable": True, "autoAssetExchange": "0"},
)


def built_in_catalogue() -> Catalogue:
    """Eight liquid perpetuals with filters like AsterDEX's, each with a fixed start price."""
    rows = [parse_instrument(_built_in_raw(spec)) for spec in BUILT_IN]
    return Catalogue({row.symbol: row for row in rows}, _ASSETS, built_in_start_prices())


def built_in_start_prices() -> dict[str, Decimal]:
    """The fixed price at which each built-in symbol starts."""
    return {f"{spec.base}USDT": Decimal(spec.start_price) for spec in BUILT_IN}


def load_catalogue(path: Path) -> Catalogue:
    """A recorded ``exchangeInfo`` body.

    Every symbol is kept, whatever its status. Start prices are known only for symbols of the built-in
    catalogue; the others have none until a feed or the control API names one.

    Raises CatalogueError (unreadable file, not JSON, a symbol that lacks something).
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"exchange info {path.name}: cannot be read: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("symbols"), list):
        raise CatalogueError(f"exchange info {path.name}: no list 'symbols' in it")
    rows = [parse_instrument(raw) for raw in body["symbols"]]
    instruments = {row.symbol: row for row in rows}
    if len(instruments) != len(rows):
        raise CatalogueError(f"exchange info {path.name}: a symbol appears twice")
    prices = {symbol: price for symbol, price in built_in_start_prices().items() if symbol in instruments}
    return Catalogue(instruments, tuple(body.get("assets") or _ASSETS), prices)
