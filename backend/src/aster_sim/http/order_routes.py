"""Order endpoints (asterdex-facts.md section 4, "Orders")."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from aster_sim.core import errors
from aster_sim.core.errors import VenueError
from aster_sim.core.intake import decimal_param, int_param, required
from aster_sim.core.orders import MARKET, Order
from aster_sim.core.views import order_body
from aster_sim.http.calls import MAX_BATCH_PLACE, Call, Route, Security, by_symbol, fixed

MAX_BATCH_CANCEL = 10
WEEK_MS = 7 * 24 * 3600 * 1000
_RESULT_TIMES_IN_FORCE = frozenset({"IOC", "FOK", "GTX"})


def _body(call: Call, order: Order, *, acked: bool = False, queried: bool = False) -> dict[str, Any]:
    market = call.runtime.venue.state.markets[order.symbol]
    body = order_body(order, market, acked=acked, queried=queried)
    if call.v3:
        body["newChainData"] = {"hash": _chain_hash(order)}
    return body


def _chain_hash(order: Order) -> str:
    """What stands for the hash of the order's transaction on Aster's chain: stable and unlike any other's."""
    return "0x" + sha256(b"%d" % order.order_id).hexdigest()


def place_one(call: Call, params: Mapping[str, str]) -> dict[str, Any]:
    """Place one order and answer as newOrderRespType asks: ACK is NEW with nothing executed."""
    if not call.v3 and "pegPriceType" in params:
        raise errors.NOT_REQUIRED.error(name="pegPriceType")
    order = call.runtime.venue.place(call.account, params)
    order.nonce = int(call.params.get("nonce", "0")) if call.v3 else 0
    if call.record is not None:
        call.record.order_ids.append(order.order_id)
    wants_result = params.get("newOrderRespType") == "RESULT"
    waits = order.orig_type == MARKET or order.time_in_force in _RESULT_TIMES_IN_FORCE
    return _body(call, order, acked=not (wants_result and waits))


def _place(call: Call) -> Any:
    return place_one(call, call.params)


def _test(call: Call) -> Any:
    """Everything that a placement checks, and nothing placed."""
    call.runtime.venue.check(call.account, call.params)
    return {}


def _find(call: Call) -> Order:
    order = call.runtime.venue.query(call.account, *call.selector())
    if call.lags_behind(order.created_ms):
        raise errors.NO_SUCH_ORDER.error()
    return order


def _query(call: Call) -> Any:
    order = _find(call)
    return _body(call, order, queried=True)


def _query_open(call: Call) -> Any:
    order = _find(call)
    if not order.open:
        raise errors.NO_SUCH_ORDER.error()
    return _body(call, order, queried=True)


def cancel_one(call: Call) -> Any:
    """``DELETE order``."""
    order = call.runtime.venue.cancel(call.account, *call.selector())
    if call.record is not None:
        call.record.order_ids.append(order.order_id)
    return _body(call, order)


def _amend(call: Call) -> Any:
    for name in ("quantity", "price"):
        required(call.params, name)
    quantity, price = decimal_param(call.params, "quantity"), decimal_param(call.params, "price")
    order = call.runtime.venue.amend(call.account, *call.selector(), quantity, price)
    if call.record is not None:
        call.record.order_ids.append(order.order_id)
    return _body(call, order)


def json_list(call: Call, name: str) -> list[Any]:
    """A JSON list in a parameter; Python-style quotes, which the official samples send, are taken too."""
    text = required(call.params, name)
    try:
        rows = json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        try:
            rows = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise errors.BAD_PARAMETER.error(name=name) from None
    except RecursionError:
        raise errors.BAD_PARAMETER.error(name=name) from None
    if not isinstance(rows, list) or not rows:
        raise errors.BAD_PARAMETER.error(name=name)
    return rows


def texts(row: Any, name: str = "batchOrders") -> dict[str, str]:
    """An order of the list ``name`` with its values spelled as a form would.  Raises -1130."""
    if not isinstance(row, dict):
        raise errors.BAD_PARAMETER.error(name=name)
    return {
        str(key): ("true" if value else "false") if isinstance(value, bool) else str(value)
        for key, value in row.items()
    }


def batch_size(params: Mapping[str, str]) -> int:
    """How many placements a batch counts as: the orders in it, one when it cannot be read."""
    try:
        rows = json.loads(params.get("batchOrders", ""))
    except (ValueError, RecursionError):
        return 1
    return max(1, min(len(rows), MAX_BATCH_PLACE)) if isinstance(rows, list) else 1


