"""exchangeInfo as :class:`~app.domain.instruments.Instrument` (fact sheet, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import structlog

from app.domain.instruments import Instrument, LotRule
from app.integrations.aster import wire
from app.integrations.aster.parse import finite

_log = structlog.get_logger(__name__)

_decode_info = msgspec.json.Decoder(wire.ExchangeInfo).decode
_decode_symbol = msgspec.json.Decoder(wire.Symbol).decode
_NO_FILTER = wire.Filter(filter_type="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Instruments by symbol, and the rate limits that came with them; None where the exchange named none."""

    instruments: dict[str, Instrument]
    weight_limit_1m: int | None
    order_limit_1m: int | None
    order_limit_10s: int | None


def read_exchange_info(body: bytes) -> Catalogue:
    """Read a whole ``exchangeInfo``.

    Symbols named ``TEST…`` are the exchange's own and left out. A symbol that can't be read is left out and logged: it
    can't be traded, and harms no other.

    Raises:
        ValueError: the answer as a whole can't be read.
    """
    info = _decode_info(body)
    instruments = {}
    for raw in info.symbols:
        try:
            instrument = _instrument(_decode_symbol(raw))
        except ValueError as error:
            _log.warning(
                "aster.instrument_unreadable", reason=str(error), symbol=bytes(raw)[:80].decode(errors="replace")
            )
            continue
        if not instrument.symbol.startswith("TEST"):
            instruments[instrument.symbol] = instrument
    limits = {(row.rate_limit_type, row.interval, row.interval_num): row.limit for row in info.rate_limits}
    return Catalogue(
        instruments=instruments,
        weight_limit_1m=limits.get(("REQUEST_WEIGHT", "MINUTE", 1)),
        order_limit_1m=limits.get(("ORDERS", "MINUTE", 1)),
        order_limit_10s=limits.get(("ORDERS", "SECOND", 10)),
    )


def _instrument(symbol: wire.Symbol) -> Instrument:
    filters = {row.filter_type: row for row in symbol.filters}
    price = filters.get("PRICE_FILTER", _NO_FILTER)
    percent = filters.get("PERCENT_PRICE", _NO_FILTER)
    lot = _lot(filters.get("LOT_SIZE", _NO_FILTER))
    market = filters.get("MARKET_LOT_SIZE")
    return Instrument(
        symbol=symbol.symbol,
        status=symbol.status,
        base_asset=symbol.base_asset,
        quote_asset=symbol.quote_asset,
        margin_asset=symbol.margin_asset,
        tick_size=finite(price.tick_size),
        minimum_price=finite(price.min_price),
        maximum_price=finite(price.max_price),
        lot=lot,
        market_lot=_lot(market) if market is not None else lot,
        minimum_notional=finite(filters.get("MIN_NOTIONAL", _NO_FILTER).notional),
        percent_up=finite(percent.multiplier_up),
        percent_down=finite(percent.multiplier_down),
        market_take_bound=finite(symbol.market_take_bound),
        trigger_protect=finite(symbol.trigger_protect),
        maximum_orders=filters.get("MAX_NUM_ORDERS", _NO_FILTER).limit,
        maximum_algo_orders=filters.get("MAX_NUM_ALGO_ORDERS", _NO_FILTER).limit,
        order_types=frozenset(symbol.order_types),
        times_in_force=frozenset(symbol.time_in_force),
    )


def _lot(row: wire.Filter) -> LotRule:
    return LotRule(minimum=finite(row.min_qty), maximum=finite(row.max_qty), step=finite(row.step_size))
