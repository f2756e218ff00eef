"""REST bodies of strategy orders, field by field as documented (asterdex-facts.md section 4)."""

from __future__ import annotations

from typing import Any

from aster_sim.core.account import Account
from aster_sim.core.intake import bool_param
from aster_sim.core.numbers import plain
from aster_sim.core.orders import TRAILING
from aster_sim.core.state import State
from aster_sim.core.strategies import Condition, Strategist, Strategy, SubOrder

_NOTHING = Condition(0, "", "")


def placed_body(strategy: Strategy) -> dict[str, Any]:
    """The answer to a placement."""
    return {
        "strategyId": strategy.strategy_id,
        "clientStrategyId": strategy.client_id,
        "strategyType": strategy.kind,
        "strategyStatus": strategy.status,
        "updateTime": strategy.updated_ms,
        "failureCode": strategy.failure_code,
        "failureReason": strategy.failure_reason,
    }


def updated_body(strategy: Strategy, number: int, code: int, reason: str) -> dict[str, Any]:
    """One row of the answer to an update."""
    body = placed_body(strategy)
    body.update(
        updatedSubOrder=number,
        updateStatus="FAILED" if code else "SUCCESS",
        failureCode=code,
        failureReason=reason,
    )
    return body


def strategy_body(state: State, account: Account, strategy: Strategy) -> dict[str, Any]:
    """A strategy as the queries show it."""
    return {
        "strategyId": strategy.strategy_id,
        "clientStrategyId": strategy.client_id,
        "strategyType": strategy.kind,
        "strategyStatus": strategy.status,
        "bookTime": strategy.created_ms,
        "updateTime": strategy.updated_ms,
        "subOrders": [_sub_body(state, account, strategy, sub) for sub in strategy.subs],
    }


def _sub_body(state: State, account: Account, strategy: Strategy, sub: SubOrder) -> dict[str, Any]:
    first, second = (*sub.conditions, _NOTHING, _NOTHING)[:2]
    order, params = account.orders.get(sub.order_id), sub.params
    decimals = state.markets[params["symbol"]].instrument.price_decimals
    trails = params["type"] == TRAILING
    return {
        "strategyId": strategy.strategy_id,
        "orderId": sub.order_id,
        "clientOrderId": order.client_order_id if order else params.get("newClientOrderId", ""),
        "status": Strategist.status_of(account, sub),
        "strategySubId": sub.number,
        "firstDrivenId": first.driver,
        "firstDrivenOn": first.on,
        "firstTrigger": first.trigger,
        "secondDrivenId": second.driver,
        "secondDrivenOn": second.on,
        "secondTrigger": second.trigger,
        "securityType": "FUTURE",
        "symbol": params["symbol"],
        "side": params["side"],
        "positionSide": params.get("positionSide", "BOTH"),
        "type": params["type"],
        "timeInForce": params.get("timeInForce", "GTC"),
        "quantity": plain(order.quantity) if order else params.get("quantity", "0"),
        "reduceOnly": bool_param(params, "reduceOnly"),
        "closePosition": bool_param(params, "closePosition"),
        "price": plain(order.price) if order else params.get("price", "0"),
        "avgPrice": plain(order.average_price(decimals)) if order else "0",
        "priceProtect": bool_param(params, "priceProtect"),
        "stopPrice": plain(order.stop_price) if order else params.get("stopPrice", "0"),
        "activatePrice": params.get("activationPrice") if trails else None,
        "callbackRate": params.get("callbackRate") if trails else None,
        "workingType": params.get("workingType", "CONTRACT_PRICE"),
        "triggerTime": sub.trigger_ms,
    }