def _place_batch(call: Call) -> Any:
    rows = json_list(call, "batchOrders")
    if len(rows) > MAX_BATCH_PLACE:
        raise errors.BATCH_SIZE.error()
    answers: list[dict[str, Any]] = []
    for row in rows:
        try:
            answers.append(place_one(call, texts(row)))
        except VenueError as refusal:
            answers.append(refusal.body())
    return answers


def batch_selectors(call: Call) -> list[tuple[int | None, str | None]]:
    """(orderId, origClientOrderId) of each order that a batch cancels.  Raises -1102, -1130, -4082."""
    selectors: list[tuple[int | None, str | None]]
    if "orderIdList" in call.params:
        ids = [str(row) for row in json_list(call, "orderIdList")]
        if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in ids):
            raise errors.BAD_PARAMETER.error(name="orderIdList")
        selectors = [(int(text), None) for text in ids]
    else:
        selectors = [(None, str(row)) for row in json_list(call, "origClientOrderIdList")]
    if len(selectors) > MAX_BATCH_CANCEL:
        raise errors.BATCH_SIZE.error()
    return selectors


def cancel_batch(call: Call) -> Any:
    """``DELETE batchOrders``."""
    symbol = call.symbol()
    answers: list[dict[str, Any]] = []
    for order_id, client_id in batch_selectors(call):
        try:
            answers.append(_body(call, call.runtime.venue.cancel(call.account, symbol, order_id, client_id)))
        except VenueError as refusal:
            answers.append(refusal.body())
    return answers


def _cancel_all(call: Call) -> Any:
    orders = call.runtime.venue.cancel_all(call.account, call.symbol())
    if call.record is not None:
        call.record.order_ids.extend(order.order_id for order in orders)
    return {"code": "200", "msg": "The operation of cancel all open order is done."}


def _open_orders(call: Call) -> Any:
    account = call.account
    symbols = [call.symbol()] if call.params.get("symbol") else list(account.open_orders)
    return [
        _body(call, order, queried=True)
        for symbol in symbols
        for order in account.open_orders.get(symbol, {}).values()
        if not call.lags_behind(order.created_ms)
    ]


def time_range(call: Call) -> tuple[int, int]:
    """(startTime, endTime) in milliseconds, wide open where not sent.  Raises -1127 beyond seven days."""
    start, end = int_param(call.params, "startTime"), int_param(call.params, "endTime")
    if start is not None and end is not None and (end < start or end - start > WEEK_MS):
        raise errors.BAD_INTERVAL.error()
    return start or 0, end if end is not None else 2**62


def _all_orders(call: Call) -> Any:
    symbol, from_id = call.symbol(), int_param(call.params, "orderId")
    start, end = time_range(call)
    venue = call.runtime.venue
    limit = call.limit(500, 1000)
    rows = [
        order
        for order in call.account.orders.values()
        if order.symbol == symbol
        and start <= order.created_ms <= end
        and (from_id is None or order.order_id >= from_id)
        and not venue.forgotten(order)
        and not call.lags_behind(order.created_ms)
    ]
    chosen = rows[:limit] if from_id is not None or start else rows[-limit:]
    return [_body(call, order, queried=True) for order in chosen]


ORDER_ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "order"): Route(_place, fixed(1), Security.SIGNED, ledgered=True, places=True),
    ("POST", "order/test"): Route(_test, fixed(1), Security.SIGNED, ledgered=True),
    ("GET", "order"): Route(_query, fixed(1), Security.SIGNED, ledgered=True),
    ("DELETE", "order"): Route(cancel_one, fixed(1), Security.SIGNED, ledgered=True),
    ("POST", "batchOrders"): Route(_place_batch, fixed(5), Security.SIGNED, ledgered=True, places=True),
    ("DELETE", "batchOrders"): Route(cancel_batch, fixed(1), Security.SIGNED, ledgered=True),
    ("GET", "openOrder"): Route(_query_open, fixed(1), Security.SIGNED, ledgered=True),
    ("GET", "openOrders"): Route(_open_orders, by_symbol(1, 40), Security.SIGNED, ledgered=True),
    ("GET", "allOrders"): Route(_all_orders, fixed(5), Security.SIGNED, ledgered=True),
    ("DELETE", "allOpenOrders"): Route(_cancel_all, fixed(1), Security.SIGNED, ledgered=True),
}
AMEND_ROUTE = Route(_amend, fixed(1), Security.SIGNED, ledgered=True)
