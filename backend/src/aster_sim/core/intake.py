"""From the strings of a request to a well-formed ``OrderRequest`` (asterdex-facts.md sections 4 and 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from aster_sim.core import errors
from aster_sim.core.numbers import ZERO, parse_decimal
from aster_sim.core.orders import (
    BOTH,
    BUY,
    CONDITIONAL_TYPES,
    CONTRACT_PRICE,
    COUNTERPARTY,
    GTE_GTC,
    HIDDEN,
    LIMIT,
    LIMIT_PRICED_TYPES,
    LONG,
    MARK_PRICE,
    MARKET,
    QUEUE,
    RPI,
    SELL,
    SHORT,
    STOP,
    STOP_MARKET,
    STP_MODES,
    TAKE_PROFIT,
    TAKE_PROFIT_MARKET,
    TRAILING,
    OrderRequest,
)

_CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}", re.ASCII)
_NEEDED: Mapping[str, tuple[str, ...]] = {
    LIMIT: ("timeInForce", "quantity", "price"),
    MARKET: ("quantity",),
    STOP: ("quantity", "price", "stopPrice"),
    TAKE_PROFIT: ("quantity", "price", "stopPrice"),
    STOP_MARKET: ("stopPrice",),
    TAKE_PROFIT_MARKET: ("stopPrice",),
    TRAILING: ("quantity", "callbackRate"),
}
_REFUSED: Mapping[str, tuple[str, ...]] = {
    LIMIT: ("stopPrice", "callbackRate", "activationPrice"),
    MARKET: ("timeInForce", "price", "stopPrice", "callbackRate", "activationPrice"),
    STOP: ("callbackRate", "activationPrice"),
    TAKE_PROFIT: ("callbackRate", "activationPrice"),
    STOP_MARKET: ("price", "callbackRate", "activationPrice"),
    TAKE_PROFIT_MARKET: ("price", "callbackRate", "activationPrice"),
    TRAILING: ("price", "stopPrice"),
}
_CLOSE_TYPES = frozenset({STOP_MARKET, TAKE_PROFIT_MARKET})
_PEG_TYPES = frozenset({COUNTERPARTY, QUEUE})
_TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "GTX"})
_RPI_TYPES = frozenset({LIMIT})
_CALLBACK_MIN, _CALLBACK_MAX = Decimal("0.1"), Decimal(5)


def decimal_param(params: Mapping[str, str], name: str) -> Decimal:
    """A decimal parameter; zero when absent.  Raises -1102 for an empty one, -1130 for anything else."""
    text = params.get(name)
    if text is None:
        return ZERO
    if not text:
        raise errors.MISSING.error(name=name)
    value = parse_decimal(text)
    if value is None:
        raise errors.BAD_PARAMETER.error(name=name)
    return value


def bool_param(params: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """A boolean written ``true``/``false`` in any case.  Raises -1130 for anything else."""
    text = params.get(name)
    if text is None:
        return default
    lowered = text.lower()
    if lowered not in {"true", "false"}:
        raise errors.BAD_PARAMETER.error(name=name)
    return lowered == "true"


def int_param(params: Mapping[str, str], name: str) -> int | None:
    """A non-negative integer, None when absent.  Raises -1130 for anything else."""
    text = params.get(name)
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise errors.BAD_PARAMETER.error(name=name)
    return int(text)


def required(params: Mapping[str, str], name: str) -> str:
    """A parameter that must be there.  Raises -1102."""
    value = params.get(name)
    if not value:
        raise errors.MISSING.error(name=name)
    return value


def _time_in_force(params: Mapping[str, str], kind: str) -> str:
    value = params.get("timeInForce", "GTC")
    allowed = {GTE_GTC: CONDITIONAL_TYPES, HIDDEN: LIMIT_PRICED_TYPES, RPI: _RPI_TYPES}.get(value)
    if allowed is not None and kind in allowed:
        return value
    if value not in _TIMES_IN_FORCE:
        raise errors.BAD_TIME_IN_FORCE.error()
    return value


def _check_close_position(params: Mapping[str, str], kind: str) -> None:
    if kind not in _CLOSE_TYPES:
        raise errors.CLOSE_ORDER_TYPE.error(type=kind)
    if params.get("quantity"):
        raise errors.CLOSE_WITH_QUANTITY.error()
    if "reduceOnly" in params:
        raise errors.CLOSE_WITH_REDUCE_ONLY.error()


def _check_presence(params: Mapping[str, str], kind: str, *, close_position: bool) -> None:
    peg = _peg_price_type(params, kind)
    for name in _NEEDED[kind]:
        if not (peg and name == "price"):
            required(params, name)
    for name in _REFUSED[kind]:
        if name in params:
            raise errors.NOT_REQUIRED.error(name=name)
    if kind in _CLOSE_TYPES and not close_position:
        required(params, "quantity")


def _peg_price_type(params: Mapping[str, str], kind: str) -> str:
    """The book price that a LIMIT order takes instead of one of its own, empty for none."""
    value = params.get("pegPriceType", "")
    if "pegPriceType" not in params:
        if "pegOffset" in params:
            raise errors.MISSING.error(name="pegPriceType")
        return value
    if value not in _PEG_TYPES:
        raise errors.BAD_PARAMETER.error(name="pegPriceType")
    if kind != LIMIT:
        raise errors.NOT_REQUIRED.error(name="pegPriceType")
    if "price" in params:
        raise errors.NOT_REQUIRED.error(name="price")
    return value


def _one_of(params: Mapping[str, str], name: str, default: str, allowed: frozenset[str]) -> str:
    value = params.get(name, default)
    if value not in allowed:
        raise errors.BAD_PARAMETER.error(name=name)
    return value


def parse_order(params: Mapping[str, str]) -> OrderRequest:
    """The order that a request asks for.

    Raises VenueError: -1102 and -1106 for missing and surplus parameters, -1115..-1117, -1130, -4015,
    -4060, -4136..-4138.
    """
    symbol, side, kind = required(params, "symbol"), required(params, "side"), required(params, "type")
    if side not in {BUY, SELL}:
        raise errors.BAD_SIDE.error()
    if kind not in _NEEDED:
        raise errors.BAD_ORDER_TYPE.error()
    close_position = bool_param(params, "closePosition")
    if close_position:
        _check_close_position(params, kind)
    _check_presence(params, kind, close_position=close_position)
    position_side = params.get("positionSide", BOTH)
    if position_side not in {BOTH, LONG, SHORT}:
        raise errors.BAD_POSITION_SIDE.error()
    client_id = params.get("newClientOrderId", "")
    if client_id and not _CLIENT_ID.fullmatch(client_id):
        raise errors.CLIENT_ID_LENGTH.error()
    response = params.get("newOrderRespType", "ACK")
    if response not in {"ACK", "RESULT"}:
        raise errors.NEW_ORDER_RESP_TYPE.error()
    stp_mode = params.get("stpMode", "")
    if "stpMode" in params and stp_mode not in STP_MODES:
        raise errors.BAD_PARAMETER.error(name="stpMode")
    callback = decimal_param(params, "callbackRate")
    if kind == TRAILING and not _CALLBACK_MIN <= callback <= _CALLBACK_MAX:
        raise errors.BAD_CALLBACK_RATE.error()
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=kind,
        position_side=position_side,
        time_in_force=_time_in_force(params, kind),
        quantity=decimal_param(params, "quantity"),
        price=decimal_param(params, "price"),
        stop_price=decimal_param(params, "stopPrice"),
        reduce_only=bool_param(params, "reduceOnly"),
        close_position=close_position,
        working_type=_one_of(params, "workingType", CONTRACT_PRICE, frozenset({CONTRACT_PRICE, MARK_PRICE})),
        price_protect=bool_param(params, "priceProtect"),
        activation_price=decimal_param(params, "activationPrice"),
        callback_rate=callback,
        client_order_id=client_id,
        wants_result=response == "RESULT",
        stp_mode=stp_mode,
        peg_price_type=params.get("pegPriceType", ""),
        peg_offset=decimal_param(params, "pegOffset"),
    )
