"""Strategy orders, the dead man's switch and guarded cancels (asterdex-facts.md sections 2 and 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aster_sim.core import errors
from aster_sim.core.errors import VenueError
from aster_sim.core.intake import int_param
from aster_sim.core.strategies import WORKING, Strategy
from aster_sim.core.strategy_updates import update_sub_order
from aster_sim.core.strategy_views import placed_body, strategy_body, updated_body
from aster_sim.http.calls import Call, Route, Security, fixed
from aster_sim.http.order_routes import batch_selectors, cancel_batch, cancel_one, json_list, texts

HISTORY_MS = 90 * 24 * 3600 * 1000
_LIST = "subOrderList"


def _place(call: Call) -> Any:
    kind = call.required("strategyType")
    rows = [texts(row, _LIST) for row in json_list(call, _LIST)]
    venue = call.runtime.venue
    strategy = venue.strategies.place(call.account, kind, call.params.get("clientStrategyId", ""), rows)
    for sub in strategy.subs:
        if sub.order_id and call.record is not None:
            call.record.order_ids.append(sub.order_id)
    return placed_body(strategy)


def _update(call: Call) -> Any:
    call.required("strategyId")
    strategy = _found(call)
    if strategy.status != WORKING:
        raise errors.NO_SUCH_ORDER.error()
    answers = []
    for row in json_list(call, _LIST):
        sent = texts(row, _LIST)
        number = int(sent["strategySubId"]) if sent.get("strategySubId", "").isdigit() else 0
        try:
            update_sub_order(call.runtime.venue, call.account, strategy, sent)
        except VenueError as refusal:
            answers.append(updated_body(strategy, number, refusal.code, refusal.msg))
        else:
            answers.append(updated_body(strategy, number, 0, ""))
    return answers


def _found(call: Call) -> Strategy:
    kind = call.required("strategyType")
    strategy_id, client_id = int_param(call.params, "strategyId"), call.params.get("clientStrategyId")
    return call.runtime.venue.strategies.find(call.account, kind, strategy_id, client_id)


def _open(call: Call) -> Any:
    strategy = _found(call)
    if strategy.status != WORKING:
        raise errors.NO_SUCH_ORDER.error()
    return strategy_body(call.runtime.venue.state, call.account, strategy)


def _history(call: Call) -> Any:
    strategy = _found(call)
    state = call.runtime.venue.state
    if strategy.status == WORKING or state.now_ms() - strategy.created_ms > HISTORY_MS:
        raise errors.NO_SUCH_ORDER.error()
    return strategy_body(state, call.account, strategy)


def _countdown(call: Call) -> Any:
    symbol = call.symbol()
    call.required("countdownTime")
    countdown_ms = int_param(call.params, "countdownTime") or 0
    call.runtime.venue.countdowns.wind(call.account, symbol, countdown_ms)
    call.runtime.countdown_wound.set()
    return {"symbol": symbol, "countdownTime": str(countdown_ms)}


def _check_guard(call: Call, symbol: str, order_id: int | None, client_id: str | None) -> None:
    """-4225 unless the request's nonce is the one that placed the order."""
    order = call.account.find(symbol, order_id, client_id)
    if order is not None and order.nonce != int(call.params["nonce"]):
        raise errors.NONCE_OF_ANOTHER.error()


def _guarded_cancel(call: Call) -> Any:
    _check_guard(call, *call.selector())
    return cancel_one(call)


def _guarded_cancel_batch(call: Call) -> Any:
    symbol = call.symbol()
    for order_id, client_id in batch_selectors(call):
        _check_guard(call, symbol, order_id, client_id)
    return cancel_batch(call)


STRATEGY_ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "countdownCancelAll"): Route(_countdown, fixed(10), Security.SIGNED, ledgered=True),
}
STRATEGY_V3_ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "/fapi/v3/placeStrategyOrder"): Route(_place, fixed(50), Security.SIGNED, ledgered=True, places=True),
    ("POST", "/fapi/v3/updateStrategyOrder"): Route(_update, fixed(50), Security.SIGNED, ledgered=True),
    ("GET", "/fapi/v3/strategyOpenOrder"): Route(_open, fixed(5), Security.SIGNED, ledgered=True),
    ("GET", "/fapi/v3/strategyHistoryOrder"): Route(_history, fixed(5), Security.SIGNED, ledgered=True),
    ("DELETE", "/fapi/v3/guardedCancelOrder"): Route(
        _guarded_cancel, fixed(1), Security.SIGNED, ledgered=True, guarded=True
    ),
    ("DELETE", "/fapi/v3/guardedBatchOrders"): Route(
        _guarded_cancel_batch, fixed(1), Security.SIGNED, ledgered=True, guarded=True
    ),
}
