"""Outcomes: in the contract's words, why an order that changes exposure came to nothing. Pure."""

from __future__ import annotations

from app.domain.errors import ErrorCode, Refusal
from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState
from app.domain.trades import TradeError
from app.services.execution.risk import RiskRefused

_CODE_OF_REFUSAL = {
    Refusal.MARGIN: ErrorCode.INSUFFICIENT_MARGIN,
    Refusal.RATE_LIMIT: ErrorCode.EXCHANGE_UNAVAILABLE,
    Refusal.LEVERAGE: ErrorCode.LEVERAGE_EXCEEDED,
}
_NAME = {OrderRole.ENTRY: "entry", OrderRole.REDUCE: "reduction"}


def internal_error() -> TradeError:
    """The answer where a step of ours broke before anything was sent."""
    text = "an internal step failed before anything was sent; see the log"
    return TradeError(code=ErrorCode.INTERNAL_ERROR, message=text)


def refusal_of(error: TradeError) -> RiskRefused:
    """An error as the refusal of an entry or a change of which nothing was begun."""
    return RiskRefused(code=error.code, message=error.message)


def not_recorded(error: Exception) -> TradeError:
    """The answer where the database did not take what must be durable before it is sent."""
    text = f"the decision could not be recorded, so nothing was sent: {error}"
    return TradeError(code=ErrorCode.NOT_READY, message=text)


def error_of(order: Order) -> TradeError:
    """Why nothing of a final order was executed."""
    name = _NAME[order.role]
    if order.state is OrderState.REJECTED and order.refusal is not None:
        code = _CODE_OF_REFUSAL.get(order.refusal, ErrorCode.EXCHANGE_REJECTED)
        text = f"the exchange refused the {name}: {order.refusal_message}"
        if order.refusal is Refusal.CLOCK:
            text += "; check the nonce window and the entry lifetime in the configuration"
        return TradeError(code=code, message=text, exchange_code=order.refusal_code)
    if order.state is OrderState.NOT_PLACED and order.refusal_message is None:
        text = (
            f"the {name} got no answer, and after {_seconds_in_doubt(order):.1f} s the exchange shows neither order "
            "nor execution; it is not sent again"
        )
        return TradeError(code=ErrorCode.OUTCOME_UNKNOWN, message=text)
    if order.state is OrderState.NOT_PLACED:
        text = f"the {name} could not be sent: {order.refusal_message}"
        return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text)
    text = f"the {name} ended {order.state.value} with nothing executed"
    return TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text)


def _seconds_in_doubt(order: Order) -> float:
    if order.submitted_at is None or order.finished_at is None:
        return 0.0
    return (order.finished_at - order.submitted_at).total_seconds()
